"""How the work of a corpus is spread over experts, layer by layer."""

import numpy as np
import streamlit as st

from gatescope.app.charts.depth import DEPTHS, Depth, depth
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.shell.layer_charts import choose_layer, depth_grid, has_tokens
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.shell.tabs import show_part
from gatescope.app.views.layers.any_measure import any_measure
from gatescope.app.views.layers.load import show_load
from gatescope.app.views.layers.load_figure import sorted_work
from gatescope.app.views.layers.warnings import show_warnings
from gatescope.app.views.layers.windows_figure import positions, windows
from gatescope.routing.errors import GatescopeError

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
        show("How much do the busiest do?", lambda: sorted_work(page, layer))
    with right:
        show("Is it even in short stretches too?", lambda: windows(page, layer))


def _kinds(page: Page) -> None:
    show("Are beginnings served by other experts?", lambda: positions(page))
    show(PHASES.question, lambda: depth(page, PHASES))


def _chosen(page: Page) -> int:
    """The pinned layer, else the one whose work is spread least evenly."""
    if page.view.layer is not None:
        return page.view.layer
    gini_l = page.measure("load_gini").value
    return int(np.nanargmax(gini_l)) if np.isfinite(gini_l).any() else 0


try:
    main()
except GatescopeError as error:
    show_error(error)
