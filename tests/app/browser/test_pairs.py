"""The page of pairs under the mouse: a cell chooses a pair, its tokens lead to their text."""

import pytest

from tests.app.browser.harness import settled

pytestmark = pytest.mark.browser

CENTRE = """(canvas, [row, column]) => {
    const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
    const [rows, columns] = root.dataset.shape.split("x").map(Number);
    const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
    const {left, top} = canvas.getBoundingClientRect();
    return [left + x + (column + 0.5) / columns * width, top + y + (row + 0.5) / rows * height];
}"""


def test_a_click_chooses_a_pair_and_its_tokens_lead_to_the_text(visit):
    page = visit("pairs?l=3&e=9", height=1400)
    settled(page)
    page.get_by_text("by number", exact=True).click()  # so that row and column are the experts themselves
    settled(page)
    page.get_by_test_id("heatmap").first.scroll_into_view_if_needed()
    page.mouse.click(*page.get_by_test_id("marks").first.evaluate(CENTRE, [20, 24]))
    page.wait_for_function("() => /e=20/.test(location.search) && /l=3/.test(location.search)")
    page.get_by_text("What do experts 20 and 24 do together?").wait_for()
    settled(page)
    tokens = page.get_by_test_id("stMain").locator("li a")
    assert tokens.count() == 12
    document, token = (part.strip() for part in tokens.first.inner_text().split(":"))
    tokens.first.click()
    page.wait_for_function("() => !/pairs/.test(location.pathname)")
    settled(page)
    assert f"d={document}" in page.url.split("?")[1].split("&")
    assert f"t={token}" in page.url.split("?")[1].split("&")
