"""What is seen: tokens as they are, contrast, themes, narrow screens, the legend, saved pictures."""

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser").expect
from tests.app.components.driving import cell_centre, click_cell, expect_pin, window  # noqa: E402

pytestmark = pytest.mark.browser


def test_hostile_text_stays_text(visit):
    page = visit("tokens_demo")
    expect(page.locator(".token", has_text="onerror")).to_have_text("<img·src=x·onerror=alert(1)>")
    assert page.get_by_test_id("carpet").evaluate("(e) => e.querySelectorAll('img, script').length") == 0


def test_white_space_and_hidden_characters_are_made_visible(visit):
    page = visit("tokens_demo")
    texts = page.locator("[data-testid=tokens] .token").all_inner_texts()
    assert {"·mixture", "⏎", "⇥", "··", "‹200B›", "⍽"} <= set(texts)


def test_right_to_left_tokens_are_isolated(visit):
    page = visit("tokens_demo")
    token = page.locator(".token", has_text="שלום")
    assert token.evaluate("(e) => getComputedStyle(e).unicodeBidi") == "isolate"


CONTRASTS = """(root) => {
    const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const luminance = (text) => {
        const [r, g, b] = text.match(/\\d+/g).map(Number).map(light);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return [...root.querySelectorAll(".text .token:not(.undefined, .special, .template)")].map((token) => {
        const style = getComputedStyle(token);
        const [a, b] = [luminance(style.color), luminance(style.backgroundColor)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    });
}"""


@pytest.mark.parametrize("show", ["tokens_demo", "identity"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tokens_can_be_read_on_their_colour(visit, show, scheme):
    page = visit(show, color_scheme=scheme)
    contrasts = page.get_by_test_id("carpet").evaluate(CONTRASTS)
    assert len(contrasts) > 40 and min(contrasts) >= 4.5


NAMES_BRIGHTNESS = """(canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, 26, canvas.height).data;
    let sum = 0, weight = 0;
    for (let i = 0; i < data.length; i += 4) { sum += data[i] * data[i + 3]; weight += data[i + 3]; }
    return sum / weight;
}"""


def test_the_picture_follows_the_theme_at_once(visit):
    page = visit("tokens_demo")
    assert page.get_by_test_id("cells").evaluate(NAMES_BRIGHTNESS) < 128
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(800)
    assert page.get_by_test_id("cells").evaluate(NAMES_BRIGHTNESS) > 128


RING_COLOURS = """(canvas) => {
    const {width, height} = canvas, data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const style = getComputedStyle(canvas.getRootNode().querySelector('[data-testid="carpet"]'));
    const name = style.getPropertyValue("--st-primary-color").trim();
    const accent = name.match(/[0-9a-f]{2}/gi).map((hex) => parseInt(hex, 16));
    const count = (rgb) => {
        let found = 0;
        for (let i = 0; i < data.length; i += 4) {
            found += data[i + 3] > 250 && rgb.every((c, k) => Math.abs(c - data[i + k]) < 4);
        }
        return found;
    };
    return [count([255, 255, 255]), count(accent)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pinned_cell_has_a_white_and_an_accent_ring(visit, scheme):
    page = visit("tokens_demo", pin="7,20", color_scheme=scheme)
    white, accent = page.get_by_test_id("marks").evaluate(RING_COLOURS)
    assert white > 50 and accent > 50


def test_a_width_of_360_pixels_is_enough(visit):
    page = visit("tokens_demo", viewport={"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    right = "(e) => Math.max(...[...e.querySelectorAll('*')].map((x) => x.getBoundingClientRect().right))"
    assert page.get_by_test_id("carpet").evaluate(right) <= 360
    click_cell(page, 7, 20)
    expect_pin(page, 7, 20)


def test_a_tap_pins_and_every_target_is_24_pixels_or_more(visit):
    page = visit("tokens_demo", viewport={"width": 360, "height": 800}, has_touch=True)
    sizes = page.locator("[data-testid=carpet] button").evaluate_all(
        "(all) => all.flatMap((b) => [b.offsetWidth, b.offsetHeight])"
    )
    assert min(sizes) >= 24
    page.touchscreen.tap(*cell_centre(page, 7, 20))
    expect_pin(page, 7, 20)


def test_the_text_shows_which_part_the_matrix_shows(visit):
    page = visit("tokens_demo", pin="3,9")
    assert page.locator(".token.outside").count() == 0
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    left, right = window(page)
    inside = page.locator("[data-testid=tokens] .token:not(.outside)").evaluate_all(
        "(all) => all.map((e) => Number(e.dataset.column))"
    )
    assert inside == list(range(int(left), -int(-right // 1)))


def test_the_legend_gives_ends_unit_and_null(visit):
    page = visit("tokens_demo")
    assert page.get_by_test_id("legend").inner_text().split() == ["0", "≥", "2.5", "logits", "┃", "null", "0.5"]


def test_the_picture_can_be_saved(visit, tmp_path):
    page = visit("difference", pin="3,9")
    with page.expect_download() as download:
        page.get_by_text("PNG").click()
    download.value.save_as(tmp_path / "picture.png")
    assert download.value.suggested_filename == "load-difference.png"
    assert (tmp_path / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
