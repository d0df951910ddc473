"""A server on the page of matrices, and a reader who notes whatever goes wrong."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.browser.harness import PATIENCE_MS, ROOT, answering
from tests.app.components.driving import READY

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Streamlit server on the page of matrices."""
    command = [sys.executable, "-m", "streamlit", "run", str(HERE / "heatmap_app.py")]
    command += ["--server.headless=true", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
    log = tmp_path_factory.mktemp("streamlit") / "log.txt"
    with answering(command, log, os.environ | {"PYTHONPATH": str(ROOT)}) as url:
        yield url


@pytest.fixture(scope="session")
def contexts(browser) -> Iterator[dict]:  # noqa: ARG001 - they are closed before it is
    """One browser profile for each set of options, so that Streamlit's own files are loaded once."""
    opened: dict = {}
    yield opened
    for context in opened.values():
        context.close()


@pytest.fixture
def visit(browser, contexts: dict, address: str):
    """Open a matrix of the page; anything the page throws or asks fails the test."""
    pages, complaints = [], []

    def open_page(show: str, pin: str = "", **options) -> object:
        options = {"viewport": {"width": 1280, "height": 1000}, "color_scheme": "light"} | options
        if (profile := repr(options)) not in contexts:
            contexts[profile] = browser.new_context(**options)
        page = contexts[profile].new_page()
        page.set_default_timeout(PATIENCE_MS)
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.frames_in, page.frames_out = [], []
        page.on("websocket", lambda wire: _tap(page, wire))
        page.goto(f"{address}/?show={show}&pin={pin}")
        page.wait_for_selector(READY)
        page.get_by_text("Release from Python").wait_for()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.wait_for_timeout(300)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def _tap(page, wire) -> None:
    """Keep the frames that pass."""
    wire.on("framereceived", lambda frame: page.frames_in.append(frame))
    wire.on("framesent", lambda frame: page.frames_out.append(frame))
