"""Learnt once, true everywhere: hover shows, click pins, Esc releases, keys move, and an address is a state."""

import re

import pytest

from tests.app.browser.harness import PAGES, PATHS, errors, go_to, run, settled

pytestmark = pytest.mark.browser

TEXT = "The committee met in Geneva on 12 March 2021, and def f(x): return x + 1 was not discussed."
PINS = ("t", "l", "e")
GARBAGE = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
PARAMETERS = ("c", "vs", "d", "t", "l", "e", "r", "f", "s", "by", "view", "m", "p")


def pinned(page) -> dict[str, str]:
    """What the address says is pinned."""
    return dict(re.findall(r"[?&](t|l|e)=(\d+)", page.url))


def heatmaps(page):
    return page.locator("[data-testid=heatmap][data-ready=true]")


def window(page) -> tuple[float, ...]:
    """First and last column (and row) on screen."""
    return tuple(map(float, page.get_by_test_id("heatmap").first.get_attribute("data-window").split()))


@pytest.mark.parametrize("name", PATHS)
def test_pointing_at_a_figure_sends_nothing(visit, name):
    page = visit(PATHS[name])
    settled(page)
    figures = [*heatmaps(page).get_by_test_id("matrix").all(), *page.locator(".js-plotly-plot").all()]
    for figure in figures:
        figure.scroll_into_view_if_needed()
        settled(page)
        page.sent.clear()
        page.received.clear()
        box = figure.bounding_box()
        for step in range(1, 20):
            page.mouse.move(box["x"] + box["width"] * step / 20, box["y"] + box["height"] * (0.3 + 0.02 * step))
        page.wait_for_timeout(400)
        assert (page.sent, page.received) == ([], [])
    if not figures:
        pytest.skip("this page shows no figure at first")


def test_a_click_pins_and_escape_releases(visit):
    page = visit()
    run(page, TEXT)
    cells = page.get_by_test_id("cells")
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    cells.click(position={"x": box["width"] * 0.6, "y": box["height"] * 0.5}, force=True)
    page.wait_for_function("before => location.href !== before", arg=page.url)
    settled(page)
    assert set(pinned(page)) == {"t", "l"}
    page.get_by_test_id("matrix").press("Escape")
    page.wait_for_function("() => !/[?&]t=/.test(location.search)")
    settled(page)
    assert pinned(page) == {}


def test_the_keys_do_what_they_say(visit):
    page = visit()
    run(page, TEXT)
    matrix, readout = page.get_by_test_id("matrix"), page.get_by_test_id("readout")
    matrix.press("Escape")
    page.wait_for_function("() => !/[?&]t=/.test(location.search)")
    settled(page)
    whole = window(page)
    matrix.focus()
    page.keyboard.press("Home")
    said = [readout.inner_text()]
    for key in (".", ".", ",", "n"):
        page.keyboard.press(key)
        said.append(readout.inner_text())
    assert said[1] != said[0] and said[2] != said[1], "full stop goes on"
    assert said[3].split("·")[0] == said[1].split("·")[0], "comma goes back to where the last full stop began"
    assert said[4] != said[3], "n goes to a near tie"
    page.keyboard.press("+")
    closer = window(page)
    assert closer[1] - closer[0] < whole[1] - whole[0]
    page.keyboard.press("-")
    assert window(page) == whole
    page.keyboard.press("Enter")
    page.wait_for_function("() => /[?&]t=/.test(location.search)")
    settled(page)
    token = int(pinned(page)["t"])
    matrix.focus()
    page.keyboard.press("f")
    near = window(page)
    assert near[0] <= token < near[1] and near[1] - near[0] < whole[1] - whole[0]
    page.keyboard.press("0")
    assert window(page) == whole
    page.keyboard.press("?")
    page.get_by_test_id("keys").wait_for()
    page.keyboard.press("?")
    page.get_by_test_id("keys").wait_for(state="hidden")


@pytest.mark.timeout(900)  # every page, there and back
def test_what_is_pinned_goes_along_to_every_page_and_back(visit):
    page = visit()
    capture = run(page, TEXT)
    page.goto(f"{page.url.split('?')[0]}?c={capture}&t=3&l=2&e=5")
    settled(page)
    walked = [page.url]
    for each in [*PAGES[1:], PAGES[0]]:
        go_to(page, each.address)
        page.wait_for_function("() => location.search")
        assert pinned(page) == {"t": "3", "l": "2", "e": "5"}, each.title
        assert f"c={capture}" in page.url, each.title
        walked.append(page.url)
    for before in reversed(walked[:-1]):
        page.go_back()
        settled(page)
        assert page.url == before
        assert pinned(page) == {"t": "3", "l": "2", "e": "5"}


def test_back_pressed_twice_at_once_leads_two_pages_back(visit):
    page = visit()
    capture = run(page, TEXT)
    first = page.url
    for name in ("layers", "model"):
        go_to(page, name)
    page.evaluate("() => { history.back(); history.back(); }")
    page.wait_for_url(first)
    settled(page)
    assert f"c={capture}" in page.url
    assert page.get_by_role("heading", name="What did the model do with my text?").count() == 1


@pytest.mark.parametrize("name", PATHS)
def test_a_link_opens_at_the_same_state_for_somebody_else(visit, name):
    one = visit()
    capture = run(one, TEXT)
    link = f"{PATHS[name]}?c={capture}&t=3&l=2&e=5"
    shown = []
    for page in (visit(link), visit(link)):
        settled(page)
        assert pinned(page) == {"t": "3", "l": "2", "e": "5"}
        assert errors(page) == []
        shown.append(page.get_by_test_id("stMain").inner_text())
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", PATHS)
def test_a_link_of_nonsense_is_told_part_by_part(visit, name):
    page = visit(f"{PATHS[name]}?" + "&".join(f"{parameter}={GARBAGE}" for parameter in PARAMETERS))
    settled(page)
    said = page.get_by_test_id("stAlertContentWarning").first.inner_text()
    assert [parameter for parameter in PARAMETERS if f"{parameter}=" not in said] == []
    assert page.locator("[data-testid=stException]").count() == 0


@pytest.mark.parametrize("name", PATHS)
def test_a_link_to_what_is_not_here_says_so_and_offers_a_way_on(visit, name):
    page = visit(f"{PATHS[name]}?c=aaaaaaaaaaaaaaaa&t=1&l=0")
    settled(page)
    assert page.locator("[data-testid=stException]").count() == 0
    if name not in ("library", "model", "guide"):
        page.get_by_text("Capture not found").wait_for()
        page.get_by_role("button", name="Show the example").click()
        page.get_by_text("Capture not found").wait_for(state="detached")
        settled(page)
        assert "aaaaaaaaaaaaaaaa" not in page.url
