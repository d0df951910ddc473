"""The page of layers under the mouse: a cell pins its expert, a name its layer, the button leads to the expert."""

import re

import pytest

from tests.app.browser.harness import settled

pytestmark = pytest.mark.browser


def first_matrix(page):
    """The matrix of the load, in sight."""
    found = page.get_by_test_id("heatmap").first
    found.scroll_into_view_if_needed()
    return found


def in_first_matrix(page, script: str, *args):
    """What a script says of the canvas of the first matrix."""
    return page.get_by_test_id("marks").first.evaluate(script, *args)


CENTRE = """(canvas, [row, column]) => {
    const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
    const [rows, columns] = root.dataset.shape.split("x").map(Number);
    const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
    const {left, top} = canvas.getBoundingClientRect();
    return [left + x + (column + 0.5) / columns * width, top + y + (row + 0.5) / rows * height, left + x / 2];
}"""


def test_a_click_pins_layer_and_expert_and_the_button_leads_to_its_page(visit):
    page = visit("layers")
    settled(page)
    first_matrix(page)
    x, y, _ = in_first_matrix(page, CENTRE, [5, 31])
    page.mouse.click(x, y)
    page.wait_for_function("() => /l=5/.test(location.search) && /e=31/.test(location.search)")
    settled(page)
    assert page.get_by_text("number 1 of 32 by load").count() == 1
    page.get_by_role("button", name="Open expert 31 of layer 5").click()
    page.wait_for_url(re.compile(r"/expert\?.*e=31"))
    settled(page)


def test_the_name_of_a_row_chooses_the_layer_below(visit):
    page = visit("layers")
    settled(page)
    first_matrix(page)
    _, y, x = in_first_matrix(page, CENTRE, [2, 0])
    page.mouse.click(x, y)
    page.wait_for_function("() => /l=2/.test(location.search)")
    settled(page)
    assert page.get_by_text("experts of layer 2 do").count() == 1
