"""Which experts work on the same tokens, and which follow which from layer to layer."""

import streamlit as st

from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.shell.layer_charts import choose_layer, depth_grid, has_tokens
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.shell.tabs import show_part
from gatescope.app.views.pairs.coactivation import show_lift
from gatescope.app.views.pairs.coactivation_figure import strangest_layer
from gatescope.app.views.pairs.transitions_figure import INFORMATION, PREDICTABILITY, coverage, same_path, step
from gatescope.routing.errors import GatescopeError, OptionError

PAGE = {
    "title": "Pairs",
    "icon": ":material/hub:",
    "help": "Which experts of a layer work on the same tokens more than chance makes them, and which follow which.",
    "order": 50,
    "group": "Measure",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("Which experts work together?", wants="corpus")
    if page is None or not has_tokens(page):
        return
    layer = page.view.layer
    if layer is None:
        layer = _strangest(page)
        st.caption(f"No layer is pinned: layer {layer} is shown, whose pairs differ most from chance.")
    choose_layer(page, layer, key="pairs-layer")
    expert = show_lift(page, layer)
    if expert is None and page.view.layer == layer:
        expert = page.view.expert
    parts = {
        "From layer to layer": lambda: _steps(page, layer, expert or 0),
        "Paths through all layers": lambda: _paths(page),
    }
    show_part(parts, key="pairs-part")


def _steps(page: Page, layer: int, expert: int) -> None:
    show(f"Where do the tokens of expert {expert} go next?", lambda: step(page, layer, expert))
    depth_grid(page, (INFORMATION, PREDICTABILITY))


def _paths(page: Page) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        show("How many paths carry the tokens?", lambda: coverage(page))
    with right:
        show("Do layers follow one another?", lambda: same_path(page))


def _strangest(page: Page) -> int:
    """The layer to begin with; the first where pairs are not known."""
    try:
        return strangest_layer(page.measure("coactivation_support"))
    except OptionError:
        return 0


try:
    main()
except GatescopeError as error:
    show_error(error)
