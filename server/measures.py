"""The numbers of a page: as they were analysed, else computed now, and noted for the Python that repeats them.

measure(source, name, by, scope)  a metric of a source
call(source, scope, function)     what a function says of its routes
noted()                           what was read so far for the figure that is being computed
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions, Result
from gatescope.analysis.tally.tally import Tally
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import TOKEN_ROLES, WHOLE, Scope, Source, role_mask, select_routes
from gatescope.studies.results import NAME as RESULTS
from gatescope.studies.results import TALLY, StoredResults, read_results, read_table, read_tally

Answer = TypeVar("Answer")
LIVE_RESAMPLES = 200
"""Resamples of documents where a metric is computed while the reader waits; what was analysed before has its own."""


_tallies, _results = MemoCache(), MemoCache()
"""What was computed last. Keys are sources' keys, names and scopes, never arrays: no capture is taken for another."""


class Paired(NamedTuple):
    """Capture B, token under token with A: of all documents that hold the same tokens, or one document of each.

    document    the number of B's document, beside the one that the scope names of A; None for all of the same tokens
    """

    source: Source
    document: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read while a figure was computed: of which source, within which scope.

    metric, by  a metric of the registry and its label; empty where a function was called instead
    is_stored   whether it was read from what was computed before
    code        Python that repeats a call, of `record` and `is_counted_t`; `imports` are the lines that it needs
    then        Python of what is made of a metric's result, whose name stands for `{}`
    paired      capture B, where `code` is of the tokens that both hold: of `first` and `second`
    """

    source: Source
    scope: Scope
    metric: str = ""
    by: str = ""
    is_stored: bool = False
    code: str = ""
    imports: tuple[str, ...] = ()
    then: str = ""
    paired: Paired | None = None


_READINGS: ContextVar[list[Reading] | None] = ContextVar("readings", default=None)


@contextmanager
def noting() -> Iterator[None]:
    """Keep a list of what is read inside, for `noted`."""
    before = _READINGS.set([])
    try:
        yield
    finally:
        _READINGS.reset(before)


def note(reading: Reading) -> None:
    """Add what was read; nothing where no figure is being computed."""
    if (found := _READINGS.get()) is not None and reading not in found:
        found.append(reading)


def noted() -> tuple[Reading, ...]:
    """What was read so far for the figure that is being computed, each once."""
    return tuple(_READINGS.get() or ())


def measure(source: Source, name: str, *, by: str = "", scope: Scope = WHOLE, then: str = "") -> Result:
    """A metric of a source within a scope: as analysed where that is the same, else computed now and kept.

    `then` is Python of what the figure makes of it (see `Reading`).
    Errors: OptionError where the capture lacks what the metric needs; found, expected and do say what.
    """
    before = _stored(source, name, by) if scope == WHOLE else None
    found = _measured(source, name, by, scope) if before is None else before
    note(Reading(source=source, scope=scope, metric=name, by=by, is_stored=before is not None, then=then))
    return found


def _measured(source: Source, name: str, by: str, scope: Scope) -> Result:
    asked = MetricOptions(facets=TOKEN_ROLES[scope.facet], by=by, resamples=LIVE_RESAMPLES)
    return _results.get((*source.key, name, by, scope), lambda: METRICS[name](tally_of(source, name, scope), asked))


def call(
    source: Source, scope: Scope, function: Callable[..., Answer], *arguments: Hashable, to: str = "found"
) -> Answer:
    """What a function says of a scope's routes, computed once, and noted as a call whose answer is named `to`.

    It is given the record, the arguments, and as `is_counted_t` which tokens are of the facet.
    """
    name, arguments_text = function.__name__, "".join(f", {argument!r}" for argument in arguments)
    code = f"{to} = {name}(record{arguments_text}, is_counted_t=is_counted_t)"
    note(Reading(source=source, scope=scope, code=code, imports=(f"from {function.__module__} import {name}",)))
    record = select_routes(source, scope)
    mask_t = role_mask(record, scope.facet)
    key = (*source.key, "call", name, scope, *arguments)
    return _results.get(key, lambda: function(record, *arguments, is_counted_t=mask_t))


def _stored(source: Source, name: str, by: str) -> Result | None:
    """A result that was computed before; a large one is read when it is first asked for."""
    found = _analysed(source)
    if found is None or (name, by) not in found:
        return None
    if not found.is_apart((name, by)):
        return found[name, by]
    return _results.get((*source.key, "analysed", name, by), lambda: found[name, by])


def _analysed(source: Source) -> StoredResults | None:
    """The results that were computed before."""
    if source.analysis is None:
        return None
    file = source.analysis / RESULTS
    return _results.get((*source.key, "analysed"), lambda: read_results(file))


def tally_of(source: Source, name: str, scope: Scope = WHOLE) -> Tally:
    """What a metric needs of a scope's routes. The whole of a study was counted when it was analysed."""
    needs = METRICS[name].needs
    if scope.is_whole and (file := source.counts) is not None:
        return _tallies.get((*source.key, TALLY, needs), lambda: read_tally(file, only=needs))
    key = (*source.key, needs, replace(scope, facet="own"))
    return _tallies.get(key, lambda: tally(select_routes(source, scope), only=needs))


def table(source: Source, name: str) -> pd.DataFrame | None:
    """A table that was made when the study was analysed, such as `composition.domain`; None where there is none."""
    if (folder := source.analysis) is None:
        return None
    found = _results.get((*source.key, "table", name), lambda: read_table(folder, name))
    if found is not None:
        code = f'{name.replace(".", "_")} = pd.read_parquet(analysed / "tables" / "{name}.parquet")'
        note(Reading(source=source, scope=WHOLE, is_stored=True, code=code, imports=("import pandas as pd",)))
    return found


def own_tokens(source: Source, scope: Scope = WHOLE) -> int:
    """How many tokens a scope has: special and template ones count only when they are asked for."""
    return int(np.count_nonzero(role_mask(select_routes(source, scope), scope.facet)))


class Size(NamedTuple):
    """How many tokens and documents count; `is_all`: not only the first ones of a larger study."""

    tokens: int
    documents: int
    is_all: bool


def size_of(source: Source, scope: Scope) -> Size:
    """How much a scope has: of a study that was analysed whole, all of it, not only the routes at hand."""
    analysed = _stored(source, "load_gini", "") if source.is_cut and scope == WHOLE else None
    if analysed is not None:
        return Size(analysed.tokens, analysed.documents, is_all=True)
    documents = 1 if scope.span else len(scope.documents or source.record.documents)
    return Size(own_tokens(source, scope), documents, is_all=not source.is_cut)
