"""The matrix in a real browser: what is seen, what the mouse, the keys and Python do, what crosses the wire.

Run with `pytest -m browser tests/app/components`.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser")
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
READY = '[data-testid="carpet"][data-ready="true"]'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Streamlit server on the page of matrices."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(HERE / "carpet_app.py"), f"--server.port={port}"]
    command += ["--server.headless=true", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
    root = HERE.parents[2]
    log = (tmp_path_factory.mktemp("streamlit") / "log.txt").open("w")
    environment = os.environ | {"PYTHONPATH": str(root)}
    with log, subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    """Return when the server answers; a server that never does fails the test."""
    for _ in range(150):
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no answer from {url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; name one in the variable CHROMIUM")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="module")
def contexts(browser: Browser) -> Iterator[dict[str, BrowserContext]]:
    """One browser profile for each set of options, so that Streamlit's own files are loaded once."""
    opened: dict[str, BrowserContext] = {}
    yield opened
    for context in opened.values():
        context.close()


@pytest.fixture
def visit(browser: Browser, contexts: dict[str, BrowserContext], address: str):
    """Open a matrix of the page; anything the page throws or asks fails the test."""
    pages, complaints = [], []

    def open_page(show: str, pin: str = "", **options) -> Page:
        options = {"viewport": {"width": 1280, "height": 1000}, "color_scheme": "light"} | options
        if (profile := repr(options)) not in contexts:
            contexts[profile] = browser.new_context(**options)
        page = contexts[profile].new_page()
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.frames_in, page.frames_out = [], []
        page.on("websocket", lambda wire: _tap(page, wire))
        page.goto(f"{address}/?show={show}&pin={pin}")
        page.wait_for_selector(READY, timeout=60_000)
        expect(page.get_by_text("Release from Python")).to_be_visible()
        page.wait_for_timeout(300)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def _tap(page: Page, wire: WebSocket) -> None:
    """Keep the frames that pass."""
    wire.on("framereceived", lambda frame: page.frames_in.append(frame))
    wire.on("framesent", lambda frame: page.frames_out.append(frame))


def cell_centre(page: Page, row: int, column: int) -> tuple[float, float]:
    """Where a cell of the whole matrix is on screen: its canvas less the margins for names, by proportion."""
    return tuple(
        page.get_by_test_id("marks").evaluate(
            """(canvas, [row, column]) => {
                const root = canvas.getRootNode().querySelector('[data-testid="carpet"]');
                const [rows, columns] = root.dataset.shape.split("x").map(Number);
                const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
                const {left, top} = canvas.getBoundingClientRect();
                return [left + x + (column + 0.5) / columns * width, top + y + (row + 0.5) / rows * height];
            }""",
            [row, column],
        )
    )


def click_cell(page: Page, row: int, column: int) -> None:
    page.mouse.click(*cell_centre(page, row, column))


def expect_pin(page: Page, row: int | None, column: int) -> None:
    """Browser and Python agree on the pin."""
    expect(page.get_by_text(f"pin: Pick(row={row}, column={column})")).to_be_visible()
    expect(page.get_by_test_id("carpet")).to_have_attribute("data-pin", f"{'' if row is None else row},{column}")


def expect_no_pin(page: Page) -> None:
    expect(page.get_by_text("pin: None")).to_be_visible()
    expect(page.get_by_test_id("carpet")).to_have_attribute("data-pin", "")


def window(page: Page) -> tuple[float, float]:
    """First and end column on screen."""
    left, right = page.get_by_test_id("carpet").get_attribute("data-window").split()
    return float(left), float(right)


LONE_CELLS = """(canvas) => {
    const root = canvas.getRootNode().querySelector('[data-testid="carpet"]');
    const ratio = window.devicePixelRatio;
    const [x, y, width, height] = root.dataset.plot.split(" ").map((n) => Math.round(n * ratio));
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(x, y, width, height).data.buffer);
    const ground = pixels[(height >> 1) * width + 1];
    let groups = 0, inside = false;
    for (let column = 0; column < width; column++) {
        let hit = false;
        for (let row = 0; row < height; row++) hit ||= pixels[row * width + column] !== ground;
        groups += hit && !inside;
        inside = hit;
    }
    return groups;
}"""


@pytest.mark.parametrize("show", ["spikes", "low_spikes", "far_spikes"])
@pytest.mark.parametrize("ratio", [1, 2])
def test_all_64_lone_cells_among_8192_columns_are_seen(visit, show, ratio):
    page = visit(show, viewport={"width": 1280, "height": 900}, device_scale_factor=ratio)
    assert page.get_by_test_id("cells").evaluate(LONE_CELLS) == 64


def test_lone_cells_are_seen_at_every_zoom(visit):
    page = visit("spikes")
    page.get_by_test_id("matrix").focus()
    for _ in range(6):
        page.keyboard.press("+")
        left, right = window(page)
        inside = sum(left <= column and column + 1 <= right for column in range(64, 64 + 64 * 127, 127))
        partly = sum(left < column + 1 and column < right for column in range(64, 64 + 64 * 127, 127))
        assert inside <= page.get_by_test_id("cells").evaluate(LONE_CELLS) <= partly


