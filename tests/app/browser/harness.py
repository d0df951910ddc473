"""What every test in a browser needs: a server of its own, Chromium, and people who note whatever goes wrong."""

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from gatescope.app.shell.navigation import find_pages
from gatescope.studies.export import read_trace_csv

ROOT = Path(__file__).parents[3]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
PATIENCE_MS = 120_000
"""After which what should have happened never will, on a machine however busy."""

PROBING = re.compile(r"/\w+/_stcore/(health|host-config)$")
"""Where Streamlit's client first looks for its server when a page is opened by its address: a 404, by design."""

LONGEST_NEWS = 100_000
"""Bytes of the messages in which a server says that a run of a page has begun or ended; longer ones are pictures."""

NOT_OURS = ["[data-testid=stSidebarNavItems]"]
"""What axe-core finds in Streamlit's own parts and nobody here can change: the list of pages in a narrow window."""


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[str]:
    """A dashboard of its own on a free port, its captures in a fresh folder; its log is free of tracebacks."""
    own = {"GATESCOPE_CACHE_DIR": str(folder / "captures")} | settings
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py"]
    with answering(command, folder / "log", os.environ | own) as url:
        yield f"{url}/"
    said = (folder / "log").read_text()
    assert "Traceback" not in said, said[said.find("Traceback") :][:4000]


@contextmanager
def answering(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a Streamlit server that answers; it is started anew where another took its port meanwhile."""
    with log.open("wb") as written:
        for _ in range(5):
            port = free_port()
            served = [*command, f"--server.port={port}"]
            server = subprocess.Popen(served, cwd=ROOT, env=environment, stdout=written, stderr=written)
            try:
                if answers(port, server):
                    yield f"http://127.0.0.1:{port}"
                    return
            finally:
                server.terminate()
                try:
                    server.wait(60)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()
    raise TimeoutError(f"the dashboard did not start: {log.read_text()[-2000:]}")


def free_port() -> int:
    """A port nobody listens at, out of those that a system gives to nobody who asks for any (Linux: above 32767)."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(port: int, server: subprocess.Popen) -> bool:
    """Whether a server comes to answer at its port, before it ends or time is up."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=10).close()
        except OSError:
            time.sleep(0.2)
        else:
            return server.poll() is None
    return False


@pytest.fixture(scope="session")
def browser():
    """Chromium, where there is one: one for all tests, since its driver cannot be started twice."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"install Chromium as {CHROMIUM}, or name one in the variable CHROMIUM")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as run:
        chromium = run.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tiny_model, tmp_path_factory):
    """A dashboard whose first model is tiny and random."""
    own = {"GATESCOPE_MODEL": str(tiny_model), "GATESCOPE_MODELS": "sift-softmax", "GATESCOPE_MAX_NEW_TOKENS": "1900"}
    with serving(tmp_path_factory.mktemp("server"), **own) as url:
        yield url


