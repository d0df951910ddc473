"""What counting costs on any shape: fitted on some shapes, tested on one that was left out.

    OMP_NUM_THREADS=1 python -m benchmarks.cost_model [--tokens 20000] [--left-out deepseek-v3]

The microseconds of one processor that a token takes to be counted (every statistic that any metric reads) are taken to
be a + b L k + c L E, for L layers of E experts of which k take each token: one part for the token, one for every route,
one for every table. Each shape is measured in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale import Row, counted, everything
from gatescope.simulation.geometry import named_geometry

SHAPES = ("mixtral", "olmoe", "qwen3-30b", "gpt-oss-120b", "qwen3-235b", "kimi-k2", "deepseek-v3")


def main() -> None:
    """Measure every shape, fit on all but one, and say how far the fit is from that one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--left-out", choices=SHAPES, default="deepseek-v3")
    parser.add_argument("--here", choices=SHAPES, help="measure this alone, in this process")
    options = parser.parse_args()
    if options.here:
        row = counted(options.here, everything)(options.tokens, Path(tempfile.gettempdir()))
        print(json.dumps(vars(row)))
        return
    rows = {name: _measured(name, options.tokens) for name in SHAPES}
    us = {name: 1e6 * row.cpu_s / row.tokens for name, row in rows.items()}
    known = [name for name in SHAPES if name != options.left_out]
    terms = np.array([_terms(name) for name in known])
    weights = np.array([us[name] for name in known])  # errors in parts of each, not in microseconds
    fit, *_ = np.linalg.lstsq(terms / weights[:, None], np.ones(len(known)), rcond=None)
    print(f"µs a token = {fit[0]:.2f} + {fit[1]:.4f} L k + {fit[2]:.5f} L E\n")
    print(f"{'':16}{'L':>5}{'E':>6}{'k':>4}{'measured':>10}{'fitted':>9}{'off':>7}{'peak MB':>9}")
    for name, row in rows.items():
        fitted = float(_terms(name) @ fit)
        shape = named_geometry(name)
        mark = "  left out" if name == options.left_out else ""
        shape_columns = f"{name:16}{shape.layers:5}{max(shape.experts):6}{shape.k:4}"
        print(f"{shape_columns}{us[name]:10.1f}{fitted:9.1f}{fitted / us[name] - 1:+7.0%}{row.peak_mb:9,.0f}{mark}")


def _measured(name: str, tokens: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.cost_model", "--here", name, "--tokens", str(tokens)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def _terms(name: str) -> NDArray[np.float64]:
    """1, L k and L E of a shape, summed over its layers."""
    shape = named_geometry(name)
    return np.array([1.0, shape.layers * shape.k, sum(shape.experts)])


if __name__ == "__main__":
    main()
