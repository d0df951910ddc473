"""A trace as one file, opened from the disk without a network; in a notebook's frame; and saved on the Prompt page."""

import numpy as np
import pytest

import gatescope
from gatescope.drawing.one_file import to_html
from tests.app.components.driving import READY, click_cell
from tests.records import build_record

expect = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser").expect
from tests.app.browser.harness import settled, violations  # noqa: E402

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
PIECES = ["<s>", "The", " cat", HOSTILE, "\u202eevil", "\x00", "\ud800", "<b>bold</b>", " sat", "."]


def record():
    margin_tl = np.linspace(0.1, 2, 60).reshape(10, 6).astype(np.float16)
    return build_record(PIECES, layers=6, experts=32, k=4, margin_tl=margin_tl)


@pytest.fixture
def open_file(browser, tmp_path):
    """Open an HTML text from the disk, offline; what it asks for, throws or writes to the console fails the test."""
    contexts, complaints = [], []

    def opened(text: str, *, width: int = 1300, scheme: str = "light"):
        path = tmp_path / "one.html"
        path.write_text(text, "utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme=scheme, offline=True, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: asked.url == path.as_uri() or complaints.append(asked.url[:200]))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def drawn(page):
    page.wait_for_selector(READY)
    page.locator('[data-testid="heatmap"][data-grid]').wait_for()
    page.wait_for_timeout(300)  # the grid has moved what is below it
    return page.get_by_test_id("heatmap")


def test_hover_lights_a_click_pins_and_keys_move_without_a_network(open_file):
    page = open_file(to_html(record()))
    root = drawn(page)
    page.locator("[data-column='2']").hover()
    expect(root).to_have_attribute("data-lit", "2")
    click_cell(page, 3, 8)
    expect(root).to_have_attribute("data-pin", "3,8")
    card = page.get_by_test_id("card")
    expect(card).to_contain_text("·sat token 8 of 0 … 9")
    # token 8 in layer 3: experts 11, 12, 13, 14; weights 0.75, 0.58, 0.42, 0.25 of 2 in all
    expect(card.locator("tr.pinned")).to_have_text("3 (block 4)11 38 %12 29 %13 21 %14 13 %")
    page.mouse.move(0, 0)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_test_id("readout")).to_contain_text("token 7")
    page.keyboard.press("Enter")
    expect(root).to_have_attribute("data-pin", "3,7")
    page.keyboard.press("Escape")
    expect(root).to_have_attribute("data-pin", "")
    expect(card).to_contain_text("No token is pinned")


def test_every_quantity_is_there_and_the_pin_stays(open_file):
    page = open_file(to_html(record()))
    root = drawn(page)
    click_cell(page, 3, 8)
    for name in ("Margin", "Entropy", "Top weight", "Overlap with previous", "Expert"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
        expect(root).to_have_attribute("data-ready", "true")
        expect(root).to_have_attribute("data-pin", "3,8")


def test_an_expert_lights_its_tokens_and_has_no_page_to_open(open_file):
    page = open_file(to_html(record()))
    root = drawn(page)
    page.get_by_test_id("grid").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(root).to_have_attribute("data-chosen", "0,0")
    assert page.locator(".token.took").count() == 1  # expert 0 of layer 0 takes token 0 alone: 32 experts, 10 tokens
    expect(page.get_by_test_id("open-expert")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(root).to_have_attribute("data-chosen", "")


def test_hostile_tokens_are_shown_as_text(open_file):
    page = open_file(to_html(record()))
    drawn(page)
    tokens = page.get_by_test_id("tokens")
    for seen in ("onerror=alert(1)", "‹202E›evil", "␀", "‹D800›", "<b>bold</b>"):
        expect(tokens).to_contain_text(seen)
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_fits_and_breaks_no_rule_of_access(open_file, scheme, width):
    page = open_file(to_html(record()), width=width, scheme=scheme)
    drawn(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(13, 17, 23)"
    assert page.evaluate(paper) == {"light": light, "dark": dark}[scheme]
    click_cell(page, 1, 1)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert violations(page) == []
    page.get_by_test_id("theme").click()
    assert page.evaluate(paper) == {"light": dark, "dark": light}[scheme]


def test_it_is_drawn_in_the_frame_of_a_notebook_s_static_page(open_file):
    page = open_file(f"<!doctype html><body>{gatescope.show(record())._repr_html_()}</body>")
    frame = page.frame_locator("iframe")
    frame.locator(READY).wait_for()
    frame.locator("[data-column='1']").click()
    expect(frame.get_by_test_id("heatmap")).to_have_attribute("data-pin", ",1")
    expect(frame.get_by_test_id("card")).to_contain_text("The token 1 of 0 … 9")


def test_a_picture_can_be_saved_from_the_file(open_file):
    page = open_file(to_html(record()))
    drawn(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="SVG").click()
    assert saved.value.path().read_text("utf-8").startswith("<")


def test_the_prompt_page_saves_what_it_shows_as_one_file(visit, open_file):
    page = visit("")
    settled(page)
    tokens = page.get_by_test_id("heatmap").get_attribute("data-shape").split("x")[1]
    page.get_by_text("Save as one file").click()
    for name in ("With the text", "Without the text"):
        with page.expect_download() as saved:
            page.get_by_role("button", name=name, exact=True).click()
        opened = open_file(saved.value.path().read_text("utf-8"))
        assert drawn(opened).get_attribute("data-shape") == f"6x{tokens}"
        expect(opened.locator(".facts")).to_contain_text("checks passed")
        has_places = "⟨0⟩" in opened.get_by_test_id("tokens").inner_text()
        assert has_places is (name == "Without the text")