@dataclass
class People:
    """Opens pages, each as a new person unless told otherwise, and notes all that nobody should see."""

    browser: object
    address: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    contexts: list = field(default_factory=list)

    def __call__(self, path: str = "", *, width: int = 1280, height: int = 1000, scheme: str = "light", **options):
        """The page at an address, as a new person sees it."""
        viewport = {"width": width, "height": height}
        context = self.browser.new_context(viewport=viewport, color_scheme=scheme, **options)
        self.contexts.append(context)
        context.on("request", lambda request: self._note_host(request.url))
        return self.open(context, path)

    def open(self, context, path: str = ""):
        """One more page of the same person."""
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.received, page.sent, page.runs = [], [], []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("dialog", lambda dialog: (self._note(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("websocket", lambda wire: self._tap(page, wire))
        page.goto(self.address + path)
        return page

    def leave(self) -> None:
        """All of them go; none has seen an error or called another host."""
        for context in self.contexts:
            context.close()
        assert not self.complaints, "\n".join(self.complaints)
        assert self.hosts <= {"127.0.0.1"}, sorted(self.hosts)

    def _hear(self, said) -> None:
        if said.type == "error" and not PROBING.search(said.location["url"]):
            self._note(f"{said.text} {said.location['url']}")

    def _note(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def _note_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about", "file"):
            self.hosts.add(parts.hostname or url)

    def _tap(self, page, wire) -> None:
        """Keep what passes, and of a wire that was opened last, what became of the runs that were asked for."""
        self._note_host(wire.url)
        runs = page.runs = []

        def receive(frame) -> None:
            page.received.append(frame)
            if isinstance(frame, bytes) and len(frame) < LONGEST_NEWS:
                said = ForwardMsg.FromString(frame).WhichOneof("type")
                runs.extend({"new_session": ["begun"], "script_finished": ["ended"]}.get(said, []))

        def send(frame) -> None:
            page.sent.append(frame)
            if isinstance(frame, bytes) and BackMsg.FromString(frame).WhichOneof("type") == "rerun_script":
                runs.append("asked")

        wire.on("framereceived", receive)
        wire.on("framesent", send)


@pytest.fixture
def visit(browser, address):
    """Opens a page as a new person; at the end, none of them has seen an error or called another host."""
    people = People(browser, address)
    yield people
    people.leave()


SETTLED = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
    const parts = hosts.map((host) => host.shadowRoot);
    const stands = app?.dataset.testScriptState === 'notRunning' && document.querySelector('h1') !== null
        && !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner], [data-stale=true]')
        && parts.every((part) => part?.childElementCount && !part.querySelector('.heatmap:not([data-ready=true])'));
    if (!stands) { window.gsSettled = undefined; return false; }
    window.gsSettled ??= performance.now();
    return performance.now() - window.gsSettled > 600;
}"""


PAGES = find_pages()
PATHS = {page.address: "" if page is PAGES[0] else page.address for page in PAGES}
"""Where each page is: the first one at the bare address."""


def go_to(page, name: str) -> None:
    """Go to another page as a reader does: by its link in the sidebar."""
    wanted = next(each for each in PAGES if each.address == name)
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=wanted.title, exact=True).click()
    page.wait_for_function("path => location.pathname.slice(1) === path", arg=PATHS[name])
    settled(page)


def errors(page) -> list[str]:
    """What the boxes say that say something went wrong."""
    return page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all_inner_texts()


def settled(page) -> None:
    """Wait until the page has stood still for a moment, and the server has done all that it was asked for."""
    end = time.monotonic() + PATIENCE_MS / 1000
    page.evaluate("window.gsSettled = undefined")
    page.wait_for_function(SETTLED)
    while not is_answered(page.runs):
        assert time.monotonic() < end, f"the server never came to the end of it: {page.runs}"
        page.wait_for_timeout(50)
        page.evaluate("window.gsSettled = undefined")
        page.wait_for_function(SETTLED)


def is_answered(runs: list[str]) -> bool:
    """Whether a run began after the last one was asked for, and has ended."""
    asked = max((at for at, said in enumerate(runs) if said == "asked"), default=0)
    return runs[-1:] == ["ended"] and "begun" in runs[asked:]


def at_rest(page) -> None:
    """Wait until what is shown is what was asked for, nothing older beside it."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("matrix").wait_for()


def ask(page, text: str) -> None:
    """Give the model a text."""
    page.get_by_role("textbox", name="Your text").fill(text)
    page.get_by_role("button", name="Run").first.click()


def run(page, text: str) -> str:
    """Run a text; the id of its capture."""
    page.get_by_test_id("matrix").wait_for()
    before = page.url
    ask(page, text)
    page.wait_for_function("before => location.href != before && location.search.includes('c=')", arg=before)
    at_rest(page)
    return re.search(r"[?&]c=([a-z2-7]{16})", page.url)[1]


def download(page, button: str) -> Path:
    """The file that a button hands out."""
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    return started.value.path()


def text_of(trace: Path) -> str:
    """The text that was read, put together from a trace."""
    first = read_trace_csv(trace).drop_duplicates("position")
    return "".join(first.loc[~first["is_special"] & ~first["is_generated"], "token"])


def overflow(page) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate(
        """() => {
            const main = document.querySelector('[data-testid=stMain]');
            return Math.max(main.scrollWidth - main.clientWidth,
                document.documentElement.scrollWidth - document.documentElement.clientWidth);
        }"""
    )


@cache
def _axe_source() -> str:
    return AXE.read_text("utf-8")


def violations(page) -> list[str]:
    """What axe-core finds of serious and critical impact, the first three places of each."""
    if not AXE.exists():
        pytest.skip("make browser installs axe-core (needs npm)")
    page.evaluate(_axe_source())
    found = page.evaluate(
        "(exclude) => axe.run({exclude}, {resultTypes: ['violations']}).then((result) => result.violations)", NOT_OURS
    )
    return [
        f"{one['id']} ({one['impact']}, {len(one['nodes'])} places): {one['help']}: "
        + " | ".join(f"{json.dumps(node['target'])} {node['html'][:160]}" for node in one["nodes"][:3])
        for one in found
        if one["impact"] in SERIOUS
    ]
