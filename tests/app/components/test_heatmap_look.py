"""What is seen: tokens as they are, contrast, themes, narrow screens, the legend, saved pictures."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

expect = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser").expect
from tests.app.components.driving import TAB_STOPS, cell_centre, click_cell, expect_pin, window  # noqa: E402

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"


def test_hostile_text_stays_text(visit):
    page = visit("tokens_demo")
    expect(page.locator(".token", has_text="onerror")).to_have_text("<img·src=x·onerror=alert(1)>")
    assert page.get_by_test_id("heatmap").evaluate("(e) => e.querySelectorAll('img, script').length") == 0


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
    contrasts = page.get_by_test_id("heatmap").evaluate(CONTRASTS)
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
    const style = getComputedStyle(canvas.getRootNode().querySelector('[data-testid="heatmap"]'));
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
    assert page.get_by_test_id("heatmap").evaluate(right) <= 360
    click_cell(page, 7, 20)
    expect_pin(page, 7, 20)


def test_a_tap_pins_and_every_target_is_24_pixels_or_more(visit):
    page = visit("tokens_demo", viewport={"width": 360, "height": 800}, has_touch=True)
    sizes = page.locator("[data-testid=heatmap] button:visible").evaluate_all(
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


SHOWN = [
    "‹202E›evil",
    "‹2066›x‹2069›",
    "a\u0301",
    "◌\u0301",
    "‹3000›",
    "‹2003›",
    "‹D800›",
    "␀␛[31m",
    "‹061C›",
    "‹3164›",
]
SHOWN += ["‹FE0F›", "👨‹200D›👩", "שלום!", "مرحبا", "東京", "<0xE2>", "∅", "‹E0041›"]
SHOWN += ["</span><script>alert(1)</script>", "&lt;"]


def test_tokens_that_would_hide_reorder_or_inject_are_shown_as_they_are(visit):
    page = visit("strange")
    assert page.locator("[data-testid=tokens] .token").all_inner_texts() == SHOWN
    page.mouse.move(*cell_centre(page, 0, 0))
    expect(page.get_by_test_id("readout")).to_contain_text("‹202E›evil")
    expect(page.get_by_test_id("readout")).to_contain_text("layer ‹202E›top")


def test_a_right_to_left_token_keeps_its_end_at_the_left(visit):
    page = visit("strange")
    token = page.locator(".token", has_text="שלום!")
    spans = token.evaluate(
        """(e) => {
            const node = e.firstChild, place = (from) => {
                const range = document.createRange();
                range.setStart(node, from);
                range.setEnd(node, from + 1);
                return range.getBoundingClientRect().left;
            };
            return [place(0), place(4)];
        }"""
    )
    assert spans[1] < spans[0]


def test_thousands_of_tokens_can_be_scrolled_hovered_and_pinned(visit):
    page = visit("heavy")
    token = page.locator("[data-testid=tokens] .token").nth(6000)
    token.evaluate("(e) => e.scrollIntoView({block: 'nearest'})")
    token.hover()
    expect(page.get_by_test_id("readout")).to_contain_text("token 6000")
    token.click()
    expect_pin(page, None, 6000)


INKED = """(canvas, box) => canvas.getContext("2d").getImageData(...box.map(Math.round)).data.some(Boolean)"""


@pytest.mark.parametrize("width", [1280, 360])
def test_long_names_of_columns_stand_in_full_below_their_columns(visit, width):
    page = visit("domains", viewport={"width": width, "height": 900})
    cells = page.get_by_test_id("cells")
    x, y, plot, height = map(float, page.get_by_test_id("heatmap").get_attribute("data-plot").split())
    long = cells.evaluate(
        """(canvas, text) => {
            const context = canvas.getContext("2d");
            context.font = "12px " + context.font.split("px ")[1];
            return context.measureText(text).width;
        }""",
        "mathematics (proofs)" if width == 1280 else "English law 2",  # every second is named where a name is too wide
    )
    down = long * (0.7 if width == 1280 else 1) + 8
    assert cells.evaluate("(c) => c.offsetHeight") >= y + height + down
    assert cells.evaluate(INKED, [x - 5 if width == 1280 else x, y + height + down - 12, plot, 10])
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def save(page, key: str, path):
    """Press the key that saves a picture."""
    page.get_by_test_id("matrix").focus()
    with page.expect_download() as download:
        page.keyboard.press(key)
    download.value.save_as(path)
    return download.value.suggested_filename


def test_a_vector_picture_says_what_the_screen_says(visit, tmp_path):
    page = visit("domains")
    assert save(page, "v", tmp_path / "picture.svg") == "log-ratio.svg"
    svg = ElementTree.parse(tmp_path / "picture.svg").getroot()
    texts = ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]
    assert svg.find(f"{SVG}title").text == "log-ratio, 16 experts by 24 domains. Every number here is made up."
    assert "Every number here is made up." in svg.find(f"{SVG}desc").text
    for words in ("Log-ratio", "−1", "1 nats   ┃ null 0", "C++ <b>templates</b>", "expert 15 of layer 3", "×", "●"):
        assert words in texts
    assert "Every number here is made up." in texts
    assert any("× dead (4) · ● hot (1) · faint: not beyond chance · hatched: undefined" in text for text in texts)
    assert len(list(svg.iter(f"{SVG}image"))) == 1


def test_the_source_stands_under_both_pictures(visit, tmp_path):
    page = visit("rich")
    save(page, "v", tmp_path / "picture.svg")
    svg = ElementTree.parse(tmp_path / "picture.svg").getroot()
    assert "Made up for this test." in ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]
    save(page, "p", tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as png:
        size = png.size
    assert size == (2 * int(svg.get("width")), 2 * int(svg.get("height")))


def test_the_vector_picture_looks_like_the_other(visit, tmp_path, browser):
    page = visit("domains", viewport={"width": 900, "height": 900})
    save(page, "v", tmp_path / "picture.svg")
    save(page, "p", tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as opened:
        png = np.asarray(opened.convert("RGB")).astype(int)
    other = browser.new_page(viewport={"width": png.shape[1] // 2, "height": png.shape[0] // 2}, device_scale_factor=2)
    other.goto((tmp_path / "picture.svg").as_uri())
    other.screenshot(path=tmp_path / "drawn.png")
    other.close()
    with Image.open(tmp_path / "drawn.png") as opened:
        drawn = np.asarray(opened.convert("RGB")).astype(int)
    x, _, width, height = map(float, page.get_by_test_id("heatmap").get_attribute("data-plot").split())
    plot = (slice(160, 120 + int(2 * height)), slice(int(2 * x), int(2 * (x + width))))
    assert drawn.shape == png.shape
    assert (np.abs(drawn - png)[plot].max(axis=2) > 24).mean() < 0.005


def test_without_motion_nothing_moves(visit):
    page = visit("tokens_demo", reduced_motion="reduce")
    moving = "(e) => [...e.querySelectorAll('*')].filter((x) => getComputedStyle(x).transitionDuration !== '0s').length"
    assert page.get_by_test_id("heatmap").evaluate(moving) == 0


AXE = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
IN_THE_COMPONENT = """() => axe
    .run(document.querySelector('[data-testid=stBidiComponentIsolated]'), {resultTypes: ['violations']})
    .then((found) => found.violations.map((one) => [one.id, one.impact]))"""


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("show", ["rich", "domains", "identity"])
def test_axe_finds_nothing_serious(visit, show, scheme, width):
    if not AXE.exists():
        pytest.skip("make browser installs axe-core (needs npm)")
    page = visit(show, pin="1,3", color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_test_id("heatmap").locator('[tabindex="0"]:visible').focus()
    page.keyboard.press("?")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(IN_THE_COMPONENT)
    assert [one for one in found if one[1] in ("serious", "critical")] == []


def test_a_text_that_scrolls_is_the_one_tab_stop_and_has_the_same_keys(visit):
    page = visit("large")
    assert page.get_by_test_id("heatmap").evaluate(TAB_STOPS) == ["tokens"]
    page.get_by_test_id("tokens").focus()
    page.keyboard.press("End")
    expect(page.get_by_test_id("readout")).to_contain_text("token 8191")
    assert page.get_by_test_id("tokens").evaluate("(e) => getComputedStyle(e).outlineWidth") == "3px"