def test_pointing_at_a_pooled_pixel_names_the_cell_it_shows(visit):
    page = visit("spikes")
    page.mouse.move(*cell_centre(page, 5, 64 + 5 * 127))
    expect(page.get_by_test_id("readout")).to_contain_text("token 699 · layer 5 · spike 1.000")


def test_pooling_is_said_in_words(visit):
    page = visit("spikes")
    expect(page.get_by_test_id("pooled")).to_contain_text("cells, the largest shown")


def test_hover_reads_out_the_cell_and_sends_nothing(visit):
    page = visit("tokens_demo")
    page.frames_out.clear()
    page.frames_in.clear()
    for column in range(14, 40):
        page.mouse.move(*cell_centre(page, 8, column))
    page.mouse.move(*cell_centre(page, 8, 3))
    expect(page.get_by_test_id("readout")).to_contain_text(
        re.compile(r"token 3.*·mixture.*layer 8 · margin \d\.\d+ logits")
    )
    page.wait_for_timeout(500)
    assert (page.frames_out, page.frames_in) == ([], [])


def test_hover_marks_the_token_in_the_text(visit):
    page = visit("tokens_demo")
    page.mouse.move(*cell_centre(page, 8, 3))
    expect(page.locator(".token.hovered")).to_have_text("·mixture")


def test_an_undefined_cell_is_said_to_be_undefined(visit):
    page = visit("tokens_demo")
    page.mouse.move(*cell_centre(page, 4, 11))
    expect(page.get_by_test_id("readout")).to_contain_text("margin undefined")


def test_a_generated_token_is_said_to_be_generated(visit):
    page = visit("tokens_demo")
    page.locator(".token", has_text="writes").hover()
    expect(page.get_by_test_id("readout")).to_contain_text("(generated)")


def test_a_click_on_a_cell_pins_it_in_python(visit):
    page = visit("tokens_demo")
    click_cell(page, 7, 20)
    expect_pin(page, 7, 20)
    expect(page.get_by_text("heard: 1, last [Pick(row=7, column=20)]")).to_be_visible()


def test_a_click_on_a_token_pins_its_column_and_keeps_the_row(visit):
    page = visit("tokens_demo")
    page.locator(".token", has_text="mixture").click()
    expect_pin(page, None, 3)
    click_cell(page, 7, 20)
    page.locator(".token", has_text="mixture").click()
    expect_pin(page, 7, 3)


def test_the_text_takes_its_colours_from_the_pinned_row(visit):
    page = visit("tokens_demo")
    token = page.locator(".token", has_text="·mixture")
    before = token.evaluate("(e) => getComputedStyle(e).backgroundColor")
    click_cell(page, 20, 40)
    expect(page.get_by_text("Text coloured by margin in layer 20")).to_be_visible()
    assert token.evaluate("(e) => getComputedStyle(e).backgroundColor") != before


def test_escape_releases(visit):
    page = visit("tokens_demo")
    click_cell(page, 7, 20)
    expect_pin(page, 7, 20)
    page.keyboard.press("Escape")
    expect_no_pin(page)
    expect(page.get_by_text("heard: 2, last [None]")).to_be_visible()


def test_two_quick_clicks_end_at_the_second(visit):
    page = visit("large")
    click_cell(page, 20, 2000)
    click_cell(page, 50, 6000)
    page.wait_for_timeout(1500)
    row, column = page.get_by_test_id("carpet").get_attribute("data-pin").split(",")
    assert (int(row), abs(int(column) - 6000) < 10) == (50, True)
    expect_pin(page, int(row), int(column))


def test_the_address_and_python_can_pin_and_release(visit):
    page = visit("tokens_demo", pin="3,9")
    expect_pin(page, 3, 9)
    page.get_by_text("Pin 5, 7 from Python").click()
    expect_pin(page, 5, 7)
    page.get_by_text("Release from Python").click()
    expect_no_pin(page)


def test_a_pin_far_down_the_text_is_scrolled_into_sight(visit):
    page = visit("large", pin="40,4000")
    expect(page.locator(".token.pinned")).to_be_in_viewport()


def test_a_click_sends_less_than_2_kb_whatever_the_size(visit):
    page = visit("large")
    assert max(len(frame) for frame in page.frames_in) > 786_432
    page.frames_in.clear()
    click_cell(page, 7, 2000)
    expect(page.get_by_text("heard: 1")).to_be_visible()
    page.wait_for_timeout(500)
    opening, *rest = page.frames_in  # every rerun of any Streamlit page opens with its session's settings
    assert len(opening) < 2000 and sum(map(len, rest)) < 2000


def test_a_view_of_the_standing_size_is_below_one_megabyte(visit):
    page = visit("large")
    assert sum(map(len, page.frames_in)) < 1_000_000


