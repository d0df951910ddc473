"""The page of locality under the mouse: a point of the curves chooses how many are kept, a link leads to the expert."""

import pytest

from tests.app.browser.harness import settled

pytestmark = pytest.mark.browser


def test_a_point_of_the_curves_chooses_how_many_are_kept(visit):
    page = visit("locality?l=2")
    settled(page)
    page.get_by_text("With 8 experts kept (layer 2)").wait_for()
    page.locator(".st-key-figure-hits .scatterlayer").first.scroll_into_view_if_needed()
    points = page.locator(".st-key-figure-hits .scatterlayer .trace").nth(3).locator(".points path")  # one curve's
    place = points.nth(15).bounding_box()
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.get_by_text("With 16 experts kept (layer 2)").wait_for()
    page.get_by_text("With 16 experts kept in each layer, a token loads").wait_for()
    settled(page)
    page.get_by_text("Layer 2", exact=True).locator("xpath=following-sibling::dd[1]").get_by_role("link").first.click()
    page.wait_for_function("() => /\\/expert/.test(location.pathname) && /e=\\d+/.test(location.search)")
