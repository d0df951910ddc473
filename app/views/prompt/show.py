"""Showing a text's routing: where it comes from, the picture of its tokens, the pinned token, and its tables."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Unpack

import pandas as pd
import streamlit as st

from gatescope.app.charts.card import card
from gatescope.app.components import Expert, Grid, Pick, encode_routes, token_matrix, took, window_first
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import parquet_bytes
from gatescope.app.shell.links import linker
from gatescope.app.shell.messages import plain
from gatescope.app.views.prompt.change import show_change
from gatescope.drawing.facts import captured_by, selfcheck_words
from gatescope.drawing.one_file import to_html
from gatescope.drawing.token_heatmap import (
    TokenFigure,
    changes,
    close_calls,
    explain,
    picture_frame,
    row_names,
    token_figure,
    token_flags,
    token_pieces,
    view_title,
    views,
)
from gatescope.routing.record import Flag, RoutingRecord
from gatescope.server.measures import Reading
from gatescope.server.memo_cache import MemoCache
from gatescope.server.model_worker import ModelWorker
from gatescope.server.snippet import snippet
from gatescope.server.sources import Scope, Source, document_of, span_of
from gatescope.server.view import Span, View, ViewParts
from gatescope.studies.export import csv_bytes, expert_load_frame, routing_trace_frame

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import Check

_figures = MemoCache()


def show(source: Source, reference: Source | None, view: View, worker: ModelWorker) -> None:
    """Draw one document of a capture."""
    record = document_of(source, view.document or 0)
    _document_choice(source, view)
    picture, beside = st.container(), st.container(border=True)
    with beside:  # sent before the picture, which takes longer: a pin is answered by the card
        _pinned(record, view)
    with picture:
        _picture(source, record, view)
        show_change(source, reference, view)
    _header(record, worker)
    _take_away(source, record, view, worker)


def _header(record: RoutingRecord, worker: ModelWorker) -> None:
    made = record.provenance
    generated = int((record.flag_t & Flag.GENERATED != 0).sum())
    parts = [
        f"{made.model} @ {made.fingerprint[:8]}",
        made.dtype,
        made.device,
        f"{record.tokens:,} tokens (prompt {record.tokens - generated:,}, generated {generated:,})",
        f"{len(record.layers)} MoE layers",
        captured_by(made),
    ]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(plain(" · ".join(parts)), width="content")
        model = worker.model
        if model is not None and model.fingerprint == made.fingerprint:
            _selfcheck(model.selfcheck.checks)


def _selfcheck(checks: Sequence["Check"]) -> None:
    """Whether what is recorded was proven to be what was executed, and how."""
    passed = sum(check.passed for check in checks)
    mark = "✓" if passed == len(checks) else "✗"
    with st.popover(f"self-check {mark} {passed}/{len(checks)}", type="tertiary"):
        st.markdown("When this model was loaded, its hooks were tested on a fixed text:")
        for check in checks:
            st.markdown(f"{'✓' if check.passed else '✗'} **{plain(check.name)}**: {plain(check.detail)}")


def _document_choice(source: Source, view: View) -> None:
    """Which document of a corpus is read."""
    documents = source.record.documents
    if len(documents) == 1:
        return
    number = view.document or 0
    st.session_state["document"] = number
    with st.container(horizontal=True, vertical_alignment="bottom"):
        last = len(documents) - 1
        st.number_input(f"Document, 0 to {last:,}", 0, last, key="document", on_change=_take_document, width=180)
        shown = documents[number]
        labels = ", ".join(filter(None, (shown.id, shown.domain, shown.language)))
        st.caption(plain(f"{labels} · of {source.name}"), width="content")


def _take_document() -> None:
    address.change(document=st.session_state["document"], token=None, span=None)


def _picture(source: Source, record: RoutingRecord, view: View) -> None:
    choices, chosen = views(record), _quantity(record, view)
    st.session_state["view"] = chosen
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "What the colours say",
            choices,
            key="view",
            format_func=view_title,
            required=True,
            on_change=_take_view,
            label_visibility="collapsed",
        )
        _explanation(chosen)
    st.caption(plain(explain(chosen).says))
    figure = _figure(source, record, chosen, view, view.span)
    st.markdown(plain(figure.sentence))
    if view.span is not None:
        _span(view.span)
    _matrix(source, record, view, _figure(source, record, chosen, view, None))


def _quantity(record: RoutingRecord, view: View) -> str:
    """What the colours say: what was chosen, where it was recorded."""
    choices = views(record)
    return view.quantity if view.quantity in choices else choices[0]


def _figure(source: Source, record: RoutingRecord, quantity: str, view: View, span: Span | None) -> TokenFigure:
    """Keyed by the capture's id, never by an array."""
    key = (*source.key, view.document or 0, quantity, span)
    return _figures.get(key, lambda: token_figure(record if span is None else span_of(record, span), quantity))


