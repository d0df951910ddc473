"""Showing a capture: where it comes from, the picture of its tokens, the pinned token, and its tables to take away."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import streamlit as st

from app.components import Pick, token_matrix
from app.export import counts_frame, csv_bytes, trace_frame
from app.figures.card import card
from app.figures.trace import (
    TokenFigure,
    explain,
    row_names,
    token_figure,
    token_flags,
    token_pieces,
    view_title,
    views,
)
from app.sections import address
from app.sections.messages import plain
from app.server import shelf
from app.state import View
from app.tracer import Hit, Tracer
from routing.record import Flag, RoutingRecord

FIGURES_CACHED = 64


def show(hit: Hit, view: View, tracer: Tracer) -> None:
    """Draw a capture."""
    _header(hit.record, tracer)
    picture, aside = st.columns([7, 3], gap="medium")
    with picture:
        _picture(hit, view)
    with aside, st.container(border=True):
        _pinned(hit.record, view)
    _take_away(hit)


def _header(record: RoutingRecord, tracer: Tracer) -> None:
    made = record.provenance
    generated = int((record.flag_t & Flag.GENERATED != 0).sum())
    parts = [
        f"{made.model} @ {made.fingerprint[:8]}",
        made.dtype,
        made.device,
        f"{record.tokens:,} tokens (prompt {record.tokens - generated:,}, generated {generated:,})",
        f"{len(record.layers)} MoE layers",
        f"captured by {made.engine}",
    ]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(plain(" · ".join(parts)), width="content")
        model = tracer.model
        if model is not None and model.fingerprint == made.fingerprint:
            _selfcheck(model.selfcheck.checks)


def _selfcheck(checks: tuple) -> None:
    """Whether what is recorded was proven to be what was executed, and how."""
    passed = sum(check.passed for check in checks)
    mark = "✓" if passed == len(checks) else "✗"
    with st.popover(f"self-check {mark} {passed}/{len(checks)}", type="tertiary"):
        st.markdown("When this model was loaded, its hooks were tested on a fixed text:")
        for check in checks:
            st.markdown(f"{'✓' if check.passed else '✗'} **{plain(check.name)}**: {plain(check.detail)}")


def _picture(hit: Hit, view: View) -> None:
    choices = views(hit.record)
    chosen = view.quantity if view.quantity in choices else choices[0]
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
    figure = _figure(hit.id, chosen)
    st.markdown(plain(figure.sentence))
    _matrix(hit, view, figure)


def _explanation(view: str) -> None:
    words = explain(view)
    with st.popover("What is this?", icon=":material/info:", type="tertiary"):
        st.markdown(plain(words.says))
        for name, text in (("Low", words.low), ("High", words.high), ("Unit", words.unit), ("It is", words.not_this)):
            if text:
                st.markdown(f"**{name}:** {plain(text)}")


def _matrix(hit: Hit, view: View, figure: TokenFigure) -> None:
    record = hit.record

    def pin(pick: Pick | None) -> None:
        token, layer = (None, None) if pick is None else (pick.column, pick.row)
        address.go(replace(address.current(), capture=hit.id, token=token, layer=layer))

    token_matrix(
        figure.values_lt,
        pieces=token_pieces(record),
        flags=token_flags(record),
        rows=row_names(record),
        scale=figure.scale,
        labels_rc=figure.expert_lt,
        pinned=None if view.token is None else Pick(view.layer, view.token),
        description=figure.sentence,
        key=f"trace-{hit.id}",
        on_pick=pin,
    )


def _pinned(record: RoutingRecord, view: View) -> None:
    if view.token is None:
        st.markdown("**No token is pinned.**")
        st.caption(
            "Click a token or a cell to see which experts took it. In the picture, the arrow keys move, Enter "
            "pins and Esc releases."
        )
        return
    st.html(card(record, view.token, view.layer))


def _take_away(hit: Hit) -> None:
    """Tables, made when they are asked for, and the link."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _table("Trace", hit, lambda: trace_frame(hit.record, hit.id), "One row per token, layer and expert.")
        _table("Counts", hit, lambda: counts_frame(hit.record), "How often each expert of each layer was taken.")
        st.caption(
            "The address of this page is the link to this view: capture, pinned token and quantity. "
            "The text is not part of it; it stays on this server."
        )


def _table(name: str, hit: Hit, frame: Callable[[], pd.DataFrame], says: str) -> None:
    """A button that makes one table as CSV when it is pressed."""
    st.download_button(
        f"{name} (CSV)",
        data=lambda: csv_bytes(frame()),
        file_name=f"gatescope-{hit.id}-{name.lower()}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        help=says,
    )


def _take_view() -> None:
    address.change(quantity=st.session_state["view"])


@st.cache_resource(max_entries=FIGURES_CACHED, show_spinner=False)
def _figure(capture: str, view: str) -> TokenFigure:
    """Keyed by the capture's id, never by an array: Streamlit hashes large arrays by sample."""
    return token_figure(shelf().find(capture).record, view)
