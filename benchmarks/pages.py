"""How long a reader waits in the dashboard: the first picture, a change of page, a pin; bytes and blocked moments.

    python -m benchmarks.pages
    python -m benchmarks.pages --like qwen3-30b --tokens 120000 --documents 300 [--times 3]

A server of its own, Chromium, and two captures: what a fresh clone shows, and 8,192 tokens in 96 layers on the Prompt
page, routed at random: these measure the display and nothing else. Times are of the browser's own clock, from the click
to the last change; the server has seen every page once before, the browser has its files.

With `--like`, every page on a simulated study of a model's shape instead: its first opening, which is the server's
first, then a median of some more and the worst of them, bytes of a view, and the most memory that the server held.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.process import resident
from gatescope.app.shell.navigation import PageFile, find_pages
from gatescope.cache.store import Store
from gatescope.cache.workspace import STUDIES
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord
from gatescope.server.sources import ANALYSED, CAPTURED
from gatescope.simulation import GEOMETRIES
from gatescope.studies.manifest import ORDER, StudyManifest, write_manifest

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
TIMES = 5
TOKENS, LAYERS, EXPERTS, SLOTS = 8192, 96, 64, 8
LARGE, STUDY = "randomroutesaaaa", "simulatedroutesa"

WATCH = """
window.longest = 0;
const note = (task) => { window.longest = Math.max(window.longest, task.duration); };
new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type: 'longtask', buffered: true });
addEventListener('click', () => Object.assign(window, { began: performance.now(), since: null, longest: 0 }), true);
"""
"""The clock starts with the click itself: what a driver needs to bring the mouse there is no reader's wait."""
STEADY_MS = 300
STANDS = """([question, steady]) => {
    const app = document.querySelector('[data-testid=stApp]');
    const title = document.querySelector('h1')?.innerText;
    const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
    const parts = hosts.map((host) => host.shadowRoot);
    const heatmaps = parts.flatMap((part) => [...(part?.querySelectorAll('.heatmap') ?? [])]);
    const stands = app?.dataset.testScriptState === 'notRunning' && title && (question ?? title) === title
        && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')
        && parts.every((part) => part?.childElementCount)
        && heatmaps.every((heatmap) => heatmap.dataset.ready === 'true')
        && (question || heatmaps.length);
    window.since = stands ? (window.since ?? performance.now()) : null;
    return stands && performance.now() - window.since > steady && window.since - (window.began ?? 0);
}"""
"""When a page stood, once it has stood for a while: between two messages of the server it may seem to."""


class Seen(NamedTuple):
    """What one view cost: milliseconds, bytes over the WebSocket, and the longest task of the main thread."""

    wait_ms: float
    size_bytes: int
    longest_ms: float


class Reader:
    """A browser's page that counts what comes over its WebSocket."""

    def __init__(self, page: Page) -> None:
        self.page, self._bytes = page, 0
        page.set_default_timeout(180_000)
        page.add_init_script(WATCH)
        page.on("websocket", lambda wire: wire.on("framereceived", lambda frame: self._count(frame)))

    def _count(self, frame: str | bytes) -> None:
        self._bytes += len(frame)

    def view(self, act: Callable[[], Any], until: str, argument: Any) -> Seen:
        """Do something and wait until a condition gives how long it took."""
        self._bytes = 0
        act()
        waited = self.page.wait_for_function(until, arg=argument).json_value()
        return Seen(waited, self._bytes, self.page.evaluate("window.longest"))

    def opens(self, address: str, question: str) -> Seen:
        """Go to an address until the page stands; the clock is the browser's, from when the page was asked for."""
        return self.stands(lambda: self.page.goto(address), question)

    def stands(self, act: Callable[[], Any], question: str | None = None) -> Seen:
        """Do something and wait until the page stands, the question over it if one is given."""
        return self.view(act, STANDS, [question, STEADY_MS])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", choices=list(GEOMETRIES), help="the shape of a simulated study")
    parser.add_argument("--tokens", type=int, default=120_000)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--folder", type=Path, help="where the study lies, or is made (default: a temporary folder)")
    options = parser.parse_args()
    if options.like:
        with tempfile.TemporaryDirectory() as made:
            folder = options.folder or Path(made)
            _simulate(folder, options.like, options.tokens, options.documents)
            _every_page(folder, options.times)
        return
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (address, _), sync_playwright() as driver:
        Store(Path(folder)).put(LARGE, random_routes())
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        reader = Reader(chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page())
        print(f"medians of {TIMES} at a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'':<62} {'wait':>11} {'WebSocket':>14} {'longest task':>11}")
        _bundled(reader, address)
        _large(reader, address)
        chromium.close()