def _span(span: Span) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"The sentence above and the tables below speak of tokens {span.first} to {span.last} only.")
        st.button("Clear the range", on_click=address.change, kwargs={"span": None}, type="tertiary", key="whole")


def _explanation(view: str) -> None:
    words = explain(view)
    with st.popover("What is this?", icon=":material/info:", type="tertiary"):
        st.markdown(plain(words.says))
        for name, text in (("Low", words.low), ("High", words.high), ("Unit", words.unit), ("It is", words.not_this)):
            if text:
                st.markdown(f"**{name}:** {plain(text)}")


def _matrix(source: Source, record: RoutingRecord, view: View, figure: TokenFigure) -> None:
    made = source.record.provenance

    def here(**parts: Unpack[ViewParts]) -> None:
        address.change(**ViewParts(capture=source.id, document=view.document) | parts)

    def pin(pick: Pick | None) -> None:
        layer = (view.layer if view.expert is not None else None) if pick is None else pick.row
        expert = view.expert if layer is not None and layer == view.layer else None
        here(token=None if pick is None else pick.column, layer=layer, expert=expert)

    def choose(expert: Expert | None) -> None:
        if expert is not None:
            here(layer=expert[0], expert=expert[1])
        else:
            here(expert=None, layer=None if view.token is None else view.layer)

    token_matrix(
        figure.values_lt,
        pieces=token_pieces(record),
        flags=token_flags(record),
        rows=row_names(record),
        scale=figure.scale,
        labels_rc=figure.expert_lt,
        changes_rc=None if figure.expert_lt is not None else changes(record),  # the labels say it
        stops_rc=close_calls(record),
        stops_say="close call",
        pinned=None if view.token is None else Pick(view.layer, view.token),
        span=None if view.span is None else (view.span.first, view.span.last),
        description=figure.sentence,
        attribution=made.model + (", under an intervention" if made.intervention else ""),
        key=f"trace-{source.id}-{view.document or 0}",
        grid=_grid(source, record, view, choose),
        on_pick=pin,
        on_span=lambda span: here(span=None if span is None else Span(*span)),
        on_row=lambda layer: address.visit("layers", capture=source.id, layer=layer),
    )


def _grid(source: Source, record: RoutingRecord, view: View, choose: Callable[[Expert | None], None]) -> Grid:
    """The experts that ran, beside the text."""
    chosen = None if view.layer is None or view.expert is None else (view.layer, view.expert)

    def read(channel: str, token: int) -> bytes:
        key = (*source.key, view.document or 0, "routes", window_first(record, token))
        return _figures.get(key, lambda: encode_routes(record, channel, token))

    return Grid(
        read=read,
        experts=record.experts,
        chosen=chosen,
        took_t=None if chosen is None else took(record, *chosen),
        on_choose=choose,
        on_open=lambda expert: address.visit("expert", capture=source.id, layer=expert[0], expert=expert[1]),
    )


def _pinned(record: RoutingRecord, view: View) -> None:
    if view.token is None:
        st.markdown("**No token is pinned.**")
        st.caption(
            "Click a token or a cell to see which experts took it. In the picture, the arrow keys move, Enter "
            "pins and Esc releases."
        )
        return
    to_expert, to_layer = linker("expert"), linker("layers")

    def href(layer: int, expert: int | None) -> str:
        return to_layer(layer=layer) if expert is None else to_expert(layer=layer, expert=expert)

    linked(card(record, view.token, view.layer, href=href), key="card", on_follow=address.visit_link)
    st.button("Follow this token layer by layer", on_click=address.visit, args=("token",), type="tertiary")


