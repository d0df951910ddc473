"""Which texts, or tokens, are routed alike: a plane to look at, and neighbours that do not need one."""

import streamlit as st

from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.map.chart import show_map
from gatescope.app.views.map.map_figure import MICE, Asked, neighbours
from gatescope.app.views.map.points_figure import COLOURS, SAID
from gatescope.app.views.map.projections import PLANES
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Map",
    "icon": ":material/scatter_plot:",
    "help": "Documents or tokens as points, near each other where they are routed alike; choose some, and look closer.",
    "order": 80,
    "group": "Measure",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("Which texts route alike?", wants="corpus")
    if page is None:
        return
    asked = _controls(page)
    show_map(page, asked)
    show("Do neighbours have the same label?", lambda: neighbours(page, asked))


def _controls(page: Page) -> Asked:
    """What is drawn, how, and what is sought; kept while the reader is elsewhere."""
    kinds = ["documents", "tokens"] if len(page.source.record.documents) > 2 else ["tokens"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Points", kinds, default=kinds[0], required=True, key=f"map-kind-{len(kinds)}", persist_state="session"
        )
        plane = st.segmented_control(
            "Plane",
            list(PLANES),
            default="PCA",
            required=True,
            key="map-plane",
            persist_state="session",
            help="PCA keeps distances as well as a plane can; UMAP keeps who is near whom.",
        )
        by = st.selectbox(
            "Colour by",
            COLOURS[kind],
            key=f"map-by-{kind}",
            format_func=lambda name: SAID[name],
            persist_state="session",
            width=170,
        )
        sought = st.text_input(
            "Find in texts and labels", key="map-sought", persist_state="session", icon=":material/search:", width=200
        )
        mouse = st.segmented_control(
            "Selection mode",
            list(MICE),
            default="Points",
            required=True,
            key="map-mouse",
            persist_state="session",
            help="A click pins one point; with a lasso or a box, only the documents within it count.",
        )
    return Asked(kind=kind, plane=plane, by=by, sought=sought or "", mouse=mouse)


try:
    main()
except GatescopeError as error:
    show_error(error)
