"""What the browser tests of the matrix do and read: where a cell is, what is pinned, what is on screen."""

TAB_STOPS = """(e) => [...e.querySelectorAll('*')]
    .filter((x) => x.tabIndex >= 0 && x.checkVisibility())
    .map((x) => x.dataset.testid)"""
READY = '[data-testid="heatmap"][data-ready="true"]'


def cell_centre(page, row: int, column: int) -> tuple[float, float]:
    """Where a cell of the whole matrix is on screen: its canvas less the margins for names, by proportion."""
    return tuple(
        page.get_by_test_id("marks").evaluate(
            """(canvas, [row, column]) => {
                const root = canvas.getRootNode().querySelector('[data-testid="heatmap"]');
                const [rows, columns] = root.dataset.shape.split("x").map(Number);
                const [x, y, width, height] = root.dataset.plot.split(" ").map(Number);
                const {left, top} = canvas.getBoundingClientRect();
                return [left + x + (column + 0.5) / columns * width, top + y + (row + 0.5) / rows * height];
            }""",
            [row, column],
        )
    )


def click_cell(page, row: int, column: int) -> None:
    """Click into the middle of a cell of the whole matrix."""
    page.mouse.click(*cell_centre(page, row, column))


def expect_pin(page, row: int | None, column: int) -> None:
    """Browser and Python agree on the pin."""
    from playwright.sync_api import expect

    expect(page.get_by_text(f"pin: Pick(row={row}, column={column})")).to_be_visible()
    expect(page.get_by_test_id("heatmap")).to_have_attribute("data-pin", f"{'' if row is None else row},{column}")


def expect_no_pin(page) -> None:
    """Neither knows of a pin."""
    from playwright.sync_api import expect

    expect(page.get_by_text("pin: None")).to_be_visible()
    expect(page.get_by_test_id("heatmap")).to_have_attribute("data-pin", "")


def window(page) -> tuple[float, float]:
    """First and end column on screen."""
    left, right = page.get_by_test_id("heatmap").get_attribute("data-window").split()
    return float(left), float(right)


def strip_point(page, column: int) -> tuple[float, float]:
    """A point on the axis strip, below the middle of a column of the whole matrix."""
    x, _ = cell_centre(page, 0, column)
    y = page.get_by_test_id("marks").evaluate("(e) => e.getBoundingClientRect().bottom - 10")
    return x, y


def name_point(page, row: int) -> tuple[float, float]:
    """A point on the name of a row."""
    _, y = cell_centre(page, row, 0)
    x = page.get_by_test_id("marks").evaluate(
        "(e) => e.getBoundingClientRect().left + Number("
        "e.getRootNode().querySelector('[data-testid=heatmap]').dataset.plot.split(' ')[0]) - 14"
    )
    return x, y
