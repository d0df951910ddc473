"""The dashboard as a person meets it: a real server, a real browser, two people at once, and nothing sent elsewhere."""

import re
import urllib.request

import pandas as pd
import pytest

from gatescope.studies.export import read_trace_csv
from tests.app.browser.harness import address, ask, at_rest, download, run, text_of, visit  # noqa: F401

# ruff: noqa: F811  # the fixtures above are arguments below

pytestmark = pytest.mark.browser

TEXT = "The cat sat on the mat, and the dog sat on the cat. =1+1 <b>NA</b>"


def wait_for_pin(page, token: int) -> None:
    page.locator(".gs-card dd").first.filter(has_text=re.compile(rf"^{token} of")).wait_for()


def test_a_first_visit_ends_in_a_picture_with_one_sentence_over_it(visit):
    page = visit()
    page.get_by_text("reading an example").wait_for()
    page.get_by_test_id("matrix").wait_for()
    assert page.locator(".gs-card").is_visible()


def test_every_answer_carries_the_safe_headers(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_paste_run_pin_read_take_away_and_come_back(visit):
    page = visit()
    capture = run(page, TEXT)
    page.get_by_test_id("tokens").locator(".token").nth(3).click()
    wait_for_pin(page, 3)
    assert "t=3" in page.url
    assert page.locator(".gs-card tbody tr").count() == 2
    trace = read_trace_csv(download(page, "Trace (CSV)"))
    first = trace.drop_duplicates("position")
    assert "".join(first.loc[~first["is_special"], "token"]) == TEXT
    assert trace["capture"].unique().tolist() == [capture]
    counts = pd.read_csv(download(page, "Counts (CSV)"))
    assert counts["tokens"].sum() == len(trace)
    shown = page.locator(".gs-card tbody tr").first.locator(".expert:not(.rejected) a").all_inner_texts()
    rows = trace[(trace["position"] == 3) & (trace["layer"] == 0)].sort_values("slot")
    assert shown == rows["expert"].astype(str).tolist()
    page.reload()
    wait_for_pin(page, 3)
    page.wait_for_function("text => document.querySelector('textarea')?.value === text", arg=TEXT)


def test_tokens_are_counted_while_the_text_is_typed(visit):
    page = visit()
    at_rest(page)
    box = page.get_by_role("textbox", name="Your text")
    box.press_sequentially("a b", delay=20)
    page.get_by_text("3 of 512 tokens").wait_for()
    box.press_sequentially(" c d", delay=20)
    page.get_by_text("5 of 512 tokens").wait_for()
    assert box.input_value() == "a b c d"
    assert box.evaluate("area => area === document.activeElement")
    box.fill("x " * 600)
    page.get_by_text("shorten it by").wait_for()
    page.get_by_text("A few words").click()
    page.get_by_text("shorten it by").wait_for(state="detached")


def test_a_cell_is_pinned_by_mouse_and_released_by_escape(visit):
    page = visit()
    run(page, TEXT)
    cells = page.get_by_test_id("cells")
    box = cells.bounding_box()
    cells.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.5}, force=True)
    page.wait_for_url(re.compile(r"t=\d+"))
    page.get_by_test_id("matrix").press("Escape")
    page.get_by_text("No token is pinned.").wait_for()
    assert "t=" not in page.url


def test_back_and_forward_walk_through_what_was_looked_at(visit):
    page = visit()
    run(page, TEXT)
    for token in (2, 5):
        page.get_by_test_id("tokens").locator(".token").nth(token).click()
        wait_for_pin(page, token)
    page.get_by_text("Entropy", exact=True).click()
    page.get_by_text("Gate entropy is lowest").wait_for()
    page.go_back()
    page.get_by_text("Each layer sends every token").wait_for()
    page.go_back()
    wait_for_pin(page, 2)
    page.go_forward()
    wait_for_pin(page, 5)


def test_the_keyboard_alone_asks_and_pins(visit):
    page = visit()
    page.get_by_test_id("matrix").wait_for()
    before = page.url
    box = page.get_by_role("textbox", name="Your text")
    box.fill("Only keys were pressed here.")
    box.press("Control+Enter")
    page.wait_for_function("before => location.href != before && location.search.includes('c=')", arg=before)
    page.get_by_test_id("tokens").filter(has_text="Only").wait_for()  # the new picture, not the one before
    matrix = page.get_by_test_id("matrix")
    matrix.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
        matrix.press(key)
    wait_for_pin(page, 2)


def test_two_people_with_two_texts_each_see_their_own(visit):
    one, two = visit(), visit()
    for page in (one, two):
        page.get_by_test_id("matrix").wait_for()
    ask(one, "one and only one")
    ask(two, "two or more than two people")
    for page, text in ((one, "one and only one"), (two, "two or more than two people")):
        page.wait_for_url(re.compile(r"c=[a-z2-7]{16}"))
        at_rest(page)
        assert text_of(download(page, "Trace (CSV)")) == text


def test_a_long_pass_shows_its_layers_and_stops_when_cancelled(visit):
    page = visit("?m=sift-softmax")  # the larger model: its pass lasts long enough to be watched on any machine
    page.get_by_text("0 of 2,048 tokens").wait_for()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("spinbutton", name="Tokens to generate").fill("1900")
    page.get_by_role("spinbutton", name="Tokens to generate").press("Enter")
    page.keyboard.press("Escape")
    ask(page, "This takes a while " * 20)
    page.get_by_text("Writing token").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel").wait_for(state="detached")
    page.get_by_text("Cancelled. Writing token").wait_for()
    assert "c=" not in page.url


def test_markup_in_a_text_is_shown_not_run(visit):
    page = visit()
    run(page, "<img src=x onerror=alert(1)><script>alert(2)</script>")
    for token in range(page.get_by_test_id("tokens").locator(".token").count()):
        page.get_by_test_id("tokens").locator(".token").nth(token).click()
        wait_for_pin(page, token)
    assert page.locator(".gs-card img, .gs-card script").count() == 0


def test_an_unknown_capture_is_said(visit):
    page = visit("?c=aaaaaaaaaaaaaaaa&t=1")
    page.get_by_text("Capture not found").wait_for()
    page.get_by_role("button", name="Show the example").click()
    page.get_by_text("reading an example").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off(visit, tmp_path, scheme, width):
    page = visit(width=width, scheme=scheme)
    page.get_by_test_id("matrix").wait_for()
    page.locator(".gs-card").wait_for()
    page.set_viewport_size({"width": width, "height": 1900})
    page.wait_for_timeout(1000)
    page.screenshot(path=tmp_path / f"prompt-{scheme}-{width}.png")
    wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert wide <= width
