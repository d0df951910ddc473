"""Traces of llama.cpp: the file of its proposed `moe-trace` example, and what its `llama-eval-callback` prints.

Both come from the tensors `ffn_moe_topk-LAYER` of its graph. The last layer runs only those tokens whose scores are
asked for, in both tools the last one of a pass: the others were given no experts there.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.cache.importers.reading.digest import provenance_of
from gatescope.cache.importers.reading.layers import Seen, rules_of
from gatescope.cache.importers.reading.llamacpp_csv import csv_passes, is_csv
from gatescope.cache.importers.reading.llamacpp_passes import Chosen, LayerPass
from gatescope.cache.importers.reading.llamacpp_prints import is_printed, printed_passes
from gatescope.cache.importers.reading.rows import ABSENT, MOST_TOKENS, Rows, Trace, tokens_at_once
from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document, Flag, RoutingRecord

SKIPPED = "where the engine skipped the last layer, since no scores of that token were asked for"
MISSING = (
    "scores of all experts: no margins, no entropy of the gate, no experts that were nearly chosen",
    "texts of tokens, domains and names of documents: a trace counts as one text",
    "which tokens are generated: those that ran alone behind the first pass count as such",
)
NOT_IN_CSV = ("weights: experts are in the order in which the tool ranked them", "ids of tokens")
WHOLE = "every layer, for every token of the pass"
SHORT = "weights to more than the four digits that were printed"


def detect(path: Path) -> bool:
    """Whether a file has one of the two forms."""
    try:
        return path.is_file() and (is_csv(path) or is_printed(path))
    except OSError:
        return False


def read(path: Path, given: Given, report: Report) -> Iterator[RoutingRecord]:
    """The records of one file."""
    if not path.is_file():
        raise TraceError(f"{path}: a folder", expected="one file", do="name the trace in it")
    if is_csv(path):
        experts, k = _counts(path, given)
        passes = csv_passes(path, experts, k, given, report)
        report.missing += (*NOT_IN_CSV, *MISSING)
    else:
        passes = printed_passes(path, given, report)
        report.missing += MISSING
    first, skipped = _first(passes, path, given, report)
    layers = rules_of(_seen(first), given, str(path))
    layers = (*layers[:-1], replace(layers[-1], empty_when=layers[-1].empty_when or SKIPPED))
    trace = Trace(layers, provenance_of([path], given, engine="llama.cpp"), given, report)
    gatherer = _Gatherer(trace, all(layer.weight_nk is not None for layer in first.layers), skipped)
    report.missing += () if is_csv(path) else (SHORT if gatherer.has_weights else NOT_IN_CSV[0],)
    for one in chain([first], passes):
        yield from gatherer.add(one)
    yield from gatherer.records()
    report.understood.append(
        f"{report.tokens:,} of {gatherer.position:,} tokens in {gatherer.passes:,} passes over {len(layers)} layers"
    )


def _counts(path: Path, given: Given) -> tuple[int, int]:
    """How many experts a layer has and a token gets: without them, lines do not make tokens."""
    experts = max((rule.experts for rule in given.layers), default=given.experts)
    k = max((rule.k for rule in given.layers), default=given.k)
    if not experts or not k or any((rule.experts, rule.k) != (experts, k) for rule in given.layers):
        raise TraceError(
            f"{path}: nothing says how many experts a layer has and a token gets, or layers differ in it",
            expected="both numbers: the file is a list of layers and experts without any mark between tokens",
            do="name the model the trace is of, or give both numbers",
        )
    return experts, k


def _first(passes: Iterator[LayerPass], path: Path, given: Given, report: Report) -> tuple[LayerPass, int]:
    """The first pass that can be read, and how many tokens ran before it."""
    skipped = 0
    for one in passes:
        if not one.complaint:
            _check_several(one, path)
            return one, skipped
        report.fault(given, one.complaint, one.place, expected=WHOLE)
        skipped += one.count
    raise TraceError(f"{path}: no pass that can be read", expected="experts of several layers", do="trace it again")


def _check_several(first: LayerPass, path: Path) -> None:
    if len(first.layers) == 1:
        raise TraceError(
            f"{path}: experts of layer {first.blocks[0]} alone",
            expected="several layers, since passes are told apart by the layers that begin anew",
            do="trace all layers with experts",
        )


def _seen(first: LayerPass) -> Seen:
    return Seen(count=len(first.layers), slots=first.layers[0].ids_nk.shape[1], blocks=first.blocks)


Gathered = tuple[
    NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.integer], NDArray[np.integer], list[str]
]
"""Rows of a pass: experts, weights, token ids, positions, flags, and where each is written."""


class _Gatherer:
    """Passes gathered until they make a record."""

    def __init__(self, trace: Trace, has_weights: bool, skipped: int) -> None:
        self.trace, self.has_weights, self.position, self.passes = trace, has_weights, skipped, int(skipped > 0)
        self.k = max(rule.k for rule in trace.layers)
        self.at_once, self._held = tokens_at_once(len(trace.layers), self.k), 0
        self._rows: list[Gathered] = []

    def add(self, one: LayerPass) -> Iterator[RoutingRecord]:
        """One more pass, if it has the layers that it should."""
        start, count = self.position, one.count
        self.position += count
        self.passes += 1
        complaint = self._complaint(one)
        if complaint:
            self.trace.report.fault(self.trace.given, complaint, one.place, expected=WHOLE)
            return
        shown = self._shown(one)
        for token in () if one.told else np.setdiff1d(np.arange(count), shown):
            reason = "a token that is not written in every layer"
            self.trace.report.leave_out(reason, f"{one.place}, token {token} of its pass")
        ids_nlk = np.full((len(shown), len(one.layers), self.k), ABSENT, np.int64)
        weight_nlk = np.zeros(ids_nlk.shape)
        for at, layer in enumerate(one.layers):
            self._fill(ids_nlk[:, at], weight_nlk[:, at], layer, shown, count)
        token_n = np.array(one.token_n if len(one.token_n) == count else [-1] * count, np.int64)[shown]
        flag_n = np.full(len(shown), Flag.GENERATED if count == 1 and self.passes > 1 else 0)
        places = [f"{one.place}, token {token} of its pass" for token in shown]
        self._rows.append((ids_nlk, weight_nlk, token_n, start + shown, flag_n, places))
        self._held += len(shown)
        if self._held >= self.at_once:
            yield from self.records()

    def records(self) -> Iterator[RoutingRecord]:
        """What was gathered, as a record."""
        if not self._rows:
            return
        places = [place for rows in self._rows for place in rows[5]]
        ids, weights, tokens, positions, flags = (np.concatenate([rows[at] for rows in self._rows]) for at in range(5))
        self._rows, self._held = [], 0
        rows = Rows(
            ids_tlk=ids,
            weight_tlk=weights if self.has_weights else None,
            token_t=tokens,
            document_t=np.zeros(len(tokens), np.int64),
            position_t=positions,
            flag_t=flags,
            place=places.__getitem__,
        )
        yield from self.trace.records(rows, lambda _number: Document("", id=self.trace.provenance.model))

    def _complaint(self, one: LayerPass) -> str:
        """Why a pass cannot be used; nothing where it can."""
        wanted = [rule.block for rule in self.trace.layers]
        if one.complaint:
            return one.complaint
        if one.count > MOST_TOKENS:
            return f"a pass of {one.count:,} tokens"
        if one.blocks != wanted:
            return f"a pass over layers {one.blocks} in place of {wanted}"
        if any(layer.ids_nk.shape[1] != self.k for layer in one.layers):
            return f"a pass with another number of experts than {self.k} for each token"
        if any(layer.count != one.count for layer in one.layers[:-1]):
            return "a pass whose layers ran different numbers of tokens"
        if self.has_weights and any(layer.weight_nk is None for layer in one.layers):
            return "a pass without weights of every layer"
        return ""

    def _shown(self, one: LayerPass) -> NDArray[np.intp]:
        """The tokens whose experts are there in all layers that ran all tokens."""
        shown = one.layers[0].shown
        for layer in one.layers[1:]:
            if layer.count == one.count and not np.array_equal(shown, layer.shown):
                shown = np.intersect1d(shown, layer.shown)
        return shown

    def _fill(
        self,
        ids_nk: NDArray[np.integer],
        weight_nk: NDArray[np.floating],
        layer: Chosen,
        shown: NDArray[np.intp],
        count: int,
    ) -> None:
        """One layer's experts of the tokens shown. A last layer that ran one token of several ran the last one."""
        at = layer.shown if layer.count == count else np.full(len(layer.shown), count - 1)
        if layer.count not in (1, count):
            reason = "the last layer of a pass that ran some tokens, nobody knows which"
            self.trace.report.leave_out(reason, layer.place)
            return
        if np.array_equal(shown, at):
            into = out = np.arange(len(shown))
        else:
            _, into, out = np.intersect1d(shown, at, return_indices=True)
        ids_nk[into] = layer.ids_nk[out]
        if layer.weight_nk is not None:
            weight_nk[into] = layer.weight_nk[out]


IMPORTER = Importer(
    name="llamacpp_trace", title="layer,expert lines or printed tensors of llama.cpp", detect=detect, read=read
)
