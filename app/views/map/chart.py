"""The map on its page: the chart with its lasso, the pinned point, the same as a table, and the neighbours."""

import re
from html import escape
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.app.charts.card import visible
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain
from gatescope.app.views.map.map_figure import Asked, chart_key, laid_out, plane, sought
from gatescope.app.views.map.points_figure import Places
from gatescope.server.document_ranges import slice_of

MOST_RUNS = 200
"""Runs of numbers that an address can name."""

TOO_SCATTERED = "map-too-scattered"


def show_map(page: Page, asked: Asked) -> None:
    """The map, and what is chosen in it."""

    def make() -> Figure:
        says = (
            "Laying out with UMAP: half a minute the first time on this machine, while it is compiled, then seconds"
            if asked.plane == "UMAP"
            else f"Laying out {asked.kind}"
        )
        with st.spinner(says, show_time=True):
            places = laid_out(page, asked)
        return plane(page, places, asked)

    key = chart_key(page, asked)
    if show(f"Which {asked.kind} are routed alike?", make, on_select=lambda: _take(key, laid_out(page, asked))) is None:
        return
    places = laid_out(page, asked)
    found_n = sought(page, places, asked)
    _notice()
    _found(places, found_n)
    _pinned(page)
    _as_table(page, places, found_n)


def _take(key: str, places: Places) -> None:
    """A lasso or a box chooses documents, a click pins a point."""
    chosen = st.session_state[key].get("selection", {})
    rows = _rows(chosen, len(places.frame))
    if not rows:
        return
    if chosen.get("lasso") or chosen.get("box"):
        choose(places, rows)
    else:
        pin(places, rows[0])


def _rows(chosen: Any, points: int) -> list[int]:
    """The points that the browser names and that exist."""
    rows = []
    for point in chosen.get("points", []):
        data = point.get("customdata")
        row = data[0] if isinstance(data, (list, tuple)) and data else data.get("0") if isinstance(data, dict) else None
        if isinstance(row, (int, float)) and 0 <= row < points:
            rows.append(int(row))
    return rows


def choose(places: Places, rows: list[int]) -> None:
    """Let only the documents of these points count. For callbacks."""
    chosen = slice_of([int(number) for number in places.frame["document"].iloc[rows]])
    if chosen.count(".") > MOST_RUNS:
        st.session_state[TOO_SCATTERED] = chosen.count(".") + 1
        return
    address.change(slice=chosen, span=None)


def pin(places: Places, row: int) -> None:
    """Pin one point. For callbacks."""
    point = places.frame.iloc[row]
    token = int(point["token"]) if places.kind == "tokens" else None
    address.change(document=int(point["document"]), token=token, span=None)


def _notice() -> None:
    if (runs := st.session_state.pop(TOO_SCATTERED, None)) is not None:
        st.warning(
            f"These documents lie in {runs:,} separate runs of numbers, and an address holds {MOST_RUNS + 1}: "
            "draw a smaller lasso.",
            icon=":material/info:",
        )


def _found(places: Places, found_n: NDArray[np.bool_]) -> None:
    """What was sought, as a slice."""
    if found_n.any():
        rows = np.flatnonzero(found_n).tolist()
        documents = places.frame["document"].iloc[rows].nunique()
        label = f"Let only the {documents:,} document{'s' * (documents != 1)} with what is sought count"
        st.button(label, on_click=choose, args=(places, rows), key="map-take-found")


def _pinned(page: Page) -> None:
    """The pinned document with its way to the text."""
    number = page.view.document
    if number is None:
        return
    document = page.source.record.documents[number]
    labels = ", ".join(filter(None, (document.id, document.domain, document.language)))
    begins = " ".join(document.text.split())[:160]
    href = escape(address.link("prompt", capture=page.source.id))
    with st.container(border=True):
        linked(
            f'<p style="margin:0 0 .3rem"><strong>Document {number}</strong> {visible_words(labels)} '
            f'<a href="{href}">Read it, token by token</a></p><bdi style="opacity:.8">{visible_words(begins)}</bdi>',
            key="map-pinned",
            on_follow=address.visit_link,
        )


def visible_words(text: str) -> str:
    """Foreign text as HTML, its spaces as they are."""
    return " ".join(visible(word) for word in re.split(r"\s+", text) if word)


def _as_table(page: Page, places: Places, found_n: NDArray[np.bool_]) -> None:
    """The points as rows that can be chosen with the keyboard."""
    with st.expander("Choose points in a table", key="map-choose", on_change="rerun") as shown:
        if not shown.open:
            return
        frame = places.frame.drop(columns=["first", "second"])
        rows_n = np.flatnonzero(found_n) if found_n.any() else np.arange(len(frame))
        key = f"map-rows-{page.source.id}-{places.kind}"
        event = st.dataframe(
            frame.iloc[rows_n], hide_index=True, key=key, on_select="rerun", selection_mode="multi-row", height=320
        )
        chosen = [int(rows_n[row]) for row in event["selection"]["rows"] if row < len(rows_n)]
        with st.container(horizontal=True):
            st.button(
                plain(f"Let only these count ({len(chosen):,})"),
                on_click=choose,
                args=(places, chosen),
                disabled=not chosen,
                key="map-take-rows",
            )
            st.button(
                "Pin the first of them",
                on_click=pin,
                args=(places, chosen[0] if chosen else 0),
                disabled=not chosen,
                key="map-pin-row",
            )