def _simulate(folder: Path, like: str, tokens: int, documents: int) -> None:
    """A simulated study, analysed, where the server looks for studies; one that is there already is left."""
    study = folder / STUDIES / STUDY
    if (study / ORDER).exists():
        return
    gatescope = [sys.executable, "-m", "gatescope"]
    made = ["simulate", "--like", like, "--tokens", str(tokens), "--documents", str(documents)]
    subprocess.run([*gatescope, *made, "--out", str(study / CAPTURED)], check=True, cwd=ROOT)
    subprocess.run([*gatescope, "analyze", study / CAPTURED, "--out", study / ANALYSED], check=True, cwd=ROOT)
    order = StudyManifest(
        id=STUDY, name=f"simulated {like}", model="", documents=documents, tokens=tokens, state="done"
    )
    write_manifest(study, order)


def _every_page(folder: Path, times: int) -> None:
    with _server(folder) as (address, process), sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        reader = Reader(chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page())
        print(f"{times} times at a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; milliseconds")
        print(f"{'':<24} {'first':>9} {'median':>9} {'worst':>9} {'WebSocket':>14} {'longest task':>13} {'server':>9}")
        for page in find_pages():
            link = f"{address}{page.address}?c={STUDY}"
            first, *later = [reader.opens(link, question_of(page)) for _ in range(times + 1)]
            wait, worst = median(one.wait_ms for one in later), max(one.wait_ms for one in later)
            size, longest = median(one.size_bytes for one in later), max(one.longest_ms for one in later)
            held = resident("VmHWM", process)
            line = f"{first.wait_ms:9,.0f} {wait:9,.0f} {worst:9,.0f} {size:12,.0f} B {longest:10,.0f} ms"
            print(f"{page.title:<24} {line} {held:6,.0f} MB", flush=True)
        chromium.close()


def _bundled(reader: Reader, address: str) -> None:
    """What a fresh clone shows: its example, and on pages of a corpus the probe set. A pin comes last, for it stays."""
    pages = find_pages()
    reader.stands(lambda: reader.page.goto(address))
    _row("first picture of the bundled capture", [_opened(reader, address) for _ in range(TIMES)])
    for page in pages[1:]:
        _go(reader, page)  # once, so that the server has read what the page needs
        _go(reader, pages[0])
    for page in pages[1:]:
        seen = []
        for _ in range(TIMES):
            seen.append(_go(reader, page))
            _go(reader, pages[0])
        _row(f"change to {page.title}", seen)
    _row(f"change to {pages[0].title}", [_there_and_back(reader, pages) for _ in range(TIMES)])
    _row("pin a token: until its card", [_pin(reader, token) for token in range(3, 3 + TIMES)])


def _there_and_back(reader: Reader, pages: list[PageFile]) -> Seen:
    _go(reader, pages[-1])
    return _go(reader, pages[0])


def _large(reader: Reader, address: str) -> None:
    link = f"{address}?c={LARGE}"
    reader.stands(lambda: reader.page.goto(link))
    name = f"random routes, {TOKENS:,} tokens × {LAYERS} layers"
    _row(f"{name}: first picture", [_opened(reader, link) for _ in range(TIMES)])
    _row(f"{name}: pin a token", [_pin(reader, token) for token in range(40, 40 + TIMES)])


