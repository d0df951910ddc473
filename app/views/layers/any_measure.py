"""Any metric of the registry, drawn as its axes ask: a new metric needs no page of its own to be seen."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.registry import METRICS, Metric, Result
from gatescope.app.charts.plots import NULL, A, add_line, plot
from gatescope.app.components import Scale, matrix
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.app.views.layers.any_measure_figure import Drawn, at, drawn, names, noun, part, summary, unit_after
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure
from gatescope.studies.tables import result_frame

CHOSEN = "any-measure"


def any_measure(page: Page) -> None:
    """Let the reader choose a metric, and draw it."""
    st.session_state.setdefault(CHOSEN, next(iter(METRICS)))
    with st.container(key="any-measure-choice"):
        name = st.selectbox(
            "Measure",
            list(METRICS),
            key=CHOSEN,
            format_func=lambda name: METRICS[name].title,
            persist_state="session",
            help="Every measure there is; the Guide says what each means.",
        )
    metric = METRICS[name]
    by = page.view.by if page.view.by in metric.by else metric.by[0] if metric.by else ""
    with answering(metric.title):
        _draw(page, name, by, measure(page.source, name, by=by, scope=page.scope))


def _draw(page: Page, name: str, by: str, result: Result) -> None:
    metric, how = METRICS[name], drawn(METRICS[name].axes, result.shape)
    layers = layer_names(page.source.record.layers)
    places = tuple(_place(page, name, result, axis, layers) for axis in how.chosen)
    shown = part(result, how, places)
    named = None if how.columns is None or how.rows is not None else names(name, result, how.columns, layers)
    words = Words(
        question=f"{metric.title}{f' by {by}' if by else ''}",
        takeaway=f"{metric.meaning} {summary(name, shown, named)}",
        population=f"N = {result.tokens:,} tokens of {result.documents:,} documents",
        unit=metric.unit,
        null=_chance_words(metric),
        metric=name,
        says=tuple(("Note", warning) for warning in result.warnings),
    )
    is_chart = how.rows is None and how.columns is not None
    with figure(
        words,
        key=f"any-{name}",
        frame=lambda: result_frame(page.source.record.layers, name, result),
        is_chart=is_chart,
    ):
        if how.columns is None:
            st.markdown(f"### {float(shown):.4g}{plain(unit_after(metric.unit))}")
        elif is_chart:
            _line(words, name, result, how, places, named or [])
        else:
            _matrix(words, name, result, how, shown, layers)


def _chance_words(metric: Metric) -> str:
    if metric.is_excess:
        return f"chance: 0, for it is taken off ({metric.null})"
    return f"chance: {metric.null}" if metric.null else ""


def _place(page: Page, name: str, result: Result, axis: int, layers: list[str]) -> int:
    """The place on an axis that is not drawn: the pinned layer or expert, else what the reader chooses."""
    said = names(name, result, axis, layers)
    if len(said) == 1:
        return 0
    pinned = {"layer": page.view.layer, "expert": page.view.expert}.get(noun(name, axis)) or 0
    start = pinned if pinned < len(said) else 0
    return st.selectbox(
        noun(name, axis).capitalize(),
        range(len(said)),
        index=start,
        key=f"any-{name}-{axis}-{start}",
        format_func=lambda number: said[number],
        width=260,
    )


def _line(words: Words, name: str, result: Result, how: Drawn, places: tuple[int, ...], named: Sequence[str]) -> None:
    def line(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if values is None else at(np.broadcast_to(values, result.value.shape), how, places)

    value = at(result.value, how, places)
    shown = plot(noun(name, how.columns or 0), METRICS[name].unit)
    add_line(shown, named, value, name="A", ink=A, low=line(result.low), high=line(result.high))
    if (null := line(result.null)) is not None:
        zero = np.where(np.isfinite(value), 0.0, np.nan)
        add_line(shown, named, zero if METRICS[name].is_excess else null, name="chance", ink=NULL)
    chart(shown, words, key=f"any-{name}-chart")


def _matrix(words: Words, name: str, result: Result, how: Drawn, shown: NDArray[np.float64], layers: list[str]) -> None:
    if how.rows is None or how.columns is None or not shown.size:
        return
    matrix(
        shown,
        rows=names(name, result, how.rows, layers),
        columns=names(name, result, how.columns, layers),
        scale=Scale.of(shown, METRICS[name].title, unit=METRICS[name].unit),
        pinned=None,
        key=f"any-{name}-matrix",
        row_noun=noun(name, how.rows),
        column_noun=noun(name, how.columns),
        square=noun(name, how.rows) == noun(name, how.columns),
        description=words.takeaway,
    )
