"""What work takes at the size of the models people run, on simulated routes, each beside its limit.

    OMP_NUM_THREADS=1 python -m benchmarks.scale [NAME ...] [--share 0.1] [--folder FOLDER] [--keep]

Every row is of a fresh process, after what numba compiles has been compiled once: seconds of the processors and of the
clock, the most memory the process ever held, interpreter included, and bytes written. Inputs are made beforehand, and
not counted. Without names, all but the rows marked `long`, which take many minutes; `--share` takes a part of the
tokens of each, and limits in seconds then say nothing. Linux.

Counting stands beside what people count with today, on the same routes: `np.bincount` of flat keys, a group-by of
pandas and of DuckDB (where it is installed), and OLMoE's specialisation, equations 7 and 8 as published: for every
expert the share of a domain's tokens, and of each word's tokens, that it takes, without nulls or intervals.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks import tally as ways
from benchmarks.process import forget_peak, resident
from gatescope.routing.record import RoutingRecord
from gatescope.simulation import Simulation, Texts, named_geometry

if TYPE_CHECKING:
    from gatescope.analysis.tally.tally import Tally

QWEN, DEEPSEEK = "qwen3-30b", "deepseek-v3"
BLOCK = 40_000


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What must not be exceeded: microseconds of the processors a token, seconds of them in all, megabytes."""

    us_a_token: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0

    def __str__(self) -> str:
        limits = [(self.us_a_token, "µs a token"), (self.cpu_s, "CPU s"), (self.peak_mb, "MB")]
        return ", ".join(f"{value:g} {unit}" for value, unit in limits if value)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement."""

    tokens: int
    cpu_s: float
    wall_s: float
    peak_mb: float
    written: int = 0

    def __str__(self) -> str:
        written = f"{self.written / self.tokens:10,.1f}" if self.written else f"{'–':>10}"
        us = 1e6 * self.cpu_s / self.tokens
        return f"{self.tokens:>11,} {self.cpu_s:>9.2f} {self.wall_s:>9.2f} {us:>9.1f} {self.peak_mb:>7,.0f} {written}"


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something to measure: `run` is given the tokens and a folder, and says how it went."""

    run: Callable[[int, Path], Row]
    tokens: int
    limit: Limit = Limit()
    is_long: bool = False
    needs: str = ""


HEAD = f"{'':34} {'tokens':>11} {'CPU s':>9} {'clock s':>9} {'µs/token':>9} {'peak MB':>7} {'B/token':>10}   limit"


def main() -> None:
    """Run what is asked for, each in a fresh process, or the one that the options name in this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *WORK], metavar="NAME", help=", ".join(WORK))
    parser.add_argument("--share", type=float, default=1.0, help="of the tokens")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs lie (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="leave them there, and use inputs that are there")
    parser.add_argument("--here", nargs=2, metavar=("NAME", "TOKENS"), help="measure this alone, in this process")
    options = parser.parse_args()
    if options.here:
        name, tokens = options.here
        print(json.dumps(vars(WORK[name].run(int(tokens), options.folder))))
        return
    names = options.names or [name for name, work in WORK.items() if not work.is_long]
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = options.folder if options.keep and options.folder else Path(made)
        for name in names:
            work = WORK[name]
            if work.needs and importlib.util.find_spec(work.needs) is None:
                print(f"{name:34} skipped: {work.needs} is not installed", flush=True)
                continue
            tokens = max(1000, round(work.tokens * options.share))
            command = [sys.executable, "-m", __spec__.name, "--folder", str(folder), "--here", name, str(tokens)]
            done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
            row = Row(**json.loads(done.stdout.splitlines()[-1]))
            print(f"{name:34} {row}   {work.limit}", flush=True)


@contextmanager
def measured(tokens: int, *outputs: Path) -> Iterator[list[Row]]:
    """Fills the list with the row of what is done inside; bytes are those of the files that are then there."""
    rows: list[Row] = []
    forget_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    yield rows
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    files = [path for out in outputs for path in (out.rglob("*") if out.is_dir() else [out]) if path.is_file()]
    written = sum(path.stat().st_size for path in files)
    rows.append(Row(tokens=tokens, cpu_s=cpu, wall_s=wall, peak_mb=resident("VmHWM"), written=written))


def simulation(like: str, tokens: int, *, documents: int = 0) -> Simulation:
    """Routes of a shape, documents of 400 tokens unless said otherwise."""
    return Simulation(named_geometry(like), Texts(tokens=tokens, documents=documents), seed=1)


def simulated(like: str) -> Callable[[int, Path], Row]:
    """Drawing routes, without writing them."""

    def run(tokens: int, _folder: Path) -> Row:
        made = simulation(like, tokens)
        made.record(0, 2)
        with measured(tokens) as rows:
            for block in made.blocks(BLOCK):
                made.record(block.start, block.stop)
        return rows[0]

    return run


def counted(like: str, count: Callable[[RoutingRecord], object]) -> Callable[[int, Path], Row]:
    """Counting one record of a block's size, again and again; what it is made of is drawn before."""

    def run(tokens: int, _folder: Path) -> Row:
        made = simulation(like, min(tokens, BLOCK))
        record = made.record(0, made.texts.documents)
        count(made.record(0, 5))
        times = max(1, round(tokens / record.tokens))
        with measured(record.tokens * times) as rows:
            for _ in range(times):
                count(record)
        return rows[0]

    return run


def everything(record: RoutingRecord) -> "Tally":
    """Every statistic that any metric reads."""
    from gatescope.analysis.counting import tally

    return tally(record)