class Table(NamedTuple):
    """Numbers of the document: how their table is made here, and the function and arguments that make it in Python."""

    name: str
    make: Callable[[], pd.DataFrame]
    function: Callable[..., pd.DataFrame]
    arguments: tuple[str, ...] = ()

    def python(self, source: Source, view: View) -> str:
        """The same table in Python."""
        is_one = view.span is None and len(source.record.documents) == 1
        scope = Scope() if is_one else Scope(documents=(view.document or 0,), span=view.span)
        called = self.function.__name__
        code = f"{self.name.lower()} = {called}({', '.join(('record', *self.arguments))})"
        imports = (f"from {self.function.__module__} import {called}",)
        return snippet((Reading(source=source, scope=scope, code=code, imports=imports),))


def _take_away(source: Source, record: RoutingRecord, view: View, worker: ModelWorker) -> None:
    """Tables, made when they are asked for, the same in Python, and the link."""
    own = record if view.span is None else span_of(record, view.span)
    quantity = _quantity(record, view)
    trace = Table("Trace", lambda: routing_trace_frame(own, source.id), routing_trace_frame, (repr(source.id),))
    counts = Table("Counts", lambda: expert_load_frame(own), expert_load_frame)
    picture = Table("Picture", lambda: picture_frame(own, quantity), picture_frame, (repr(quantity),))
    with st.container(horizontal=True, vertical_alignment="center"):
        _table(trace, source, "One row per token, layer and expert.")
        _table(counts, source, "How often each expert of each layer was taken.")
        with st.popover("Save as one file", icon=":material/html:", type="tertiary", key="prompt-file"):
            _one_file(source, own, worker)
        with st.popover("Python", icon=":material/code:", type="tertiary", key="prompt-python"):
            st.markdown("The same numbers in Python, from the project's folder:")
            for table in (trace, counts, picture):
                _python(table, table.python(source, view))
        st.caption(
            "The address of this page is the link to this view: capture, pinned token and quantity. "
            "The text is not part of it; it stays on this server."
        )


def _one_file(source: Source, record: RoutingRecord, worker: ModelWorker) -> None:
    """Buttons that make the trace as one file when they are pressed, with its text and without."""
    model, selfcheck = worker.model, ""
    if model is not None and model.fingerprint == record.provenance.fingerprint:
        selfcheck = selfcheck_words([check.passed for check in model.selfcheck.checks])
    st.markdown(
        "Heatmap, text and experts as one HTML file. It opens in any browser, without this server or a network."
    )
    for name, text, ending in (("With the text", True, ""), ("Without the text", False, "-without-text")):
        st.download_button(
            name,
            data=partial(_page, record, text=text, selfcheck=selfcheck),
            file_name=f"gatescope-{source.id}{ending}.html",
            mime="text/html",
            icon=":material/download:",
            on_click="ignore",
        )
    st.caption(
        "Without the text, places stand for the tokens; no text, token id or prediction is in the file. Routes are, "
        "and who has the model may guess tokens from them."
    )


def _page(record: RoutingRecord, *, text: bool, selfcheck: str) -> bytes:
    return to_html(record, text=text, selfcheck=selfcheck).encode()


def _table(table: Table, source: Source, says: str) -> None:
    """Buttons that make one table when they are pressed."""
    for kind, make in (("CSV", csv_bytes), ("Parquet", parquet_bytes)):
        st.download_button(
            f"{table.name} ({kind})",
            data=partial(_made, make, table.make),
            file_name=f"gatescope-{source.id}-{table.name.lower()}.{kind.lower()}",
            mime="text/csv" if kind == "CSV" else "application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            help=says,
        )


def _python(table: Table, code: str) -> None:
    st.caption(table.name)
    st.code(code, language="python")


def _made(make: Callable[[pd.DataFrame], bytes], frame: Callable[[], pd.DataFrame]) -> bytes:
    return make(frame())


def _take_view() -> None:
    address.change(quantity=st.session_state["view"])
