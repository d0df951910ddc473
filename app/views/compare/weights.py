"""The same tokens through other weights, another number format or engine: what changed, where, and what is noise."""

from dataclasses import replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.comparison.compare import (
    Relation,
    cascade,
    flips_by_margin,
    load_shift,
    near_ties,
    overlap,
    same_documents,
)
from gatescope.analysis.comparison.saturation import agreement
from gatescope.app.components import Pick, matrix
from gatescope.app.shell import address
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.page import Page
from gatescope.app.shell.session import server
from gatescope.app.shell.sidebar import seen
from gatescope.app.views.compare.alignment_figure import Aligned, aligned
from gatescope.app.views.compare.choice import model_of, steps_of
from gatescope.app.views.compare.flips_figure import (
    cascade_frame,
    cascade_plot,
    cascade_words,
    margin_frame,
    margin_plot,
    margin_words,
)
from gatescope.app.views.compare.pair import SHARES, show_pair
from gatescope.app.views.compare.relation import Both, both_of, note_pair, related, within
from gatescope.app.views.compare.relation_figure import (
    line_of,
    overlap_frame,
    overlap_plot,
    overlap_words,
    shift_frame,
    shift_scale,
    shift_words,
)
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.memo_cache import Key, MemoCache
from gatescope.server.sources import Scope, Source, document_of

RESAMPLES = 200
_kept = MemoCache()


def show_weights(page: Page, other: Source, found: Relation) -> None:
    """From the whole to one document."""
    with answering("In which layers do the choices differ?"):
        both = _both(page, other, found)
        key = (*page.source.key, *other.key, page.scope)
        _overlap(page, other, both, key)
        _depth(page, other, both, key)
        with answering("Which experts have more work in A, which in B?"):
            _shift(page, other, both, key)
    with answering("Which tokens went elsewhere?"):
        _pair(page, other, found)


def _both(page: Page, other: Source, found: Relation) -> Both:
    pairs = within(found.pairs, page.scope)
    if not pairs:
        raise OptionError(
            "documents that count here and that B does not have", expected="some in both", do="release the slice"
        )
    return both_of(page.source, other, pairs, page.scope)


def _overlap(page: Page, other: Source, both: Both, key: Key) -> None:
    names = layer_names(both.first.layers)
    agreed = _kept.get((*key, "agreement"), lambda: agreement(both.first, both.second, resamples=1000))
    note_pair(page.source, page.scope, other, "agreed = agreement(first, second, resamples=1000)", agreement)
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
    pairs = within(related(page.source, repeat).pairs, page.scope)
    try:
        both = both_of(page.source, repeat, pairs, page.scope)
    except OptionError:  # the repeat has none of the tokens that count
        return None
    agreed = _kept.get((*key, "repeat", *repeat.key), lambda: agreement(both.first, both.second, resamples=1))
    note_pair(page.source, page.scope, repeat, "again = agreement(first, second, resamples=1)", agreement)
    return np.array([layer.share for layer in agreed]), f"A captured again ({repeat.name})"


def repeat_of(source: Source, other: Source) -> Source | None:
    """A third capture of the same recipe: of what ships, the last step of the training; else one seen before."""
    model = model_of(source.id)
    steps = steps_of(model)
    last = {f"probe.{model}": steps[-1], steps[-1]: f"probe.{model}"} if steps else {}
    for id in [last[source.id]] if source.id in last else list(seen()):
        if id in (source.id, other.id):
            continue
        try:
            third = server().find_source(id)
        except GatescopeError:
            continue
        if source.id in last or _is_repeat(source, third):
            return third
    return None


def _is_repeat(source: Source, third: Source) -> bool:
    return third.record.provenance == source.record.provenance and bool(same_documents(source.record, third.record))


def _depth(page: Page, other: Source, both: Both, key: Key) -> None:
    names = layer_names(both.first.layers)
    places = st.columns(2, gap="large")
    with places[0], answering("Do near ties flip first?"):
        flips = _kept.get((*key, "flips"), lambda: flips_by_margin(both.first, both.second, resamples=RESAMPLES))
        code = f"flips = flips_by_margin(first, second, resamples={RESAMPLES})"
        note_pair(page.source, page.scope, other, code, flips_by_margin)
        whose = "A" if both.first.margin_tl is not None else "B"
        words = margin_words(flips, population=both.population, whose=whose)
        with figure(words, key="margins", frame=lambda: margin_frame(flips), is_chart=True):
            chart(margin_plot(flips), words, key="margins-chart")
    with places[1], answering("Where do changes begin, and do they carry on?"):
        falls = _kept.get((*key, "cascade"), lambda: cascade(both.first, both.second, resamples=RESAMPLES))
        code = f"falls = cascade(first, second, resamples={RESAMPLES})"
        note_pair(page.source, page.scope, other, code, cascade)
        words = cascade_words(falls, names, population=both.population)
        with figure(words, key="cascade", frame=lambda: cascade_frame(falls, names), is_chart=True):
            chart(cascade_plot(falls, names), words, key="cascade-chart")


def _shift(page: Page, other: Source, both: Both, key: Key) -> None:
    names = layer_names(both.first.layers)
    shift = _kept.get((*key, "shift"), lambda: load_shift(both.first, both.second, resamples=1000))
    note_pair(page.source, page.scope, other, "shift = load_shift(first, second, resamples=1000)", load_shift)
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
    pairs = within(found.pairs, page.scope) or found.pairs
    numbers = dict(pairs)
    number = page.view.document if page.view.document in numbers else pairs[0][0]
    if len(pairs) > 1:
        number = _document(page, list(numbers), number)
    first, second = document_of(page.source, number), document_of(other, numbers[number])
    second = second if second.pieces else replace(second, pieces=first.pieces)  # the same tokens: the same words
    every = np.arange(first.tokens)
    key = (*page.source.key, *other.key, number, "pair")
    pair: Aligned = _kept.get(key, lambda: aligned(first, second, every, every))
    note_pair(page.source, Scope(documents=(number,)), other, SHARES, overlap, near_ties, document=numbers[number])
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
