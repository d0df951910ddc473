"""Charts with one number per layer, of A and of B, and what pages about layers have in common."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from gatescope.analysis.registry import METRICS, Result
from gatescope.app.charts.depth import (
    ByLayer,
    Depth,
    by_layer,
    depth_frame,
    depth_plot,
    depth_takeaway,
    null_words,
    over_zero,
)
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure, own_tokens
from gatescope.server.sources import Scope, Source, scope_of
from gatescope.server.view import ViewParts


class Beside(NamedTuple):
    """Capture B as far as it can stand beside A: its scope, and what its lines are called."""

    source: Source
    scope: Scope
    name: str


def has_tokens(page: Page) -> bool:
    """Whether any token counts; if none does, what to do about it is said."""
    if own_tokens(page.source, page.scope):
        return True
    what = {"generated": "Nothing was generated here", "format": "There are no special or template tokens here"}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info(
            f"{what.get(page.scope.facet, 'No token counts here')}, so that there is nothing to count.",
            icon=":material/search_off:",
        )
        st.button("Count the text's own tokens", on_click=address.change, kwargs={"facet": "own", "span": None})
    return False


def beside(page: Page) -> Beside | None:
    """Capture B with the tokens and documents that count in A, where it has them; else all of it, said in its name."""
    if page.reference is None:
        return None
    view = replace(page.view, span=None, document=None)
    try:
        scope, name = scope_of(page.reference, view), "B"
    except OptionError:
        scope, name = Scope(facet=page.scope.facet), "B (all documents)"
    return Beside(page.reference, scope, name)


def population(page: Page) -> str:
    """What was counted of A, and of B where there is one."""
    other = beside(page)
    return (
        page.population if other is None else f"{page.population}; B: {own_tokens(other.source, other.scope):,} tokens"
    )


def of_b(page: Page, metric: str, *, by: str = "") -> tuple[Beside, Result] | None:
    """A metric of capture B; None where there is no B, or B has no such numbers."""
    other = beside(page)
    if other is None:
        return None
    try:
        return other, measure(other.source, metric, by=by, scope=other.scope)
    except OptionError:
        return None


def depth_lines(page: Page, shown: Depth) -> tuple[list[ByLayer], tuple[str, ...]]:
    """The lines of A and, where there is one, of B, and what the metric warns of. Errors: OptionError without A."""
    found = measure(page.source, shown.metric, scope=page.scope)
    lines = [by_layer(found, layer_names(page.source.record.layers), at=shown.at, do=shown.do)]
    if (other := of_b(page, shown.metric)) is not None:
        try:
            names = layer_names(other[0].source.record.layers)
            lines.append(by_layer(other[1], names, whose=other[0].name, at=shown.at))
        except OptionError:
            pass  # B has none: the line is absent, as its legend shows
    return [over_zero(line) for line in lines] if shown.is_excess else lines, found.warnings


def depth_figure(page: Page, shown: Depth) -> None:
    """One small chart by depth."""
    with answering(shown.question):
        lines, warnings = depth_lines(page, shown)
        words = Words(
            question=shown.question,
            takeaway=depth_takeaway(lines, shown.unit),
            population=population(page),
            unit=METRICS[shown.metric].unit,
            null="dotted: 0; what chance tells is taken off" if shown.is_excess else null_words(lines, shown.null),
            badge="observed",
            metric=shown.metric,
        )
        with figure(words, key=shown.metric, is_chart=True, frame=lambda: depth_frame(lines, shown.metric)):
            chart(depth_plot(lines, shown.axis), words, key=f"{shown.metric}-chart")
            notes(warnings)


def depth_grid(page: Page, charts: Sequence[Depth], *, columns: int = 2) -> None:
    """Small charts side by side; one under another where the window is narrow."""
    for start in range(0, len(charts), columns):
        for place, shown in zip(st.columns(columns, gap="large"), charts[start : start + columns], strict=False):
            with place:
                depth_figure(page, shown)


def notes(warnings: Sequence[str]) -> None:
    """What a reader must know of the numbers above."""
    if warnings:
        st.caption(plain("Note: " + " ".join(warnings)))


def choose_layer(page: Page, layer: int, *, key: str) -> None:
    """Which layer is looked at, in words: the same as a click on its row."""
    names = layer_names(page.source.record.layers)

    def take() -> None:
        chosen = st.session_state[key]
        parts: ViewParts = {} if chosen == address.current().layer else {"expert": None}
        address.change(**parts | {"layer": chosen})

    st.session_state[key] = layer
    st.selectbox("Layer", range(len(names)), format_func=lambda at: names[at], key=key, on_change=take, width=220)