def test_window_and_focus_survive_a_rerun(visit):
    page = visit("tokens_demo")
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    before = window(page)
    page.keyboard.press("Enter")
    expect(page.get_by_text("heard: 1")).to_be_visible()
    page.wait_for_timeout(300)
    assert window(page) == before
    assert page.get_by_test_id("matrix").evaluate("(e) => e.getRootNode().activeElement === e")


def test_another_quantity_of_the_same_tokens_keeps_window_pin_and_text(visit):
    page = visit("tokens_demo", pin="7,20")
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("+")
    before = window(page)
    page.locator(".token.pinned").evaluate("(e) => (e.isTheSame = true)")
    page.get_by_text("Another quantity").click()
    expect(page.get_by_test_id("readout")).to_contain_text(re.compile(r"layer 7 · entropy \d\.\d+ bits · pinned"))
    expect(page.get_by_text("Text coloured by entropy in layer 7")).to_be_visible()
    assert window(page) == before
    assert page.locator(".token.pinned").evaluate("(e) => e.isTheSame")
    expect_pin(page, 7, 20)


def test_the_matrix_has_a_name_and_a_takeaway_for_screen_readers(visit):
    page = visit("tokens_demo")
    name = "margin, 24 layers by 50 tokens. Every number here is made up."
    assert page.get_by_test_id("matrix").get_attribute("aria-label") == name
    assert page.get_by_test_id("readout").get_attribute("aria-live") == "polite"


def test_the_keyboard_moves_pins_zooms_and_helps(visit):
    page = visit("tokens_demo")
    page.get_by_test_id("matrix").focus()
    readout = page.get_by_test_id("readout")
    for key, words in {"ArrowRight": "token 0", "End": "token 49", "Home": "token 0", "ArrowDown": "layer 1"}.items():
        page.keyboard.press(key)
        expect(readout).to_contain_text(words)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect_pin(page, 1, 3)
    page.keyboard.press("f")
    left, right = window(page)
    assert right - left < 50 and left <= 3 < right
    page.keyboard.press("0")
    assert window(page) == (0, 50)
    page.keyboard.press("?")
    expect(page.get_by_test_id("keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("keys")).to_be_hidden()
    expect_pin(page, 1, 3)


def test_shift_and_arrow_pan_and_so_does_a_drag(visit):
    page = visit("large")
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("+")
    start = window(page)
    page.keyboard.press("Shift+ArrowRight")
    assert window(page)[0] > start[0]
    page.mouse.move(*cell_centre(page, 40, 4000))
    page.mouse.down()
    page.mouse.move(*cell_centre(page, 40, 5000), steps=5)
    page.mouse.up()
    assert window(page)[0] < start[1]
    expect(page.get_by_text("heard: 0")).to_be_visible()


def test_the_wheel_zooms_with_control_only(visit):
    page = visit("large", viewport={"width": 1280, "height": 600})
    page.mouse.move(*cell_centre(page, 4, 4000))
    page.mouse.wheel(0, 200)
    page.wait_for_timeout(300)
    assert window(page) == (0, 8192)
    page.mouse.move(*cell_centre(page, 4, 4000))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_timeout(300)
    left, right = window(page)
    assert right - left < 8192 and left < 4000 < right


def test_full_stop_and_comma_go_to_the_next_change_of_expert(visit):
    page = visit("identity")
    page.get_by_test_id("matrix").focus()
    expert = page.get_by_test_id("readout").locator("b").last
    page.keyboard.press("Home")
    first = expert.inner_text()
    page.keyboard.press(".")
    assert expert.inner_text() != first
    page.keyboard.press(",")
    page.keyboard.press(",")
    assert page.get_by_test_id("readout").inner_text().startswith("token")


def test_there_is_one_tab_stop_with_a_ring_of_3_pixels(visit):
    page = visit("tokens_demo")
    stops = "(e) => [...e.querySelectorAll('*')].filter((x) => x.tabIndex >= 0).map((x) => x.dataset.testid)"
    assert page.get_by_test_id("carpet").evaluate(stops) == ["matrix"]
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_test_id("matrix").evaluate("(e) => getComputedStyle(e).outlineWidth") == "3px"


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


HOVER_MS = """(canvas) => {
    const {left, top} = canvas.getBoundingClientRect();
    const spent = Array.from({length: 200}, (_, i) => {
        const began = performance.now();
        canvas.dispatchEvent(new PointerEvent("pointermove", {clientX: left + 100 + i * 4, clientY: top + 40 + i}));
        return performance.now() - began;
    });
    return spent.sort((a, b) => a - b)[190];
}"""


def test_a_hover_at_the_standing_size_fits_into_a_frame(visit):
    page = visit("large")
    assert page.get_by_test_id("marks").evaluate(HOVER_MS) < 16


def test_two_readers_keep_their_own_pins(visit):
    first, second = visit("tokens_demo"), visit("tokens_demo")
    click_cell(first, 7, 20)
    click_cell(second, 2, 30)
    expect_pin(first, 7, 20)
    expect_pin(second, 2, 30)
