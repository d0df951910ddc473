"""The same tokens through other weights, another number format or engine: what changed, where, and what is noise."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from analysis.compare import Relation, cascade, flips_by_margin, load_shift, near_ties, paired, same_documents
from analysis.prefixes import first_of_prefix
from analysis.saturation import agreement
from app import server
from app.components import Pick, matrix
from app.figures.compare.aligned import Aligned, aligned
from app.figures.compare.flips import (
    cascade_frame,
    cascade_plot,
    cascade_words,
    margin_frame,
    margin_plot,
    margin_words,
)
from app.figures.compare.relation import (
    left_out,
    line_of,
    overlap_frame,
    overlap_plot,
    overlap_words,
    shift_frame,
    shift_scale,
    shift_words,
)
from app.memo import Key, MemoCache
from app.sections import address
from app.sections.aside import seen
from app.sections.compare.choice import model_of, steps_of
from app.sections.compare.pair import show_pair
from app.sections.figure import answering, chart, figure
from app.sections.looking import Page
from app.sources import Scope, Source, document_of, facet_mask
from routing.errors import GatescopeError, OptionError
from routing.groups import layer_names
from routing.record import RoutingRecord

RESAMPLES = 200
_kept = MemoCache()


class Both(NamedTuple):
    """A and B of the documents they share and the tokens that count, token under token."""

    first: RoutingRecord
    second: RoutingRecord
    repeated: int

    @property
    def population(self) -> str:
        """What is compared, and how many tokens were left out because an earlier document began alike."""
        documents = len(np.unique(self.first.document_t))
        of = f"N = {self.first.tokens:,} tokens of {documents:,} document{'s' * (documents != 1)} that A and B share"
        return of + left_out(self.repeated)


def show_weights(page: Page, other: Source, found: Relation) -> None:
    """From the whole to one document."""
    with answering("In which layers do the choices differ?"):
        both = _both(page, other, found)
        key = (*page.source.key, *other.key, page.scope)
        _overlap(page, other, both, key)
        _depth(both, key)
        _shift(page, both, key)
    with answering("Which tokens went elsewhere?"):
        _pair(page, other, found)


def _both(page: Page, other: Source, found: Relation) -> Both:
    pairs = within(found, page.scope)
    if not pairs:
        raise OptionError(
            "documents that count here and that B does not have", expected="some in both", do="release the slice"
        )

    def cut() -> Both:
        first, second = paired(page.source.record, other.record, pairs)
        rows_t = facet_mask(first, page.scope.facet)
        if (span := page.scope.span) is not None:
            rows_t &= (first.position_t >= span.first) & (first.position_t <= span.last)
        if not rows_t.any():
            raise OptionError("no token of that kind", expected="some", do="let other tokens count, in the side column")
        fresh_t = rows_t & first_of_prefix(first)
        repeated = int(np.count_nonzero(rows_t) - np.count_nonzero(fresh_t))
        return Both(first.take(fresh_t), second.take(fresh_t), repeated)

    return _kept.get((*page.source.key, *other.key, page.scope, "both"), cut)


def within(found: Relation, scope: Scope) -> tuple[tuple[int, int], ...]:
    """The pairs of documents that count."""
    if scope.documents is None:
        return found.pairs
    chosen = set(scope.documents)
    return tuple(pair for pair in found.pairs if pair[0] in chosen)


def _overlap(page: Page, other: Source, both: Both, key: Key) -> None:
    names = layer_names(both.first.layers)
    agreed = _kept.get((*key, "agreement"), lambda: agreement(both.first, both.second, resamples=1000))
    line = line_of(agreed, names)
    with st.spinner("Looking for a repeated run"):
        ceiling = _ceiling(page, other, key)
    line = line if ceiling is None else line._replace(ceiling_l=ceiling[0], ceiling_words=ceiling[1])
    near_tl = near_ties(both.first, both.second)
    line = line if near_tl is None else line._replace(near_l=near_tl.mean(axis=0))
    question = "In which layers do the choices differ?"
    words = overlap_words(line, question=question, population=both.population)
    with figure(words, key="overlap", frame=lambda: overlap_frame(line), is_chart=True):
        chart(overlap_plot(line), words, key="overlap-chart")


def _ceiling(page: Page, other: Source, key: Key) -> tuple[NDArray[np.float64], str] | None:
    """What the same recipe reaches when it is repeated: nothing else tells how much of a difference is noise."""
    repeat = repeat_of(page.source, other)
    if repeat is None:
        return None
    share_l = _kept.get((*key, "repeat", *repeat.key), lambda: _repeated(page.source, repeat))
    return share_l, f"A captured again ({repeat.name})"


def _repeated(source: Source, repeat: Source) -> NDArray[np.float64]:
    one, two = paired(source.record, repeat.record, same_documents(source.record, repeat.record))
    return np.array([layer.share for layer in agreement(one, two, resamples=1)])


def repeat_of(source: Source, other: Source) -> Source | None:
    """A third capture of the same recipe: of what ships, the last step of the training; else one seen before."""
    model = model_of(source.id)
    steps = steps_of(model)
    last = {f"probe.{model}": steps[-1], steps[-1]: f"probe.{model}"} if steps else {}
    for id in [last[source.id]] if source.id in last else list(seen()):
        if id in (source.id, other.id):
            continue
        try:
            third = server.find_source(id)
        except GatescopeError:
            continue
        if source.id in last or _is_repeat(source, third):
            return third
    return None


def _is_repeat(source: Source, third: Source) -> bool:
    return third.record.provenance == source.record.provenance and bool(same_documents(source.record, third.record))


def _depth(both: Both, key: Key) -> None:
    names = layer_names(both.first.layers)
    places = st.columns(2, gap="large")
    with places[0], answering("Do near ties flip first?"):
        flips = _kept.get((*key, "flips"), lambda: flips_by_margin(both.first, both.second, resamples=RESAMPLES))
        whose = "A" if both.first.margin_tl is not None else "B"
        words = margin_words(flips, population=both.population, whose=whose)
        with figure(words, key="margins", frame=lambda: margin_frame(flips), is_chart=True):
            chart(margin_plot(flips), words, key="margins-chart")
    with places[1], answering("Where do changes begin, and do they carry on?"):
        falls = _kept.get((*key, "cascade"), lambda: cascade(both.first, both.second, resamples=RESAMPLES))
        words = cascade_words(falls, names, population=both.population)
        with figure(words, key="cascade", frame=lambda: cascade_frame(falls, names), is_chart=True):
            chart(cascade_plot(falls, names), words, key="cascade-chart")


def _shift(page: Page, both: Both, key: Key) -> None:
    names = layer_names(both.first.layers)
    shift = _kept.get((*key, "shift"), lambda: load_shift(both.first, both.second, resamples=1000))
    words = shift_words(shift, names, population=both.population)
    with figure(words, key="shift", frame=lambda: shift_frame(shift, names)):
        only = st.toggle("Only what is beyond noise", value=True, key="compare-shift-beyond", persist_state="session")
        noise_le = ~(np.nan_to_num(shift.q_le, nan=1.0) <= 0.05)
        matrix(
            100 * shift.value_le,
            rows=names,
            columns=None,
            scale=shift_scale(shift),
            pinned=None if page.view.expert is None else Pick(page.view.layer, page.view.expert),
            key="shift-matrix",
            description=words.takeaway,
            on_pick=_pin_expert,
            faded_rc=noise_le if only else None,
            faded_says="no more than noise",
        )


def _pin_expert(pick: Pick | None) -> None:
    layer, expert = (None, None) if pick is None else (pick.row, pick.column)
    address.change(layer=layer, expert=expert)


def _pair(page: Page, other: Source, found: Relation) -> None:
    """One document of both, token under token."""
    pairs = within(found, page.scope) or found.pairs
    numbers = dict(pairs)
    number = page.view.document if page.view.document in numbers else pairs[0][0]
    if len(pairs) > 1:
        number = _document(page, list(numbers), number)
    first, second = document_of(page.source, number), document_of(other, numbers[number])
    second = second if second.pieces else replace(second, pieces=first.pieces)  # the same tokens: the same words
    every = np.arange(first.tokens)
    key = (*page.source.key, *other.key, number, "pair")
    pair: Aligned = _kept.get(key, lambda: aligned(first, second, every, every))
    document = page.source.record.documents[number]
    where = f", of document {number}" + (f" ({document.id})" if document.id else "")
    show_pair(page, pair, number=number, documents=(first, second), where=where if len(found.pairs) > 1 else "")


def _document(page: Page, numbers: list[int], number: int) -> int:
    """Which of the common documents is read."""
    names = {each: page.source.record.documents[each].id or f"document {each}" for each in numbers}
    st.session_state["compare-document"] = number
    st.selectbox(
        "Document",
        numbers,
        key="compare-document",
        format_func=lambda each: f"{each}: {names[each]}"[:80],
        on_change=lambda: address.change(document=st.session_state["compare-document"], token=None),
        width=360,
    )
    return number
