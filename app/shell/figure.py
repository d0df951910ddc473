"""Every figure on the page: its question, one computed sentence, what is drawn, and the ways out.

    show("How evenly is the work spread?", lambda: gini(page))

What cannot be shown is said in the figure's place: what is missing, and what to do about it.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from gatescope.analysis.registry import METRICS
from gatescope.app.charts.exported import Export, Origin
from gatescope.app.charts.figure import BADGES, Chart, Columns, Figure, Html, Matrix, Part, Table, Text
from gatescope.app.charts.folding import fold_layers
from gatescope.app.components import Pick, matrix, token_matrix
from gatescope.app.components.heatmap.component import Options
from gatescope.app.components.image_export import picture
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import looked_at
from gatescope.routing.errors import GatescopeError
from gatescope.server.measures import Reading, noted, noting
from gatescope.server.snippet import snippet
from gatescope.server.sources import WHOLE, Scope, Source, scope_words
from gatescope.studies.export import csv_bytes

ROWS_SHOWN = 2_000
NO_SNIPPET = "These numbers are computed by this page and cannot be had in one call."
OnPick = Callable[[Pick | None], None] | None
OnRow = Callable[[int], None] | None
OnSelect = Callable[[], None] | None


def show(
    question: str,
    make: Callable[[], Figure | None],
    *,
    on_pick: OnPick = None,
    on_row: OnRow = None,
    on_select: OnSelect = None,
    above: Callable[[], None] | None = None,
    below: Callable[[], None] | None = None,
) -> Figure | None:
    """Draw the figure that `make` returns and return it; None where it returns none, or cannot, which is said.

    What `make` reads is noted, and the Python under the figure written from it, so that it cannot say anything else.
    `on_pick` and `on_row` hear of a cell and of a row's name chosen in its matrices, `on_select` of points in its
    chart, each before the run that this causes; `above` and `below` draw a control over the pictures and under them.
    """
    try:
        with noting():
            figure = make()
            if figure is None:
                return None
            figure = figure if figure.question else replace(figure, question=question)
            with _framed(figure):
                if above is not None:
                    above()
                for part in figure.body:
                    _draw(part, figure, on_pick, on_row, on_select)
                if figure.notes:
                    st.caption(plain("Note: " + " ".join(figure.notes)))
                if below is not None:
                    below()
    except GatescopeError as error:
        with st.container(border=True):
            st.subheader(plain(question), anchor=False)
            found = plain(fold_layers(error.found))
            st.markdown(f"**Not shown:** {found}. This needs {plain(error.expected)}: {plain(error.do)}.")
        return None
    return figure


@contextmanager
def _framed(figure: Figure) -> Iterator[None]:
    """What stands around what is drawn."""
    readings = noted()
    export, key = _export(figure, readings), figure.key
    with st.container(key=f"figure-{key}", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"row-{key}-head"):
            st.subheader(plain(figure.question), anchor=False, width="stretch")
            _explanation(figure)
            _ways_out(export, figure.code or snippet(readings))
        _takeaway(figure)
        yield
        if figure.foot:
            st.caption(plain(figure.foot))
        if figure.frame is not None and st.session_state.get(f"{key}-table"):
            _table(figure.frame(), figure)


def _draw(
    part: Part,
    figure: Figure,
    on_pick: OnPick = None,
    on_row: OnRow = None,
    on_select: Callable[[], None] | None = None,
) -> None:
    match part:
        case Chart():
            _chart(part, figure, on_select)
        case Matrix():
            _matrix(part, figure, on_pick, on_row)
        case Html():
            if part.key:
                linked(part.text, key=part.key, on_follow=address.visit_link)
            else:
                st.html(part.text)
        case Text():
            _text(part)
        case Table():
            with st.expander(part.folded) if part.folded else nullcontext():
                columns = {
                    name: st.column_config.NumberColumn(label, format=form)
                    for name, (label, form) in part.columns.items()
                }
                st.dataframe(part.frame, hide_index=True, alt=plain(figure.alt), column_config=columns)
        case Columns():
            for place, each in zip(st.columns(len(part.parts), gap="medium"), part.parts, strict=True):
                with place:
                    _draw(each, figure)


def _chart(part: Chart, figure: Figure, on_select: OnSelect) -> None:
    """A Plotly chart in the page's theme; what it says goes along for who does not see it."""
    removed = ["toImage"] if part.selects else ["toImage", "select2d", "lasso2d"]
    options: dict[str, Any] = {"on_select": on_select, "selection_mode": part.selects} if part.selects else {}
    st.plotly_chart(
        part.plot,
        key=part.key or f"{figure.key}-chart",
        theme="streamlit",
        alt=figure.alt,
        config={"displaylogo": False, "modeBarButtonsToRemove": removed, "responsive": True},
        **options,
    )


