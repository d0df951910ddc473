"""The comparison under a mouse: a cell shows both cards, and the three pictures move together."""

import re

import pytest

from tests.app.browser.harness import settled

pytestmark = pytest.mark.browser


def test_a_cell_shows_both_cards_and_the_pictures_share_their_window(visit):
    from playwright.sync_api import expect

    page = visit("compare?vs=step2048.sift-softmax", height=1400)
    settled(page)
    heatmaps = page.locator("[data-testid=heatmap]")
    difference = heatmaps.nth(1)  # the first is of the experts' work
    cells = difference.get_by_test_id("cells")
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    cells.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.5}, force=True)
    page.wait_for_function("() => /[?&]t=[0-9]+/.test(location.search)")
    settled(page)
    assert page.get_by_role("region", name="Pinned token").count() == 2
    assert re.search(r"[?&]l=\d", page.url)
    difference.get_by_test_id("matrix").press("+")
    window = difference.get_attribute("data-window")
    for number in (2, 3):
        expect(heatmaps.nth(number)).to_have_attribute("data-window", window)


def test_the_ways_to_a_capture_b(visit):
    page = visit("compare")
    settled(page)
    page.get_by_role("button", name="An earlier moment: step 128").click()
    page.wait_for_function("() => location.search.includes('vs=step128.sift-softmax')")
    settled(page)
    assert page.get_by_text("In which layers do the choices differ?").count()
