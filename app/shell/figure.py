"""The frame that every figure has: its question, one computed sentence, the numbers it stands on, and ways out.

    with answering("How evenly is the work spread?"):
        result = measure(source, "load_gini", scope=scope)
        with figure(Words(question=..., takeaway=...), key="gini", frame=lambda: ...):
            chart(...)

What cannot be shown is said in the figure's place: what is missing, and what to do about it.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from gatescope.analysis.registry import METRICS
from gatescope.app.charts.exported import Export, Origin
from gatescope.app.charts.figure import BADGES
from gatescope.app.charts.figure import Words as Words
from gatescope.app.components.image_export import picture
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import looked_at
from gatescope.routing.errors import GatescopeError
from gatescope.server.measures import Reading, noted, noting
from gatescope.server.snippet import snippet
from gatescope.server.sources import WHOLE, Scope, Source, scope_words
from gatescope.studies.export import csv_bytes

ROWS_SHOWN = 2_000
NO_SNIPPET = "These numbers are computed by this page and cannot be had in one call."


@contextmanager
def figure(
    words: Words,
    *,
    key: str,
    frame: Callable[[], pd.DataFrame] | None = None,
    is_chart: bool = False,
    at: Mapping[str, object] | None = None,
    of: Source | None = None,
    code: str = "",
    beyond: str = "",
) -> Iterator[None]:
    """Draw what is said around a figure; the figure itself is drawn inside.

    `frame` makes its data when they are asked for; `is_chart` says that a Plotly chart is drawn inside, which then can
    be saved as a picture (a matrix has its own buttons for that); `at` names its layer and expert, where it is of one;
    `of` the source, where no page was opened. The Python under it is written from what was read since `answering`, so
    that it cannot say anything else; `code` is that of a figure that reads no source. `beyond` is a sentence about
    numbers that it does not give.
    """
    readings = noted()
    export = _export(words, key, readings, at or {}, of)
    python = code or snippet(readings)
    with st.container(key=f"figure-{key}", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"row-{key}-head"):
            st.subheader(plain(words.question), anchor=False, width="stretch")
            _explanation(words, key)
            _ways_out(export, key=key, frame=frame, is_chart=is_chart, python=_Python(python, beyond))
        _takeaway(words, key)
        yield
        if words.foot:
            st.caption(plain(words.foot))
        if frame is not None and st.session_state.get(f"{key}-table"):
            _table(frame(), words)


@contextmanager
def answering(question: str) -> Iterator[None]:
    """Note what is read for a figure; say in its place why it cannot be shown, where that is so."""
    try:
        with noting():
            yield
    except GatescopeError as error:
        with st.container(border=True):
            st.subheader(plain(question), anchor=False)
            st.markdown(f"**Not shown:** {plain(error.found)}. This needs {plain(error.expected)}: {plain(error.do)}.")


def chart(plot: go.Figure, words: Words, *, key: str, **options: Any) -> Any:
    """Draw a Plotly chart in the page's theme; what it says goes along for who does not see it."""
    config: dict[str, Any] = {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["toImage", "select2d", "lasso2d"],
        "responsive": True,
    }
    if options.get("on_select"):
        config["modeBarButtonsToRemove"] = ["toImage"]
    return st.plotly_chart(plot, key=key, theme="streamlit", alt=words.alt, config=config, **options)


def _takeaway(words: Words, key: str) -> None:
    colour, promise = BADGES[words.badge]
    with st.container(horizontal=True, vertical_alignment="top", gap="small", key=f"row-{key}-said"):
        if words.badge:
            st.badge(words.badge, color=colour, help=promise)
        st.markdown(plain(words.takeaway), width="stretch")


def _explanation(words: Words, key: str) -> None:
    """What a figure shows: the formula's words, its source, and what it is not."""
    lines = [(name, text) for name, text in (*_definition(words.metric), *words.says) if text]
    if not lines:
        return
    with st.popover("About", icon=":material/info:", type="tertiary", key=f"{key}-about"):
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


class _Python(NamedTuple):
    """A snippet, and a sentence about what it does not give."""

    code: str
    beyond: str


def _export(words: Words, key: str, readings: Sequence[Reading], at: Mapping[str, object], of: Source | None) -> Export:
    """What is written on every row of the figure's table."""
    page = looked_at()
    if of is None and page is None:
        return Export(name=key, words=words, at=at)
    if of is not None or page is None:
        scope = next((reading.scope for reading in readings if reading.source is of), WHOLE)
        return Export(name=key, words=words, at=at, own=None if of is None else _origin(of, scope))
    other = page.reference
    is_of_b = other is not None and (not readings or any(reading.source is other for reading in readings))
    scope_b = next((reading.scope for reading in readings if reading.source is other), page.scope)
    return Export(
        name=key,
        words=words,
        at=at,
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


def _ways_out(
    export: Export, *, key: str, frame: Callable[[], pd.DataFrame] | None, is_chart: bool, python: _Python
) -> None:
    """Data, picture, table, link and code."""
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
        if is_chart:
            picture(f"figure-{key}", name=export.file, caption=export.words.alt)
        st.caption("The address of this page is the link to what you see.")
        if not python.code:
            st.caption(python.beyond or NO_SNIPPET)
            return
        st.markdown(
            f"What this figure reads, in Python, from the project's folder. {plain(python.beyond)}"
            if python.beyond
            else "The same numbers in Python, from the project's folder:"
        )
        st.code(python.code, language="python")


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


def _table(frame: pd.DataFrame, words: Words) -> None:
    st.dataframe(frame.head(ROWS_SHOWN), hide_index=True, alt=words.alt)
    if len(frame) > ROWS_SHOWN:
        st.caption(f"The first {ROWS_SHOWN:,} of {len(frame):,} rows; CSV and Parquet hold all.")


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A table as a Parquet file."""
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()
