"""The grid of experts beside a text: where its routes come from, which expert is chosen, and what a choice does."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.drawing.heatmap.browser import script
from gatescope.drawing.heatmap.events import token_event
from gatescope.drawing.heatmap.routes import RouteReader

Expert = tuple[int, int]
"""A layer and an expert of it."""

_FEED = st.components.v2.component("gatescope_routes", js=script("feed"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Layers by experts, drawn beside the text of a `token_matrix`: what ran for the token that is looked at.

    `read` gives the routes around a token. `experts` is the most of any layer. `chosen` is the expert whose tokens are
    lit, `took_t` says which those are. `on_choose` hears of a choice or its release (None), `on_open` of an expert
    whose page is wanted, both before the run they cause begins.
    """

    read: RouteReader
    experts: int
    chosen: Expert | None
    took_t: NDArray[np.bool_] | None
    on_choose: Callable[[Expert | None], None]
    on_open: Callable[[Expert], None]

    def message(self) -> dict[str, object] | None:
        """The chosen expert and its tokens, a bit each, as the browser reads them."""
        if self.chosen is None or self.took_t is None:
            return None
        layer, expert = self.chosen
        packed = b64encode(np.packbits(self.took_t, bitorder="little").tobytes()).decode()
        return {"layer": layer, "expert": expert, "took": packed}


@st.fragment
def feed(grid: Grid, channel: str, token: int, tokens: int) -> None:
    """Send the routes around a token; those of others when the browser asks, without running the page again."""
    key, asked = f"{channel}-routes", f"{channel}-asked"

    def hear() -> None:
        st.session_state[asked] = token_event(st.session_state[key].get("window"), tokens)

    around = st.session_state.pop(asked, None)
    _FEED(data=grid.read(channel, token if around is None else around), key=key, on_window_change=hear)
