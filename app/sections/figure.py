"""The frame that every figure has: its question, one computed sentence, the numbers it stands on, and ways out.

    with answering("How evenly is the work spread?"):
        result = measure(source, "load_gini", scope=scope)
        with figure(Words(question=..., takeaway=...), key="gini", frame=lambda: ...):
            chart(...)

What cannot be shown is said in the figure's place: what is missing, and what to do about it.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.registry import METRICS
from app.components.picture import picture
from app.export import csv_bytes
from app.figures.words import BADGES
from app.figures.words import Words as Words
from app.sections.messages import plain
from app.sources import Source
from routing.errors import GatescopeError

ROWS_SHOWN = 2_000


@contextmanager
def figure(
    words: Words,
    *,
    key: str,
    frame: Callable[[], pd.DataFrame] | None = None,
    code: str = "",
    is_chart: bool = False,
) -> Iterator[None]:
    """Draw what is said around a figure; the figure itself is drawn inside.

    `frame` makes its data when they are asked for; `code` is Python that gives the same numbers; `is_chart` says that a
    Plotly chart is drawn inside, which then can be saved as a picture (a matrix has its own buttons for that).
    """
    with st.container(key=f"figure-{key}", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"row-{key}-head"):
            st.subheader(plain(words.question), anchor=False, width="stretch")
            _explanation(words, key)
            _ways_out(words, key=key, frame=frame, code=code, is_chart=is_chart)
        _takeaway(words, key)
        yield
        if words.foot:
            st.caption(plain(words.foot))
        if frame is not None and st.session_state.get(f"{key}-table"):
            _table(frame(), words)


@contextmanager
def answering(question: str) -> Iterator[None]:
    """Say in the figure's place why it cannot be shown, where that is so."""
    try:
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
            st.badge(words.badge, color=colour, help=promise)  # type: ignore[arg-type]  # one of Streamlit's colours
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


def _ways_out(words: Words, *, key: str, frame: Callable[[], pd.DataFrame] | None, code: str, is_chart: bool) -> None:
    """Data, picture, table, link and code."""
    with st.popover("Save", icon=":material/more_horiz:", type="tertiary", key=f"{key}-save"):
        if frame is not None:
            with st.container(horizontal=True):
                _download("CSV", lambda: csv_bytes(frame()), f"gatescope-{key}.csv", "text/csv")
                _download(
                    "Parquet",
                    lambda: parquet_bytes(frame()),
                    f"gatescope-{key}.parquet",
                    "application/vnd.apache.parquet",
                )
            st.toggle("Show the table under the figure", key=f"{key}-table")
        if is_chart:
            picture(f"figure-{key}", name=f"gatescope-{key}", caption=words.alt)
        st.caption("The address of this page is the link to what you see.")
        if code:
            st.markdown("The same numbers in Python, from the project's folder:")
            st.code(code, language="python")


def _download(name: str, make: Callable[[], bytes], file: str, mime: str) -> None:
    st.download_button(
        name,
        data=make,
        file_name=file,
        mime=mime,
        icon=":material/download:",
        on_click="ignore",
        key=f"{file}-download",
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


def code_for(source: Source, metric: str, *, by: str = "", facet: str = "own") -> str:  # noqa: ARG001 - the snippet does not narrow yet
    """Python that computes a metric of a source anew, with the full number of resamples."""
    what, _, model = source.id.partition(".")
    read = {
        "probe": f'from models.box import probed\nrecord = probed("{model}")',
        "welcome": f'from models.box import welcome\nrecord = welcome("{model}")',
    }.get(what if model else "", _read_kept(source))
    asked = f'by="{by}", ' if by else ""
    return (
        f"{read}\n"
        "from analysis.metrics import METRICS\nfrom analysis.registry import Ask\nfrom analysis.tally import tally\n"
        f'result = METRICS["{metric}"](tally(record), Ask({asked}resamples=1000, seed=0))'
    )


def _read_kept(source: Source) -> str:
    return (
        "from app.server import find_source\n"
        f'record = find_source("{source.id}").record  # GATESCOPE_CACHE_DIR names the captures\' folder'
    )
