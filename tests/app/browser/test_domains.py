"""The page of domains under the mouse: a cell shows the documents and words behind it, a document leads to its text."""

import pytest

from tests.app.browser.harness import overflow, settled, violations

pytestmark = pytest.mark.browser

CENTRE = """(canvas, [row, column]) => {
    const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
    const [rows, columns] = root.dataset.shape.split("x").map(Number);
    const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
    const {left, top} = canvas.getBoundingClientRect();
    return [left + x + (column + 0.5) / columns * width, top + y + (row + 0.5) / rows * height];
}"""


def click_cell(page, matrix: int, row: int, column: int) -> None:
    """Click a cell of one of the page's matrices, counted from the top."""
    page.get_by_test_id("heatmap").nth(matrix).scroll_into_view_if_needed()
    page.mouse.click(*page.get_by_test_id("marks").nth(matrix).evaluate(CENTRE, [row, column]))


def test_a_cell_leads_to_its_documents_and_a_document_to_its_text(visit):
    page = visit("domains?l=3")
    settled(page)
    click_cell(page, 0, 10, 1)  # expert 10 and the second group in order: data
    page.wait_for_function("() => /e=10/.test(location.search)")
    settled(page)
    page.get_by_text("Documents that use it most").wait_for()
    panel = page.get_by_role("heading", name="Expert 10 of layer 3, and data")
    panel.wait_for()
    assert not violations(page)
    page.get_by_role("heading", name="Documents that use it most").locator("..").get_by_role("link").first.click()
    page.wait_for_function("() => /[?&]d=\\d+/.test(location.search) && !location.pathname.includes('domains')")
    settled(page)
    assert "e=10" in page.url and "l=3" in page.url


def test_two_groups_are_held_against_each_other(visit):
    page = visit("domains?l=3")
    settled(page)
    click_cell(page, 1, 5, 0)  # law and code
    page.get_by_text("law and code:").wait_for()
    page.get_by_text("Under one mix of the").wait_for()


def test_the_panel_fits_a_narrow_window(visit):
    page = visit("domains?by=language&l=2&e=4", width=360)
    settled(page)
    page.get_by_text("Documents that use it most").wait_for()
    assert overflow(page) <= 0