def by_pandas(record: RoutingRecord) -> object:
    """The long table, and its group-by."""
    return ways.grouped(ways.frame(record))


def by_duckdb(record: RoutingRecord) -> object:
    """The long table, and its query."""
    return ways.queried(ways.frame(record))


def specialization(record: RoutingRecord) -> list[NDArray[np.float64]]:
    """OLMoE (arXiv 2409.02060), equations 7 and 8: N(expert, domain) / N(domain), and the same by word, per layer.

    N(expert, domain) counts the domain's tokens that have the expert among their k, N(domain) its tokens. Words take
    the place of domains in equation 8.
    """
    names = sorted({document.domain for document in record.documents})
    domain_d = np.array([names.index(document.domain) for document in record.documents])
    _, word_t = np.unique(record.token_t, return_inverse=True)
    found = []
    for group_t in (domain_d[record.document_t], word_t):
        groups = int(group_t.max()) + 1
        tokens_g = np.bincount(group_t, minlength=groups)
        for layer in range(len(record.layers)):
            key_tk = group_t[:, None] * record.experts + record.ids_tlk[:, layer]
            count_ge = np.bincount(key_tk.ravel(), minlength=groups * record.experts).reshape(groups, -1)
            found.append(count_ge / np.maximum(tokens_g, 1)[:, None])
    return found


def imported(tokens: int, folder: Path) -> Row:
    """`gatescope import` of a file in the plain form, into a study."""
    from gatescope.studies.simulating import write_npz

    trace, out = folder / f"trace-{tokens}.npz", folder / f"imported-{tokens}"
    if not trace.exists():
        write_npz(simulation(QWEN, tokens), trace)
    everything(simulation(QWEN, 2000).record(0, 5))
    with measured(tokens, out) as rows:
        command("import", str(trace), "--out", str(out))
    return rows[0]


def analyzed(like: str, documents: int) -> Callable[[int, Path], Row]:
    """`gatescope analyze` of a study."""

    def run(tokens: int, folder: Path) -> Row:
        routes, out = folder / f"routes-{like}-{tokens}", folder / f"study-{like}-{tokens}"
        if not (routes / "end.json").exists():
            texts = ["--tokens", str(tokens), "--documents", str(documents)]
            made = [sys.executable, "-m", "gatescope", "simulate", "--like", like, *texts, "--out", str(routes)]
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        with measured(tokens, out) as rows:
            command("analyze", str(routes), "--out", str(out))
        return rows[0]

    return run


def added_up(tokens: int, folder: Path) -> Row:
    """The tallies of a study's blocks as one: eight that differ, written as often as makes up the tokens."""
    from gatescope.analysis.tally.files import to_bytes
    from gatescope.cache.block import Block
    from gatescope.cache.study import COUNTS, StudyFolder
    from gatescope.studies.adding_up import whole_tally

    out, blocks = folder / f"blocks-{tokens}", -(-tokens // BLOCK)
    made = simulation(QWEN, 8 * BLOCK)
    if not (out / "end.json").exists():
        parts = []
        for documents in made.blocks(BLOCK):
            record = made.record(documents.start, documents.stop)
            parts.append((record.tokens, to_bytes(everything(record))))
        study = StudyFolder.create(out, made.recipe | {"corpus": "", "model": ""})
        for number in range(blocks):
            own, counts = parts[number % len(parts)]
            study.write(Block(number=number, documents=100, tokens=own, digest=str(number)), {COUNTS: counts})
        study.end(blocks)
    study = StudyFolder.open(out)
    with measured(tokens) as rows:
        whole_tally(study)
    size = sum(block.parts[COUNTS][1] for block in study.finished().values())
    return replace(rows[0], written=size)


def command(*words: str) -> None:
    """A command of `gatescope`, in this process. Errors: RuntimeError where it fails."""
    from typer.testing import CliRunner

    from gatescope.cli.main import app

    done = CliRunner().invoke(app, list(words))
    if done.exit_code:
        raise RuntimeError(done.output)


WORK = {
    "simulate, 48x128x8": Work(run=simulated(QWEN), tokens=200_000, limit=Limit(us_a_token=20)),
    "simulate, 58x256x8": Work(run=simulated(DEEPSEEK), tokens=200_000),
    "count everything, 48x128x8": Work(run=counted(QWEN, everything), tokens=40_000, limit=Limit(us_a_token=40)),
    "count everything, 58x256x8": Work(run=counted(DEEPSEEK, everything), tokens=40_000, limit=Limit(us_a_token=60)),
    "np.bincount, 48x128x8": Work(run=counted(QWEN, ways.bincount), tokens=40_000),
    "pandas group-by, 48x128x8": Work(run=counted(QWEN, by_pandas), tokens=40_000),
    "DuckDB group-by, 48x128x8": Work(run=counted(QWEN, by_duckdb), tokens=40_000, needs="duckdb"),
    "OLMoE's specialisation, 48x128x8": Work(run=counted(QWEN, specialization), tokens=40_000),
    "import, 48x128x8": Work(run=imported, tokens=120_000, limit=Limit(us_a_token=90)),
    "analyze, 48x128x8": Work(
        run=analyzed(QWEN, 300), tokens=120_000, limit=Limit(cpu_s=90, peak_mb=1000), is_long=True
    ),
    "add up tallies, 48x128x8": Work(run=added_up, tokens=10_000_000, limit=Limit(cpu_s=15), is_long=True),
    "analyze, 58x256x8": Work(
        run=analyzed(DEEPSEEK, 1000), tokens=1_000_000, limit=Limit(cpu_s=300, peak_mb=2000), is_long=True
    ),
}

if __name__ == "__main__":
    main()