def _matrix(part: Matrix, figure: Figure, on_pick: OnPick, on_row: OnRow) -> None:
    defaults: Options = {"description": figure.takeaway, "attribution": figure.foot}
    options: Options = {**defaults, **part.options, "on_pick": on_pick, "on_row": on_row}
    key = part.key or f"{figure.key}-matrix"
    common: Any = {"rows": part.rows, "columns": part.columns, "scale": part.scale, "pinned": part.pinned, "key": key}
    if part.pieces is None:
        matrix(part.values_rc, **common, **options)
    else:
        token_matrix(part.values_rc, pieces=part.pieces, flags=part.flags, **common, **options)


def _text(part: Text) -> None:
    defaults = plain(part.text)
    if part.style == "small":
        st.caption(defaults)
    else:
        st.markdown({"plain": defaults, "strong": f"**{defaults}**", "large": f"### {defaults}"}[part.style])


def _takeaway(figure: Figure) -> None:
    colour, promise = BADGES[figure.badge]
    with st.container(horizontal=True, vertical_alignment="top", gap="small", key=f"row-{figure.key}-said"):
        if figure.badge:
            st.badge(figure.badge, color=colour, help=promise)
        st.markdown(plain(figure.takeaway), width="stretch")


def _explanation(figure: Figure) -> None:
    """What a figure shows: the formula's words, its source, and what it is not."""
    lines = [(name, text) for name, text in (*_definition(figure.metric), *figure.says) if text]
    if not lines:
        return
    with st.popover("About", icon=":material/info:", type="tertiary", key=f"{figure.key}-about"):
        for name, text in lines:
            st.markdown(f"**{plain(name)}:** {plain(text)}")


def _definition(name: str) -> tuple[tuple[str, str], ...]:
    """What the registry says of a metric."""
    if not name:
        return ()
    metric = METRICS[name]
    least, greatest = metric.range
    ends = f"{'…' if least is None else f'{least:g}'} to {'…' if greatest is None else f'{greatest:g}'}"
    return (
        (metric.title, metric.meaning),
        ("Unit", f"{metric.unit}; {ends}"),
        ("An even router", metric.uniform),
        ("Chance", metric.null),
        ("Source", metric.source),
        ("Name", name),
    )


def _export(figure: Figure, readings: Sequence[Reading]) -> Export:
    """What is written on every row of the figure's table."""
    page, of = looked_at(), figure.of
    if of is not None:
        scope = next((reading.scope for reading in readings if reading.source is of), WHOLE)
        return Export(figure=figure, own=_origin(of, scope))
    if page is None:
        return Export(figure=figure)
    other = page.reference
    is_of_b = other is not None and (not readings or any(reading.source is other for reading in readings))
    scope_b = next((reading.scope for reading in readings if reading.source is other), page.scope)
    return Export(
        figure=figure,
        own=_origin(page.source, page.scope),
        other=_origin(other, scope_b) if other is not None and is_of_b else None,
    )


def _origin(source: Source, scope: Scope) -> Origin:
    made = source.record.provenance
    return Origin(
        model=made.model,
        fingerprint=made.fingerprint,
        scope=scope_words(source, scope),
        intervention=made.intervention,
    )


def _ways_out(export: Export, code: str) -> None:
    """Data, picture, table, link and code."""
    figure = export.figure
    key, frame, beyond = figure.key, figure.frame, figure.beyond
    with st.popover("Save", icon=":material/more_horiz:", type="tertiary", key=f"{key}-save"):
        if frame is not None:
            with st.container(horizontal=True):
                _download("CSV", lambda: csv_bytes(export.table(frame())), f"{export.file}.csv", "text/csv", key)
                _download(
                    "Parquet",
                    lambda: parquet_bytes(export.table(frame())),
                    f"{export.file}.parquet",
                    "application/vnd.apache.parquet",
                    key,
                )
            st.toggle("Show the table under the figure", key=f"{key}-table")
        if any(isinstance(part, Chart) for part in figure.body):
            picture(f"figure-{key}", name=export.file, caption=figure.alt)
        st.caption("The address of this page is the link to what you see.")
        if not code:
            st.caption(beyond or NO_SNIPPET)
            return
        st.markdown(
            f"What this figure reads, in Python, from the project's folder. {plain(beyond)}"
            if beyond
            else "The same numbers in Python, from the project's folder:"
        )
        st.code(code, language="python")


def _download(name: str, make: Callable[[], bytes], file: str, mime: str, key: str) -> None:
    st.download_button(
        name,
        data=make,
        file_name=file,
        mime=mime,
        icon=":material/download:",
        on_click="ignore",
        key=f"{key}-{name}-download",
    )


def _table(frame: pd.DataFrame, figure: Figure) -> None:
    st.dataframe(frame.head(ROWS_SHOWN), hide_index=True, alt=figure.alt)
    if len(frame) > ROWS_SHOWN:
        st.caption(f"The first {ROWS_SHOWN:,} of {len(frame):,} rows; CSV and Parquet hold all.")


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A table as a Parquet file."""
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()
