"""The same tokens through other weights, another number format or engine: from the whole to one document."""

from dataclasses import replace

import numpy as np
import streamlit as st

from gatescope.analysis.comparison.compare import Relation, near_ties, overlap, same_documents
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components import Pick
from gatescope.app.shell import address
from gatescope.app.shell.captures_bar import seen
from gatescope.app.shell.figure import show
from gatescope.app.shell.session import server
from gatescope.app.views.compare.alignment_figure import Aligned, aligned
from gatescope.app.views.compare.choice import model_of, steps_of
from gatescope.app.views.compare.pair import SHARES, show_pair
from gatescope.app.views.compare.relation import note_pair, within
from gatescope.app.views.compare.weights_figure import (
    agreed,
    cascades,
    ceiling,
    margins,
    overlaps,
    shared_tokens,
    shifts,
)
from gatescope.routing.errors import GatescopeError
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Scope, Source, document_of

BEYOND = "compare-shift-beyond"
_pairs = MemoCache()


def show_weights(page: Page, other: Source, found: Relation) -> None:
    """From the whole to one document."""

    def make() -> Figure:
        both = shared_tokens(page, other, found)
        ours = agreed(page, other, both)
        with st.spinner("Looking for a repeated run"):
            repeat = repeat_of(page.source, other)
            repeated = None if repeat is None else ceiling(page, other, repeat)
        return overlaps(both, ours, repeated)

    if show("In which layers do the choices differ?", make) is not None:
        _whole(page, other, found)
    _pair(page, other, found)


def _whole(page: Page, other: Source, found: Relation) -> None:
    both = shared_tokens(page, other, found)
    left, right = st.columns(2, gap="large")
    with left:
        show("Do near ties flip first?", lambda: margins(page, other, both))
    with right:
        show("Where do changes begin, and do they carry on?", lambda: cascades(page, other, both))
    show(
        "Which experts have more work in A, which in B?",
        lambda: shifts(page, other, both, is_faint=st.session_state.get(BEYOND, True)),
        on_pick=_pin_expert,
        above=_only_beyond,
    )


def _only_beyond() -> None:
    st.toggle("Only what is beyond noise", value=True, key=BEYOND, persist_state="session")


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

    def stand_together() -> Aligned:
        note_pair(page.source, Scope(documents=(number,)), other, SHARES, overlap, near_ties, document=numbers[number])
        key = (*page.source.key, *other.key, number)
        return _pairs.get(key, lambda: aligned(first, second, every, every))

    document = page.source.record.documents[number]
    where = f", of document {number}" + (f" ({document.id})" if document.id else "") if len(found.pairs) > 1 else ""
    show_pair(page, stand_together, number=number, documents=(first, second), where=where)


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
