"""Any metric of the registry, drawn as its axes ask: a new metric needs no page of its own to be seen."""

import streamlit as st

from gatescope.analysis.registry import METRICS, Result
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.views.layers.any_measure_figure import any_figure, drawn, names, noun

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

    def make() -> Figure:
        result = page.measure(name, by=by)
        how = drawn(metric.axes, result.shape)
        return any_figure(page, name, by, result, how, tuple(_place(page, name, result, axis) for axis in how.chosen))

    show(metric.title, make)


def _place(page: Page, name: str, result: Result, axis: int) -> int:
    """The place on an axis that is not drawn: the pinned layer or expert, else what the reader chooses."""
    names_of = names(name, result, axis, page.layers)
    if len(names_of) == 1:
        return 0
    pinned = {"layer": page.view.layer, "expert": page.view.expert}.get(noun(name, axis)) or 0
    start = pinned if pinned < len(names_of) else 0
    return st.selectbox(
        noun(name, axis).capitalize(),
        range(len(names_of)),
        index=start,
        key=f"any-{name}-{axis}-{start}",
        format_func=lambda number: names_of[number],
        width=260,
    )
