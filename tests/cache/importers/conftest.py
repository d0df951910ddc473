"""Traces to write by hand, and one way to read them all."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gatescope.cache.importers import read_trace
from gatescope.cache.importers.importer import Given, Report
from gatescope.routing.record import RoutingRecord
from gatescope.routing.router import RouterRule

ROOT = Path(__file__).parents[3]


class Imported(NamedTuple):
    """Everything that came out of a trace."""

    records: list[RoutingRecord]
    report: Report

    @property
    def record(self) -> RoutingRecord:
        """The only record."""
        (record,) = self.records
        return record


@pytest.fixture
def imported() -> Callable[..., Imported]:
    """Read a trace whole; what is given beside it as keywords."""

    def read(path: Path, *, format: str = "", **given: Any) -> Imported:
        records, report = read_trace(path, Given(**given), format=format)
        assert isinstance(records, Iterator)
        return Imported(list(records), report)

    return read


@pytest.fixture
def rules() -> Callable[..., tuple[RouterRule, ...]]:
    """The layers of a model, at some of its blocks."""

    def make(*blocks: int, experts: int = 8, k: int = 2) -> tuple[RouterRule, ...]:
        return tuple(
            RouterRule(layer=n, block=block, module=f"model.layers.{block}.mlp", experts=experts, k=k, score="softmax")
            for n, block in enumerate(blocks)
        )

    return make


@pytest.fixture
def routes() -> Callable[..., np.ndarray]:
    """Ids drawn without repetition, token by token and layer by layer, with Python's own loop."""

    def draw(tokens: int, layers: int, experts: int, k: int, seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return np.array(
            [[generator.permutation(experts)[:k] for _ in range(layers)] for _ in range(tokens)], np.int64
        ).reshape(tokens, layers, k)

    return draw


@pytest.fixture
def process_memory() -> Callable[[str], tuple[str, float]]:
    """Run some lines of Python in a process of their own: what they print, and the most memory it had, in MB.

    The system's mark of this very program is read: the one of `getrusage` also counts the test run that started it.
    """
    if not Path("/proc/self/status").is_file():
        pytest.skip("reads the largest size of a process from /proc")

    def run(lines: str) -> tuple[str, float]:
        tail = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        done = subprocess.run(
            [sys.executable, "-c", lines + tail], cwd=ROOT, capture_output=True, text=True, timeout=250, check=True
        )
        said, _, peak = done.stdout.strip().rpartition("\n")
        return said, int(peak) / 1024

    return run
