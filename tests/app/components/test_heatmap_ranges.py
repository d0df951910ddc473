"""Ranges of columns, links on the names of rows, the keys that walk along a row, and matrices that move together."""

import re

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser").expect
from tests.app.components.driving import (  # noqa: E402
    cell_centre,
    click_cell,
    expect_no_pin,
    expect_pin,
    name_point,
    strip_point,
    window,
)

pytestmark = pytest.mark.browser


SELECTED = "(text) => text.getRootNode().getSelection().toString()"


def expect_span(page, span: tuple[int, int] | None) -> None:
    """Browser and Python agree on the range."""
    expect(page.get_by_text(f"span: {span}")).to_be_visible()
    written = f"{span[0]},{span[1]}" if span else ""
    expect(page.get_by_test_id("heatmap")).to_have_attribute("data-span", written)


def shift_click(page, place) -> None:
    page.keyboard.down("Shift")
    page.mouse.click(*place)
    page.keyboard.up("Shift")


def selected(page) -> list[int]:
    """The outlined tokens."""
    return page.locator(".token.selected").evaluate_all("(all) => all.map((e) => Number(e.dataset.column))")


def test_shift_and_click_select_from_the_pinned_column_and_keep_the_pin(visit):
    page = visit("rich")
    click_cell(page, 7, 20)
    expect_pin(page, 7, 20)
    shift_click(page, cell_centre(page, 3, 33))
    expect_span(page, (20, 33))
    expect_pin(page, 7, 20)
    assert selected(page) == list(range(20, 34))
    expect(page.get_by_test_id("readout")).to_contain_text("selected: tokens 20–33 (14)")
    shift_click(page, cell_centre(page, 3, 12))
    expect_span(page, (12, 20))


def test_escape_releases_the_range_before_the_pin(visit):
    page = visit("rich")
    click_cell(page, 7, 20)
    shift_click(page, cell_centre(page, 7, 22))
    expect_span(page, (20, 22))
    page.keyboard.press("Escape")
    expect_span(page, None)
    expect_pin(page, 7, 20)
    page.keyboard.press("Escape")
    expect_no_pin(page)


def test_shift_and_enter_select_without_a_mouse(visit):
    page = visit("rich")
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+Enter")
    expect_span(page, (0, 0))
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Enter")
    expect_span(page, (0, 4))


def test_a_drag_on_the_axis_selects_in_either_direction_and_a_click_there_releases(visit):
    page = visit("rich")
    page.mouse.move(*strip_point(page, 30))
    page.mouse.down()
    page.mouse.move(*strip_point(page, 11), steps=6)
    expect(page.get_by_test_id("readout")).to_contain_text("tokens 11–30 (20)")
    expect(page.get_by_text("span: None")).to_be_visible()
    page.mouse.up()
    expect_span(page, (11, 30))
    assert window(page) == (0, 50)
    page.mouse.click(*strip_point(page, 40))
    expect_span(page, None)
    page.mouse.click(*strip_point(page, 40))
    expect_span(page, (40, 40))


def test_shift_and_click_on_a_token_of_the_text_select(visit):
    page = visit("rich")
    page.locator(".token", has_text="mixture").click()
    expect_pin(page, None, 3)
    page.locator(".token", has_text="sends").click(modifiers=["Shift"])
    expect_span(page, (3, 6))
    assert page.get_by_test_id("tokens").evaluate(SELECTED) == ""


def test_a_drag_over_the_text_marks_it_for_copying_and_pins_nothing(visit):
    page = visit("rich")
    first, last = (page.locator(".token", has_text=word).bounding_box() for word in ("mixture", "sends"))
    page.mouse.move(first["x"] + 1, first["y"] + first["height"] / 2)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] - 1, last["y"] + last["height"] / 2, steps=5)
    page.mouse.up()
    assert re.search(r"mixture.*sends", page.get_by_test_id("tokens").evaluate(SELECTED), re.DOTALL)
    expect_no_pin(page)
    expect_span(page, None)


def test_python_can_select_and_the_reader_wins_afterwards(visit):
    page = visit("rich")
    page.get_by_text("Select 3 to 8 from Python").click()
    expect_span(page, (3, 8))
    shift_click(page, cell_centre(page, 0, 10))
    expect_span(page, (3, 10))


def test_without_a_listener_there_are_no_ranges_and_no_links(visit):
    page = visit("tokens_demo")
    shift_click(page, cell_centre(page, 7, 20))
    expect_pin(page, 7, 20)
    page.mouse.click(*name_point(page, 4))
    page.keyboard.press("l")
    page.keyboard.press("?")
    expect(page.get_by_test_id("keys")).not_to_contain_text("open the row", use_inner_text=True)
    expect(page.get_by_text("span: None, row: None")).to_be_visible()


def test_a_range_sends_less_than_3_kb_whatever_the_size(visit):
    page = visit("heavy")
    page.frames_in.clear()
    page.mouse.move(*strip_point(page, 1000))
    page.mouse.down()
    page.mouse.move(*strip_point(page, 5000), steps=4)
    page.mouse.up()
    expect(page.get_by_text(re.compile(r"span: \(\d+, \d+\)"))).to_be_visible()
    page.wait_for_timeout(500)
    opening, *rest = page.frames_in
    assert len(opening) < 3000 and sum(map(len, rest)) < 3000


