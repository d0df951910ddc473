"""A pixel that covers several cells shows the one of interest: counted on the screen, in both axes, at every zoom."""

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="install playwright to drive a browser").expect
from tests.app.components.driving import cell_centre, window  # noqa: E402

pytestmark = pytest.mark.browser


LONE_CELLS = """(canvas) => {
    const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
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


LONE_PIXELS = """(canvas) => {
    const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
    const ratio = window.devicePixelRatio;
    const [x, y, width, height] = root.dataset.plot.split(" ").map((n) => Math.round(n * ratio));
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(x, y, width, height).data.buffer);
    const ground = pixels[width - 1], rows = new Set(), columns = new Set();
    pixels.forEach((pixel, at) => pixel !== ground && (rows.add(Math.floor(at / width)), columns.add(at % width)));
    const groups = (found) => [...found].filter((at) => !found.has(at - 1)).length;
    return [groups(rows), groups(columns)];
}"""


@pytest.mark.parametrize(("width", "ratio"), [(1280, 1), (1280, 2), (360, 1)])
def test_all_64_lone_cells_of_512_by_512_are_seen_in_both_axes(visit, width, ratio):
    page = visit("lone_square", viewport={"width": width, "height": 900}, device_scale_factor=ratio)
    assert page.get_by_test_id("cells").evaluate(LONE_PIXELS) == [64, 64]


def test_lone_cells_of_a_square_are_seen_while_both_axes_zoom(visit):
    page = visit("lone_square")
    page.get_by_test_id("matrix").focus()
    for _ in range(4):
        page.keyboard.press("+")
        left, right = window(page)
        top, bottom = map(float, page.get_by_test_id("heatmap").get_attribute("data-rows").split())
        assert (top, bottom) == (left, right) != (0, 512)
        at = range(4, 512, 8)
        inside = sum(left <= place and place + 1 <= right for place in at)
        partly = sum(left < place + 1 and place < right for place in at)
        rows, columns = page.get_by_test_id("cells").evaluate(LONE_PIXELS)
        assert inside <= rows <= partly and inside <= columns <= partly


CENTRES = """(canvas) => {
    const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
    const [rows, columns] = root.dataset.shape.split("x").map(Number);
    const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
    const context = canvas.getContext("2d");
    const at = (row, column) => [...context.getImageData(
        Math.floor(x + (column + 0.5) / columns * width), Math.floor(y + (row + 0.5) / rows * height), 1, 1).data];
    return Array.from({length: rows}, (_, row) => Array.from({length: columns}, (_, column) => at(row, column)));
}"""


def test_64_by_64_cells_are_square_and_each_has_its_colour(visit):
    page = visit("small_square")
    _, _, width, height = map(float, page.get_by_test_id("heatmap").get_attribute("data-plot").split())
    assert width == height > 600
    colours = page.get_by_test_id("cells").evaluate(CENTRES)
    hot = [(row, column) for row in range(64) for column in range(64) if colours[row][column] != colours[0][1]]
    assert hot == [(at, at) for at in range(64)]


def test_a_supported_cell_is_never_hidden_by_faint_ones(visit):
    page = visit("faint_spike")
    assert page.get_by_test_id("cells").evaluate(LONE_CELLS) == 1
    page.mouse.move(*cell_centre(page, 7, 4000))
    expect(page.get_by_test_id("readout")).to_contain_text(
        "token 4000 · layer 7 · lift 0.500".replace("token", "expert")
    )


def test_the_null_value_of_a_difference_is_the_grey_in_the_middle(visit):
    page = visit("difference")
    red, green, blue, _ = page.get_by_test_id("cells").evaluate(CENTRES)[0][0]  # sin(0) cos(0) = 0, the null value
    assert max(red, green, blue) - min(red, green, blue) <= 4


def test_undefined_cells_are_hatched_and_no_value_is(visit):
    page = visit("domains")
    several = """(canvas, [row, column]) => {
        const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
        const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
        const data = canvas.getContext("2d").getImageData(
            Math.ceil(x + column / 24 * width) + 3, Math.ceil(y + row / 16 * height) + 3, 20, 12).data;
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    cells = page.get_by_test_id("cells")
    assert cells.evaluate(several, [5, 3]) > 1
    assert cells.evaluate(several, [5, 4]) == 1