def _opened(reader: Reader, address: str) -> Seen:
    return reader.stands(lambda: reader.page.goto(address))


def _pin(reader: Reader, token: int) -> Seen:
    """Click a token of the text; until the card is of it."""
    element = reader.page.get_by_test_id("tokens").locator(".token").nth(token)
    element.scroll_into_view_if_needed()
    until = """(token) => [...document.querySelectorAll('.st-key-card, .st-key-card *')].some((part) =>
        part.shadowRoot?.querySelector('.gs-card dd')?.innerText.startsWith(`${token} of`))
        && performance.now() - window.began"""
    seen = reader.view(element.click, until, token)
    reader.stands(lambda: None)
    return seen._replace(longest_ms=reader.page.evaluate("window.longest"))


def _go(reader: Reader, page: PageFile) -> Seen:
    """Choose a page in the sidebar; until it stands, its own title over it."""
    link = reader.page.get_by_test_id("stSidebarNav").get_by_role("link", name=page.title, exact=True)
    return reader.stands(link.click, question_of(page))


def question_of(page: PageFile) -> str:
    """The title that a page's script gives itself."""
    found = re.search(r'(?:st\.title|open_page)\(\s*"([^"]+)"', page.path.read_text("utf-8"))
    if found is None:
        raise ValueError(f"{page.path}: no title")
    return found[1]


def _row(name: str, seen: list[Seen]) -> None:
    wait, size = median(one.wait_ms for one in seen), median(one.size_bytes for one in seen)
    print(f"{name:<62} {wait:8,.0f} ms {size:12,.0f} B {max(one.longest_ms for one in seen):8,.0f} ms", flush=True)


def random_routes() -> RoutingRecord:
    """Routes drawn at random, marked as such: for measuring how they are shown."""
    random = np.random.default_rng(0)
    shape = (TOKENS, LAYERS)
    step = 2 * random.integers(0, EXPERTS // 2, shape) + 1  # odd: the experts of a token differ
    first = random.integers(0, EXPERTS, shape)
    taken = (first[..., None] + step[..., None] * np.arange(SLOTS + 1)) % EXPERTS
    weights = np.sort(random.random((*shape, SLOTS)), axis=-1)[..., ::-1]
    words = [f" {''.join(letters)}" for letters in random.choice(list("aeiourstln"), (2048, 5))]
    token = random.integers(0, len(words), TOKENS).astype(np.int32)
    return RoutingRecord(
        ids_tlk=taken[..., :SLOTS].astype(np.uint8),
        weight_tlk=weights.astype(np.float16),
        rejected_tl=taken[..., SLOTS].astype(np.uint8),
        margin_tl=random.exponential(0.5, shape).astype(np.float16),
        entropy_tl=random.uniform(1.0, np.log(EXPERTS), shape).astype(np.float16),
        token_t=token,
        document_t=np.zeros(TOKENS, np.int32),
        position_t=np.arange(TOKENS, dtype=np.int32),
        flag_t=np.zeros(TOKENS, np.uint8),
        documents=(Document("".join(words[each] for each in token)),),
        layers=tuple(
            RouterRule(layer=n, block=n, module=f"layers.{n}", experts=EXPERTS, k=SLOTS, score="softmax")
            for n in range(LAYERS)
        ),
        provenance=Provenance(model="random routes of no model", fingerprint="0" * 16, dtype="none", device="none"),
        pieces=dict(enumerate(words)),
    )


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, int]]:
    """A dashboard of its own on a free port: its address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", address[17:-1]]
    environment = os.environ | {"GATESCOPE_CACHE_DIR": str(folder)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"{address}_stcore/health")
        yield address, server.pid
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError("the dashboard did not start")


if __name__ == "__main__":
    main()
