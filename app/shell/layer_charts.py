"""What pages about layers have in common: that tokens count, which layer is looked at, and small charts by depth."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from gatescope.app.charts.depth import Depth, depth
from gatescope.app.charts.page import Page
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.server.measures import own_tokens
from gatescope.server.view import ViewParts


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


def depth_grid(page: Page, charts: Sequence[Depth], *, columns: int = 2) -> None:
    """Small charts side by side; one under another where the window is narrow."""
    for start in range(0, len(charts), columns):
        for place, shown in zip(st.columns(columns, gap="large"), charts[start : start + columns], strict=False):
            with place:
                show(shown.question, partial(depth, page, shown))


def choose_layer(page: Page, layer: int, *, key: str) -> None:
    """Which layer is looked at, in words: the same as a click on its row."""
    names = page.layers

    def take() -> None:
        chosen = st.session_state[key]
        parts: ViewParts = {} if chosen == address.current().layer else {"expert": None}
        address.change(**parts | {"layer": chosen})

    st.session_state[key] = layer
    st.selectbox("Layer", range(len(names)), format_func=lambda at: names[at], key=key, on_change=take, width=220)
