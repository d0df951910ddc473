"""Speed of the matrix in a browser: hover, pin, zoom, the longest task, and the bytes that cross the wire.

`python -m benchmarks.matrix` starts a server of its own and Chromium (the variable CHROMIUM names another one), opens
three matrices one after the other and prints a table. Times are milliseconds, median and 95th percentile. Hover and
zoom are taken from the event to the end of the frame that shows it, without the wait for the screen's next frame; a pin
from the mouse button to the frame with its read-out, and until Python has answered.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SHAPES = {"96 x 8,192 tokens": (96, 8192), "64 x 64 experts": (64, 64), "6 x 32 experts": (6, 32)}
READY = '[data-testid="heatmap"][data-ready="true"]'
HOVERS, ZOOMS, PINS = 200, 20, 7

WATCH = """
window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({type: "longtask", buffered: true});
"""

TIMED = """async (canvas, [act, times]) => {
    const {left, top, width, height} = canvas.getBoundingClientRect();
    const acts = {
        hover: (i) => canvas.dispatchEvent(new PointerEvent("pointermove", {
            clientX: left + 80 + (i * 37) % (width - 100), clientY: top + 30 + (i * 11) % (height - 60)})),
        zoom: (i) => canvas.parentElement.dispatchEvent(new KeyboardEvent("keydown", {key: i % 10 < 5 ? "+" : "-"})),
    };
    const channel = new MessageChannel(), spent = [];
    for (let i = 0; i < times; i++) {
        spent.push(await new Promise((done) => requestAnimationFrame(() => {
            const began = performance.now();
            acts[act](i);
            channel.port1.onmessage = () => done(performance.now() - began);
            channel.port2.postMessage(0);
        })));
    }
    return spent;
}"""

LISTEN = """(canvas) => {
    const channel = new MessageChannel();
    window.painted = null;
    canvas.addEventListener("pointerup", () => {
        const began = performance.now();
        requestAnimationFrame(() => {
            channel.port1.onmessage = () => (window.painted = performance.now() - began);
            channel.port2.postMessage(0);
        });
    }, {capture: true, once: true});
}"""


def page() -> None:
    """What the server shows: the matrix whose place among SHAPES the address names."""
    import streamlit as st

    from gatescope.app.components import Scale, matrix, token_matrix

    st.set_page_config(layout="wide")
    shape = list(SHAPES.values())[int(st.query_params.get("shape", "0"))]
    values, stops = _cells(*shape)
    plain: dict[str, Any] = {"rows": None, "pinned": None, "key": "matrix", "stops_rc": stops, "changes_rc": ~stops}
    plain["scale"] = Scale("gate entropy", low=0, high=4, unit="bits", null=3.0)
    if shape[1] > 1000:
        pick = token_matrix(values, pieces=[f" w{i % 997}" for i in range(shape[1])], **plain)
    else:
        pick = matrix(values, columns=None, square=shape[0] == shape[1], **plain)
    st.text(f"pin: {pick}")


def _cells(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, which compresses worst, and a mark on three cells of a hundred."""
    rng = np.random.default_rng(0)
    return rng.gamma(2, 0.4, (rows, columns)).astype(np.float32), rng.random((rows, columns)) < 0.03


@contextmanager
def serving() -> Iterator[str]:
    """A Streamlit server on the page above."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[1]
    options = ["--server.headless=true", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        script = Path(folder) / "page.py"
        script.write_text("from benchmarks.matrix import page\n\npage()\n")
        command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", *options]
        environment = os.environ | {"PYTHONPATH": str(root)}
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(url: str) -> None:
    """Return when the server answers."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"no answer from {url}")


def measure(browser: Any, address: str) -> dict[str, str]:
    """The figures of one matrix by the name of their row."""
    reader = browser.new_page(viewport={"width": 1280, "height": 1000})
    reader.add_init_script(WATCH)
    frames: list[int] = []
    reader.on("websocket", lambda wire: _tap(wire, frames))
    reader.goto(address)
    reader.wait_for_selector(READY, timeout=60_000)
    reader.get_by_text("pin: None").wait_for()
    reader.wait_for_timeout(1500)
    found = {"bytes at first draw": f"{sum(frames):,}", "longest task, opening": _longest(reader)}
    marks = reader.get_by_test_id("marks")
    frames.clear()
    found["hover"] = _both(marks.evaluate(TIMED, ["hover", HOVERS]))
    _move(reader, marks)
    found[f"bytes during {HOVERS} hovers"] = f"{sum(frames):,}"
    found["zoom"] = _both(marks.evaluate(TIMED, ["zoom", ZOOMS]))
    marks.evaluate("(e) => e.parentElement.dispatchEvent(new KeyboardEvent('keydown', {key: '0'}))")
    found |= _pins(reader, marks, frames)
    found["longest task, afterwards"] = _longest(reader)
    reader.close()
    return found


def _tap(wire: Any, frames: list[int]) -> None:
    """Note the size of every message, both ways."""
    for direction in ("framereceived", "framesent"):
        wire.on(direction, lambda frame: frames.append(len(frame)))


def _longest(reader: Any) -> str:
    """The longest task since the last question; the browser reports only those of 50 ms or more."""
    longest = reader.evaluate("Math.max(0, ...window.tasks.splice(0))")
    return f"{longest:.0f} ms" if longest else "< 50 ms"


def _move(reader: Any, marks: Any) -> None:
    """As many moves of the real mouse."""
    box = marks.bounding_box()
    for step in range(HOVERS):
        reader.mouse.move(
            box["x"] + 80 + step * 37 % (box["width"] - 100), box["y"] + 30 + step * 11 % (box["height"] - 60)
        )
    reader.wait_for_timeout(300)


def _pins(reader: Any, marks: Any, frames: list[int]) -> dict[str, str]:
    """Clicks on different cells: to the read-out, to Python's answer, and their bytes."""
    box, painted, answered, sizes = marks.bounding_box(), [], [], []
    for step in range(PINS):
        frames.clear()
        marks.evaluate(LISTEN)
        shown = reader.get_by_text("pin: ").inner_text()
        began = time.perf_counter()
        reader.mouse.click(box["x"] + 90 + step * 60 % (box["width"] - 120), box["y"] + 60 + step * 23 % 90)
        reader.wait_for_function("(said) => !document.body.innerText.includes(said)", arg=shown)
        answered.append((time.perf_counter() - began) * 1000)
        painted.append(reader.evaluate("window.painted"))
        reader.wait_for_timeout(400)
        sizes.append(sum(frames))
    return {
        "pin, to the read-out": _both(painted),
        "pin, to Python and back": _both(answered),
        "bytes of a pin": f"{round(median(sizes)):,}",
    }


def _both(times: list[float]) -> str:
    """Median and 95th percentile."""
    return f"{median(times):.1f} / {quantiles(times, n=20, method='inclusive')[-1]:.1f}"


def main() -> None:
    """Measure all and print one column a matrix."""
    from playwright.sync_api import sync_playwright

    began = time.perf_counter()
    with serving() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        columns = [measure(browser, f"{address}/?shape={place}") for place in range(len(SHAPES))]
        browser.close()
    print(f"{'':28}" + "".join(f"{name:>20}" for name in SHAPES))
    for row in columns[0]:
        print(f"{row:28}" + "".join(f"{column[row]:>20}" for column in columns))
    print(f"load average {os.getloadavg()[0]:.1f}, {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