ACCENTED = """(canvas, [x, y, width, height]) => {
    const ratio = window.devicePixelRatio, root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
    const name = getComputedStyle(root).getPropertyValue("--st-primary-color").trim();
    const accent = name.match(/[0-9a-f]{2}/gi).map((hex) => parseInt(hex, 16));
    const place = [x, y, width, height].map((n) => Math.round(n * ratio));
    const data = canvas.getContext("2d").getImageData(...place).data;
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
        found += data[i + 3] > 250 && accent.every((c, k) => Math.abs(c - data[i + k]) < 4);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_range_has_brackets_beside_it_and_leaves_its_cells_as_they_are(visit, scheme):
    page = visit("rich", color_scheme=scheme)
    shift_click(page, cell_centre(page, 5, 10))
    shift_click(page, cell_centre(page, 5, 20))
    expect_span(page, (10, 20))
    page.mouse.move(0, 0)
    x, y, width, height = map(float, page.get_by_test_id("heatmap").get_attribute("data-plot").split())
    cell = width / 50
    marks = page.get_by_test_id("marks")
    for edge in (x + 10 * cell - 4, x + 21 * cell - 1):
        assert marks.evaluate(ACCENTED, [edge, y, 5, height]) >= 2 * height - 4
    painted = "(c, box) => c.getContext('2d').getImageData(...box.map(Math.round)).data.some(Boolean)"
    assert not marks.evaluate(painted, [x + 10 * cell + 2, y, 11 * cell - 4, height])


def test_the_name_of_a_row_is_a_link(visit):
    page = visit("rich")
    page.mouse.move(*name_point(page, 4))
    expect(page.get_by_test_id("readout")).to_contain_text("layer 4 · click to open")
    assert page.get_by_test_id("marks").evaluate("(e) => e.style.cursor") == "pointer"
    page.mouse.click(*name_point(page, 4))
    expect(page.get_by_text("row: 4")).to_be_visible()
    expect_no_pin(page)


def test_l_opens_the_row_of_the_cursor(visit):
    page = visit("rich")
    page.get_by_test_id("matrix").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("l")
    expect(page.get_by_text("row: 2")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_test_id("keys")).to_contain_text("open the row", use_inner_text=True)


@pytest.mark.parametrize(
    ("keys", "token"),
    [
        ([".", "."], 31),
        ([".", ".", ","], 7),
        (["n"], 4),
        (["n", "n"], 20),
        (["n", "n", "Shift+N"], 4),
        (["End", "N"], 40),
    ],
)
def test_keys_walk_to_the_given_changes_and_stops(visit, keys, token):
    page = visit("rich")
    page.get_by_test_id("matrix").focus()
    for key in ["Home", *keys]:
        page.keyboard.press(key)
    readout = page.get_by_test_id("readout")
    expect(readout.locator("b").first).to_have_text(f"token {token}")
    if token in {4, 20, 40}:
        expect(readout).to_contain_text("near tie")


def test_a_walk_that_finds_nothing_says_so(visit):
    page = visit("rich")
    page.get_by_test_id("matrix").focus()
    page.keyboard.press("End")
    page.keyboard.press("n")
    expect(page.get_by_test_id("readout")).to_contain_text("no near tie after this one in layer 0")


def test_matrices_of_a_group_share_cursor_and_window_and_one_of_them_speaks(visit):
    page = visit("twins")
    first, second = page.get_by_test_id("heatmap").first, page.get_by_test_id("heatmap").last
    expect(second).to_have_attribute("data-ready", "true")
    page.mouse.move(*cell_centre(first, 3, 7))
    words = [heatmap.get_by_test_id("readout").inner_text() for heatmap in (first, second)]
    assert words[0] == words[1] and words[0].startswith("expert 7 · block 6")
    live = [heatmap.get_by_test_id("readout").get_attribute("aria-live") for heatmap in (first, second)]
    assert live == ["polite", "off"]
    second.get_by_test_id("matrix").focus()
    page.keyboard.press("+")
    windows = [heatmap.get_attribute("data-window") for heatmap in (first, second)]
    assert windows[0] == windows[1] != "0.00 64.00"
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("data-pin", "3,7")
    expect(first).to_have_attribute("data-pin", "")


def test_glyphs_and_faint_cells_are_spoken_and_explained(visit):
    page = visit("domains")
    samples = page.get_by_test_id("glyphs").locator("span").all_inner_texts()
    assert [" ".join(sample.split()) for sample in samples] == ["× dead (4)", "● hot (1)", "faint: not beyond chance"]
    readout = page.get_by_test_id("readout")
    page.mouse.move(*cell_centre(page, 2, 0))
    expect(readout).to_contain_text("× dead · not beyond chance")
    page.mouse.move(*cell_centre(page, 2, 1))
    expect(readout).to_contain_text("× dead")
    expect(readout).not_to_contain_text("chance")
    page.mouse.move(*cell_centre(page, 9, 7))
    expect(readout).to_contain_text("● hot")
