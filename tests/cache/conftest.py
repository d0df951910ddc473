"""A record to keep, and processes of our own that keep it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gatescope.cache.schema import encode
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord

ROOT = Path(__file__).parents[2]


def make_record(*, tokens: int = 50, layers: int = 4, experts: int = 16, k: int = 4, seed: int = 0) -> RoutingRecord:
    """Routes drawn at random, with every usual array but the logits."""
    generator = np.random.default_rng(seed)
    shape = (tokens, layers)
    scores_tle = generator.random((*shape, experts))
    ids_tlk = np.argsort(-scores_tle, axis=2)[:, :, :k].astype(np.uint8)
    return RoutingRecord(
        ids_tlk=ids_tlk,
        weight_tlk=np.take_along_axis(scores_tle, ids_tlk.astype(int), 2).astype(np.float16),
        token_t=generator.integers(0, 9, tokens, dtype=np.int32),
        document_t=np.zeros(tokens, np.int32),
        position_t=np.arange(tokens, dtype=np.int32),
        flag_t=np.zeros(tokens, np.uint8),
        documents=(Document("Ein Text, naïve 文"),),
        layers=tuple(
            RouterRule(layer=n, block=n + 1, module=f"model.layers.{n + 1}.mlp", experts=experts, k=k, score="softmax")
            for n in range(layers)
        ),
        provenance=Provenance(model="tiny", fingerprint="ab12", dtype="float32", device="cpu"),
        pieces={token: f"<{token}>" for token in range(9)},
        margin_tl=generator.random(shape).astype(np.float16),
        entropy_tl=generator.random(shape).astype(np.float16),
    )


@pytest.fixture
def record() -> RoutingRecord:
    """One capture of 50 tokens."""
    return make_record()


@pytest.fixture
def records() -> Callable[..., RoutingRecord]:
    """A maker of captures of any size."""
    return make_record


@pytest.fixture
def same() -> Callable[[RoutingRecord, RoutingRecord], bool]:
    """Whether two records agree in every bit of every field."""

    def check(one: RoutingRecord, other: RoutingRecord) -> bool:
        ours, theirs = dict(one.arrays()), dict(other.arrays())
        plain = ("documents", "layers", "provenance", "pieces")
        return (
            ours.keys() == theirs.keys()
            and all(ours[name].dtype.type == theirs[name].dtype.type for name in ours)
            and all(ours[name].shape == theirs[name].shape for name in ours)
            and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
            and all(repr(getattr(one, name)) == repr(getattr(other, name)) for name in plain)
        )

    return check


@pytest.fixture
def process(tmp_path: Path, record: RoutingRecord) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start Python on a few lines that know `Store`, `folder` and `record`; what still runs at the end is killed."""
    (tmp_path / "record.parquet").write_bytes(encode(record))
    head = (
        "import sys; from pathlib import Path\n"
        "from gatescope.cache.schema import decode; from gatescope.cache.store import Store\n"
        "from gatescope.routing.errors import *\n"
        "folder = Path(sys.argv[1]); record = decode(Path(sys.argv[2]).read_bytes())\n"
    )

    started = []

    def start(lines: str, folder: Path, *prefix: str, saved: Path = tmp_path / "record.parquet") -> subprocess.Popen:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", head + lines, str(folder), str(saved)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def kill_in_mid_write() -> Callable[[subprocess.Popen, Callable[[], bool]], None]:
    """Kill a process while something is so: it is held first, so that it is still so when the process dies."""

    def kill(writer: subprocess.Popen, is_so: Callable[[], bool]) -> None:
        while writer.poll() is None:
            if is_so():
                writer.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                if is_so():
                    break
                writer.send_signal(signal.SIGCONT)
            time.sleep(0.0002)
        writer.kill()

    return kill
