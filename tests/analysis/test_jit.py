"""Compiled loops: kept for the next process where that can be, and never in the way where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatescope.analysis.statistics.jit import threads

ROOT = Path(__file__).parents[2]
SECONDS = 290
"""After which a process never ends: on a quiet machine each takes three to five, on one with much else to do many."""

pytestmark = pytest.mark.timeout(2 * SECONDS + 20)


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(
        "from gatescope.analysis.statistics.jit import jit\n"
        "@jit\n"
        "def double(n):\n    return 2 * n\n"
        "print(double(21), sum(double.stats.cache_hits.values()))\n"
    )
    told = [_run(script, NUMBA_CACHE_DIR=str(tmp_path / "kept")) for _ in range(2)]
    assert told == ["42 0", "42 1"]


@pytest.mark.slow
def test_what_umap_compiles_is_kept_too(tmp_path):
    script = tmp_path / "umap_loop.py"
    script.write_text(
        "import warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from umap.layouts import clip\n"
        "from gatescope.analysis.statistics.jit import cache_compiled\n"
        "print(cache_compiled('umap') > 50, clip(5.0), sum(clip.stats.cache_hits.values()))\n"
    )
    told = [_run(script, NUMBA_CACHE_DIR=str(tmp_path / "kept")) for _ in range(2)]
    assert told == ["True 4.0 0", "True 4.0 1"]  # UMAP holds gradients within 4


@pytest.mark.slow
def test_where_no_folder_can_be_written_the_loops_run_all_the_same(tmp_path):
    """Every process may be the only one: on a read-only disk, without a home."""
    script = tmp_path / "all.py"
    script.write_text(
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import gatescope.analysis.metrics\n"
        "from gatescope.analysis.statistics.jit import jit, cache_compiled\n"
        "print(jit(lambda n: n + 1)(41), cache_compiled('gatescope'))\n"
    )
    assert _run(script) == "42 0"


def _run(script: Path, **environment: str) -> str:
    """What a program prints."""
    found = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    return found.stdout.strip()


@pytest.mark.parametrize(("said", "expected"), [("1", 1), ("2,1", 2), ("", 8), ("0", 1), ("64", 8), ("many", 8)])
def test_loops_have_no_more_threads_than_is_said(said, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 8)
    assert threads() == expected
