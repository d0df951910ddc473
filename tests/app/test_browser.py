"""The dashboard as a person meets it: a real server, a real browser, two people at once, and nothing sent elsewhere."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from app.export import read_trace_csv

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
TEXT = "The cat sat on the mat, and the dog sat on the cat. =1+1 <b>NA</b>"


@pytest.fixture(scope="module")
def address(tiny_model, tmp_path_factory):
    """A dashboard of its own on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    own = {"GATESCOPE_MODEL": str(tiny_model), "GATESCOPE_CACHE_DIR": str(folder / "captures")}
    own |= {"GATESCOPE_MODELS": "sift-softmax", "GATESCOPE_MAX_NEW_TOKENS": "1900"}
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(20)
    assert "Traceback" not in (folder / "log").read_text()


def _wait_for(url: str, server: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError("the dashboard did not start")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"install Chromium as {CHROMIUM}")
    with playwright.sync_playwright() as run:
        chromium = run.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Opens a page as a new person; at the end, none of them has seen an error or called another host."""
    contexts, complaints, hosts = [], [], set()

    def open_page(path: str = "", *, width: int = 1280, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert hosts <= {"127.0.0.1"}


def ask(page, text: str) -> None:
    page.get_by_role("textbox", name="Your text").fill(text)
    page.get_by_role("button", name="Run").click()


def at_rest(page) -> None:
    """Wait until what is shown is what was asked for, nothing older beside it."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("matrix").wait_for()


def run(page, text: str) -> str:
    """Run a text; the id of its capture."""
    page.get_by_test_id("matrix").wait_for()
    before = page.url
    ask(page, text)
    page.wait_for_function("before => location.href != before && location.search.includes('c=')", arg=before)
    at_rest(page)
    return re.search(r"[?&]c=([a-z2-7]{16})", page.url)[1]


def wait_for_pin(page, token: int) -> None:
    page.locator(".gs-card dd").first.filter(has_text=re.compile(rf"^{token} of")).wait_for()


def download(page, button: str) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    return started.value.path()


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
    trace = read_trace_csv(download(page, "Trace"))
    first = trace.drop_duplicates("position")
    assert "".join(first.loc[~first["is_special"], "token"]) == TEXT
    assert trace["capture"].unique().tolist() == [capture]
    counts = pd.read_csv(download(page, "Counts"))
    assert counts["tokens"].sum() == len(trace)
    shown = page.locator(".gs-card tbody tr").first.locator(".expert:not(.rejected) b").all_inner_texts()
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
    page.get_by_text("Selection margin is lowest").wait_for()
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
        first = read_trace_csv(download(page, "Trace")).drop_duplicates("position")
        assert "".join(first.loc[~first["is_special"], "token"]) == text


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
