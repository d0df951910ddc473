"""The map under a mouse: a click pins a document, a lasso lets only some count, and the table does it without one."""

import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.app.browser.harness import settled

pytestmark = pytest.mark.browser


@pytest.fixture
def page(visit):
    page = visit("map")
    page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()
    settled(page)
    return page


def test_a_click_pins_the_document_and_leads_to_its_text(page):
    point = page.locator(".js-plotly-plot .scatterlayer .point").nth(3).bounding_box()
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_function("() => location.search.includes('d=')")
    settled(page)
    number = re.search(r"[?&]d=(\d+)", page.url)[1]
    assert page.get_by_text(f"Document {number}", exact=True).count()
    page.get_by_role("link", name="Read it, token by token").click()
    page.wait_for_function("() => location.pathname === '/'")
    assert f"d={number}" in page.url


def test_a_lasso_lets_only_some_documents_count(page):
    page.get_by_test_id("stMain").get_by_text("Lasso", exact=True).click()
    settled(page)
    plane = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    left, top = plane["x"] + 5, plane["y"] + plane["height"] * 0.4
    page.mouse.move(left, top)
    page.mouse.down()
    for across, down in ((0.3, 0.0), (0.3, 0.35), (0.0, 0.35), (0.0, 0.0)):
        page.mouse.move(left + plane["width"] * across, top + plane["height"] * down, steps=6)
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('s=documents')")
    settled(page)
    assert page.get_by_text("drawn in full; the others are faint").count()
    said = page.get_by_text(re.compile(r"^N = [\d,]+ tokens of [\d,]+ documents, drawn")).inner_text()
    assert 0 < int(re.search(r"of ([\d,]+) documents", said)[1].replace(",", "")) < 552


def test_the_chart_is_saved_with_its_caption_as_a_picture_of_either_kind(page):
    page.get_by_test_id("stMain").get_by_role("button", name="Save").first.click()
    saved = {}
    for kind in ("PNG", "SVG"):
        with page.expect_download() as started:
            page.get_by_role("button", name=f"Picture ({kind})").first.click()
        saved[kind] = started.value.path()
    svg = ElementTree.parse(saved["SVG"]).getroot()
    assert len(svg.findall("{*}svg")) >= 2
    assert " ".join(line.text for line in svg.findall("{*}text"))
    width, height = (float(svg.get(side)) for side in ("width", "height"))
    with Image.open(saved["PNG"]) as png:
        assert png.size == (int(2 * width), int(2 * height))
        assert len(png.convert("RGB").getcolors(1 << 24)) > 10
