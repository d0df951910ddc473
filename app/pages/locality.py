"""Whether a text keeps to a few experts for a while, and what keeping only some of them in memory would take."""

import streamlit as st

from app.figures.depth import Depth
from app.sections.by_depth import depth_figure, depth_grid, has_tokens
from app.sections.cache_plan import show_plan
from app.sections.hot_set import choose_place, show_hits, show_overlap
from app.sections.looking import open_page
from app.sections.messages import show_error
from routing.errors import GatescopeError

PAGE = {
    "title": "Locality",
    "icon": ":material/memory:",
    "help": "Whether neighbouring tokens use the same experts, and what a cache of some experts would serve.",
    "order": 70,
    "group": "Measure",
}

REPEATS = (
    Depth(
        "first_choice_repeats",
        "Does the next token have the same first expert?",
        "share of neighbours",
        "of the neighbours",
        at=0,
    ),
    Depth(
        "any_choice_repeats",
        "Does it have any expert in common?",
        "share of neighbours",
        "of the neighbours",
        at=0,
    ),
)
PREFETCH = Depth(
    "transition_predictability",
    "Does a layer's choice tell the next layer's, to fetch it early?",
    "share of its entropy",
    "of the next first choice's entropy",
)


def main() -> None:
    """The page from top to bottom."""
    page = open_page("Is there a hot set of experts?", wants="corpus")
    if page is None or not has_tokens(page):
        return
    depth_grid(page, REPEATS)
    choose_place(page)
    show_overlap(page)
    st.header("Keeping some experts", divider="gray", anchor=False)
    show_hits(page)
    st.header("Planner", divider="gray", anchor=False)
    show_plan(page)
    st.header("Fetching ahead", divider="gray", anchor=False)
    depth_figure(page, PREFETCH)


try:
    main()
except GatescopeError as error:
    show_error(error)
