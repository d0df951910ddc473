"""The map on its page: the chart with its lasso, the pinned point, the same as a table, and the neighbours."""

import re
from html import escape
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.app.charts.card import visible
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.app.views.map.points_figure import (
    Places,
    map_words,
    matching,
    purity_frame,
    purity_plot,
    purity_words,
    scatter,
)
from gatescope.app.views.map.projections import PLANES, places_of, purities_within
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.document_ranges import slice_of

MOST_RUNS = 200
"""Runs of numbers that an address can name."""

MICE = {"Points": "pan", "Lasso": "lasso", "Box": "select"}
"""What the mouse does, as the reader calls it and as Plotly does: a click is heard only while a drag draws nothing."""

TOO_SCATTERED = "map-too-scattered"


class Asked(NamedTuple):
    """What the reader wants to see."""

    kind: str
    plane: str
    by: str
    sought: str
    mouse: str


def show(page: Page, asked: Asked) -> None:
    """The map, and what is chosen in it."""
    with answering(f"Which {asked.kind} are routed alike?"):
        places = _places(page, asked)
        found_n = matching(places.frame, _texts(page, places), asked.sought)
        inside_n = _inside(page, places)
        words = map_words(
            places,
            plane=PLANES[asked.plane],
            layer=_layer(page),
            population=_population(page, asked),
            shown=len(places.frame),
            found=int(found_n.sum()) if asked.sought.strip() else None,
        )
        with figure(words, key="map", frame=lambda: _data(places, inside_n, found_n), is_chart=True):
            drawn = scatter(
                places,
                asked.by,
                inside_n=inside_n,
                found_n=found_n,
                pinned=_pinned_row(page, places),
                mouse=MICE[asked.mouse],
            )
            key = f"map-chart-{page.source.id}-{asked.kind}"
            chart(
                drawn,
                words,
                key=key,
                on_select=lambda: _take(key, places),
                selection_mode=("points", "box", "lasso"),
            )
            st.caption(_how(asked))
        _notice()
        _found(places, found_n)
        _pinned(page)
        _as_table(page, places, found_n)


def show_neighbours(page: Page, asked: Asked) -> None:
    """How often neighbours bear the same label, of the documents that count."""
    with answering("Do neighbours have the same label?"):
        places = _neighbours(page, asked)
        if not places.purities:
            raise OptionError(
                f"{len(places.frame):,} {asked.kind} without two different labels, or of one document only",
                expected="labelled documents, several of them: a neighbour of the same document does not count",
                do="choose a labelled corpus, or let more documents count",
            )
        words = purity_words(places, population=page.population)
        with figure(words, key="map-purity", frame=lambda: purity_frame(places), is_chart=True):
            chart(purity_plot(places), words, key="map-purity-chart")


def _places(page: Page, asked: Asked) -> Places:
    says = (
        "Laying out with UMAP: half a minute the first time on this machine, while it is compiled, then seconds"
        if asked.plane == "UMAP"
        else ""
    )
    with st.spinner(says or f"Laying out {asked.kind}", show_time=True):
        return places_of(page.source, asked.kind, asked.plane, page.scope, page.view.layer)


def _neighbours(page: Page, asked: Asked) -> Places:
    if asked.kind == "documents" and not page.scope.is_whole:
        return purities_within(page.source, page.scope, page.view.layer)
    return places_of(page.source, asked.kind, "PCA", page.scope, page.view.layer)


def _layer(page: Page) -> str:
    """Of one layer, where one is pinned."""
    layer = page.view.layer
    return "" if layer is None else f" in layer {layer_names(page.source.record.layers)[layer]}, which is pinned"


def _population(page: Page, asked: Asked) -> str:
    if asked.kind == "documents" and not page.scope.is_whole:
        return f"{page.population}, drawn in full; the others are faint"
    return page.population


def _inside(page: Page, places: Places) -> NDArray[np.bool_]:
    """Which points are of documents that count."""
    if page.scope.documents is None:
        return np.ones(len(places.frame), bool)
    return np.isin(places.frame["document"], page.scope.documents)


def _texts(page: Page, places: Places) -> list[str]:
    """What the search reads besides labels: whole documents, but of a token only itself."""
    if places.kind == "tokens":
        return [""] * len(places.frame)
    documents = page.source.record.documents
    return [documents[number].text for number in places.frame["document"]]


def _pinned_row(page: Page, places: Places) -> int | None:
    view = page.view
    if view.document is None or (places.kind == "tokens" and view.token is None):
        return None
    is_it = places.frame["document"] == view.document
    if places.kind == "tokens":
        is_it &= places.frame["token"] == view.token
    rows = np.flatnonzero(is_it)
    return int(rows[0]) if len(rows) else None


def _how(asked: Asked) -> str:
    which = "those documents" if asked.kind == "documents" else "the documents of those tokens"
    return (
        f"Click a point to pin it. With Lasso or Box, draw around points, and only {which} count, on every page. "
        "The table below does the same without a mouse."
    )


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


def _data(places: Places, inside_n: NDArray[np.bool_], found_n: NDArray[np.bool_]) -> Any:
    return places.frame.assign(counts=inside_n, found=found_n)
