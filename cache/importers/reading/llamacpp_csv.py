"""The file of llama.cpp's proposed `moe-trace` example: a line `layer,expert` for each expert that was chosen.

For every pass and layer the tool writes its tensor of chosen experts from beginning to end, tokens one after another.
Neither tokens nor passes are named, so the number of experts that a token has must be known; a pass ends where the
layers begin anew. That tensor is a window on the ranking of all experts. Where the tool reads it as if it stood alone,
it gets the ranking of the first tokens instead of the choice of all of them; this shows, since a ranking never names
an expert twice while the choices of many tokens do.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Report
from gatescope.cache.importers.reading.llamacpp_passes import Chosen, LayerPass
from gatescope.cache.importers.reading.npz import explained
from gatescope.cache.importers.reading.rows import CELLS
from gatescope.routing.errors import TraceError

LINE = re.compile(rb"(\d{1,5}),(\d{1,9})\r?\n")
HEADER = b"layer,expert"
LONGEST = 200  # characters of a line


@dataclass
class _Run:
    """Lines of one layer that follow one another."""

    block: int
    first: int
    experts: list[int] = field(default_factory=list)


def is_csv(path: Path) -> bool:
    """Whether most lines at the beginning of a file are of this form. Raises only OSError."""
    if path.suffix != ".csv":
        return False
    with path.open("rb") as stream:
        lines = [line for _ in range(64) if (line := stream.readline(LONGEST)) and line.strip() != HEADER]
    return len(lines) > 1 and sum(bool(LINE.fullmatch(line)) for line in lines) > len(lines) / 2


def csv_passes(path: Path, experts: int, k: int, given: Given, report: Report) -> Iterator[LayerPass]:
    """The passes of a file. Those that cannot be read are counted, or stopped at."""
    runs: list[_Run] = []
    for run in _runs(path, given, report):
        if runs and run.block <= runs[-1].block:
            yield from _pass(runs, experts, k, path, given, report)
            runs = []
        runs.append(run)
    yield from _pass(runs, experts, k, path, given, report)


def _runs(path: Path, given: Given, report: Report) -> Iterator[_Run]:
    """Lines of one layer together."""
    run: _Run | None = None
    for number, line in _lines(path):
        found = LINE.fullmatch(line)
        if found is None:
            if number > 1 or line.strip() != HEADER:
                report.fault(
                    given, "a line that is no layer and expert", f"{path}, line {number}", expected="such as 3,17"
                )
            continue
        if run is None or run.block != int(found[1]):
            if run is not None:
                yield run
            run = _Run(int(found[1]), number)
        run.experts.append(int(found[2]))
        if len(run.experts) > CELLS:
            raise TraceError(
                f"{path}, line {number}: more than {CELLS:,} lines of one layer",
                expected="several layers in turn",
                do="trace a model of several layers with experts: of one alone, passes cannot be told apart",
            )
    if run is not None:
        yield run


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; one that does not end is cut where nobody would write on."""
    with explained(str(path)), path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST):
            number += 1
            yield number, line


def _pass(runs: list[_Run], experts: int, k: int, path: Path, given: Given, report: Report) -> Iterator[LayerPass]:
    """The pass that these runs make."""
    if not runs:
        return
    place = f"{path}, lines {runs[0].first} to {runs[-1].first + len(runs[-1].experts) - 1}"
    if any(len(run.experts) % k for run in runs):
        usual = Counter(max(1, len(run.experts) // k) for run in runs).most_common(1)[0][0]
        yield LayerPass(layers=[], count=usual, place=place, complaint="a pass with parts of tokens")
        return
    ids = [np.array(run.experts, np.int64).reshape(-1, k) for run in runs]
    count = max(map(len, ids))
    shown = np.arange(count)
    if count > 1 and not any(_repeats(each.ravel(), experts) for each in ids if len(each) == count):
        shown, ids = _of_rankings(ids, count, experts, k)
        reason = "a token in place of whose experts the tool wrote how it ranks all experts of another token"
        for token in range(len(shown), count):
            report.fault(given, reason, f"{place}, token {token}", expected="experts of each token of the pass")
    layers = [
        Chosen(
            block=run.block,
            count=len(run.experts) // k,
            shown=shown if len(run.experts) == count * k else np.arange(len(run.experts) // k),
            ids_nk=each,
            place=f"{path}, line {run.first}",
        )
        for run, each in zip(runs, ids, strict=True)
    ]
    yield LayerPass(layers=layers, count=count, place=layers[0].place, told=True)


def _repeats(id_n: NDArray[np.int64], experts: int) -> bool:
    """Whether an expert is named twice within as many lines as there are experts: no ranking does so."""
    return any(len(np.unique(part)) < len(part) for part in np.split(id_n, range(experts, len(id_n), experts)))


def _of_rankings(
    ids: list[NDArray[np.int64]], count: int, experts: int, k: int
) -> tuple[NDArray[np.intp], list[NDArray[np.int64]]]:
    """What such a pass still tells: the best experts of those tokens whose ranking was written that far."""
    whole = [first for first in range(0, count * k, experts) if first + k <= count * k]
    kept = [
        np.stack([each.ravel()[first : first + k] for first in whole]) if len(each) == count else each for each in ids
    ]
    return np.arange(len(whole)), kept
