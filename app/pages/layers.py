"""How the work of a corpus is spread over experts, layer by layer."""

import numpy as np
import streamlit as st

from gatescope.app.charts.depth import DEPTHS, Depth
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import (
    beside,
    choose_layer,
    depth_figure,
    depth_grid,
    has_tokens,
    of_b,
    population,
)
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import Page, open_page
from gatescope.app.shell.tabs import show_part
from gatescope.app.views.layers.any_measure import any_measure
from gatescope.app.views.layers.evenness import show_places, show_warnings, show_windows
from gatescope.app.views.layers.load import show_load
from gatescope.app.views.layers.load_figure import Sorted, sorted_frame, sorted_load, sorted_plot, sorted_takeaway
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure

PAGE = {
    "title": "Layers",
    "icon": ":material/layers:",
    "help": "How evenly each layer spreads its work over its experts, and which experts are hot, cold or dead.",
    "order": 40,
    "group": "Measure",
}

PHASES = Depth(
    "prompt_against_generated",
    "Do other experts read than write?",
    "share of the work",
    "% of the work goes to other experts",
    do="run a text on the Prompt page and let the model continue it",
)


def main() -> None:
    """The page from top to bottom."""
    page = open_page("How is the work spread, layer by layer?", wants="corpus")
    if page is None or not has_tokens(page):
        return
    show_warnings(page)
    show_load(page)
    parts = {
        "One layer": lambda: _one_layer(page),
        "By depth": lambda: depth_grid(page, DEPTHS),
        "By kind of token": lambda: _kinds(page),
        "Any other measure": lambda: any_measure(page),
    }
    show_part(parts, key="layers-part")


def _one_layer(page: Page) -> None:
    layer = _chosen(page)
    choose_layer(page, layer, key="layer-chosen")
    left, right = st.columns(2, gap="large")
    with left:
        _sorted(page, layer)
    with right:
        show_windows(page, layer)


def _kinds(page: Page) -> None:
    show_places(page)
    depth_figure(page, PHASES)


def _chosen(page: Page) -> int:
    """The pinned layer, else the one whose work is spread least evenly."""
    if page.view.layer is not None:
        return page.view.layer
    gini_l = measure(page.source, "load_gini", scope=page.scope).value
    return int(np.nanargmax(gini_l)) if np.isfinite(gini_l).any() else 0


def _sorted(page: Page, layer: int) -> None:
    question = "How much do the busiest do?"
    with answering(question):
        rules = page.source.record.layers
        curves = [("A", _curve(page, layer))]
        curves += _curve_of_b(page, layer)
        words = Words(
            question=question,
            takeaway=sorted_takeaway(curves[0][1], layer_names(rules)[layer]),
            population=population(page),
            unit="share of the layer's assignments",
            null="dotted: an even router over as many effective tokens (order statistics of normal counts)",
            badge="observed",
            metric="load_lorenz",
        )
        with figure(words, key="sorted", is_chart=True, at={"layer": layer}, frame=lambda: sorted_frame(curves)):
            chart(sorted_plot(curves), words, key="sorted-chart")


def _curve(page: Page, layer: int) -> Sorted:
    lorenz, cv = (measure(page.source, name, scope=page.scope) for name in ("load_lorenz", "load_cv"))
    if not np.isfinite(lorenz.value[layer]).any():
        raise OptionError(
            f"no token that counts went through layer {layer}", expected="some", do="choose another layer, or tokens"
        )
    return sorted_load(lorenz, cv, page.source.record.layers[layer])


def _curve_of_b(page: Page, layer: int) -> list[tuple[str, Sorted]]:
    """The same layer of B, where it has one."""
    found, other, cv = of_b(page, "load_lorenz"), beside(page), of_b(page, "load_cv")
    if found is None or other is None or cv is None:
        return []
    rules = other.source.record.layers
    if layer >= len(rules) or not np.isfinite(found[1].value[layer]).any():
        return []
    return [(other.name, sorted_load(found[1], cv[1], rules[layer]))]


try:
    main()
except GatescopeError as error:
    show_error(error)
