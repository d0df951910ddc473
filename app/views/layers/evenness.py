"""How even one layer is in stretches of text, how positions differ, and what to beware of in the texts counted."""

import streamlit as st

from gatescope.analysis.quality.data_warnings import Warning_, lint
from gatescope.analysis.registry import METRICS
from gatescope.app.components import matrix
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import notes, of_b, population
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page, headline
from gatescope.app.views.layers.windows_figure import (
    Windowed,
    places,
    places_frame,
    places_takeaway,
    window_frame,
    window_plot,
    window_takeaway,
    windowed,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure, tally_of
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import FACETS, counted

_WARNINGS = MemoCache()
"""What was found to beware of, by source and scope."""


def show_windows(page: Page, layer: int) -> None:
    """The balance of one layer at every window size."""
    question = "Is it even in short stretches too?"
    with answering(question):
        found = measure(page.source, "window_violation", scope=page.scope)
        lines = [("A", windowed(found, layer)), *_windows_of_b(page, layer)]
        words = Words(
            question=question,
            takeaway=window_takeaway(lines[0][1], layer_names(page.source.record.layers)[layer]),
            population=population(page),
            unit="MaxVio: the busiest expert over the mean, less 1",
            null="dotted: an even router over as many independent tokens, which falls as 1/√w",
            badge="observed",
            metric="window_violation",
        )
        with figure(words, key="windows", is_chart=True, at={"layer": layer}, frame=lambda: window_frame(lines)):
            chart(window_plot(lines), words, key="windows-chart")
            notes(found.warnings)


def _windows_of_b(page: Page, layer: int) -> list[tuple[str, Windowed]]:
    """The same layer of B, where it has one with windows."""
    other = of_b(page, "window_violation")
    if other is None or layer >= len(other[1].value):
        return []
    try:
        return [(other[0].name, windowed(other[1], layer))]
    except OptionError:
        return []


def show_places(page: Page) -> None:
    """How differently each stretch of positions is served."""
    question = "Are beginnings served by other experts?"
    with answering(question):
        found = measure(page.source, "position_distance", scope=page.scope)
        names, grid = layer_names(page.source.record.layers), places(found)
        words = Words(
            question=question,
            takeaway=places_takeaway(grid, names),
            population=f"N = {found.tokens:,} tokens of {found.documents:,} documents, special ones among them",
            unit=METRICS["position_distance"].unit,
            null="faint: the interval reaches down to what independent tokens differ by from chance alone",
            badge="observed",
            metric="position_distance",
        )
        with figure(words, key="places", frame=lambda: places_frame(found, names)):
            matrix(
                grid.value_lb,
                rows=names,
                columns=grid.names,
                column_noun="positions",
                scale=grid.scale,
                pinned=None,
                key="places-matrix",
                description=words.takeaway,
                attribution=headline(page.source),
                faded_rc=grid.faded_lb,
                faded_says="not surely above noise",
            )
            notes(found.warnings)


def show_warnings(page: Page) -> None:
    """Known artefacts that these texts are prone to, folded away."""
    found = _WARNINGS.get((*page.source.key, page.scope), lambda: _looked_for(page))
    if not found:
        return
    with st.expander(
        f"{len(found)} thing{'s' * (len(found) != 1)} to beware of in these texts", icon=":material/rule:"
    ):
        for each in found:
            st.markdown(f"**{plain(each.sentence)}** {plain(each.do)}")


def _looked_for(page: Page) -> tuple[Warning_, ...]:
    tally = tally_of(page.source, "relative_load", page.scope)
    return lint(tally, None, counted(page.source, page.scope), facets=FACETS[page.scope.facet])
