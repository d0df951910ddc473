"""Which expert a page is about: the one of the address, else the busiest; ways to others, and it at a glance."""

from typing import NamedTuple

import numpy as np
import streamlit as st

from gatescope.analysis.registry import Result
from gatescope.app.shell import address
from gatescope.app.shell.figure import figure
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.app.views.expert.profile_figure import Lean, busiest, by_load, glance_frame, glance_words, lean_of, tiles
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure
from gatescope.server.view import LABELS


class Chosen(NamedTuple):
    """An expert: its layer's number and name, and its own number."""

    layer: int
    name: str
    expert: int

    @property
    def place(self) -> dict[str, object]:
        """Where it stands, as a table says it."""
        return {"layer": self.layer, "expert": self.expert}


def choose(page: Page) -> Chosen:
    """Draw the choice of an expert and return it. Errors: OptionError where none worked."""
    load = measure(page.source, "relative_load", scope=page.scope)
    names = layer_names(page.source.record.layers)
    layer, expert = _asked(page, load)
    st.subheader(plain(f"Expert {expert} of layer {names[layer]}"), anchor=False)
    order = by_load(load.value[layer])
    place = order.index(expert)
    st.session_state["expert-layer"], st.session_state["expert-number"] = layer, expert
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        layers = range(len(names))
        st.selectbox("Layer", layers, key="expert-layer", format_func=names.__getitem__, on_change=_layer, width=150)
        said = {each: f"{each}: {load.value[layer, each]:.2f} × its share" for each in order}
        st.selectbox(
            "Expert, by load", order, key="expert-number", format_func=said.__getitem__, on_change=_expert, width=220
        )
        for label, step in (("‹ Busier", -1), ("Less busy ›", 1)):
            at = place + step
            is_end = not 0 <= at < len(order)
            to = {"layer": layer, "expert": expert if is_end else order[at]}
            st.button(label, on_click=address.change, kwargs=to, disabled=is_end)
    return Chosen(layer, names[layer], expert)


def _asked(page: Page, load: Result) -> tuple[int, int]:
    """The expert of the address, if its layer has it; the busiest one otherwise."""
    layer, expert = page.view.layer, page.view.expert
    if layer is not None and expert is not None and np.isfinite(load.value[layer, expert]):
        return layer, expert
    return busiest(load.value, layer)


def _layer() -> None:
    address.change(layer=st.session_state["expert-layer"], expert=None)


def _expert() -> None:
    address.change(layer=st.session_state["expert-layer"], expert=st.session_state["expert-number"])


def glance(page: Page, chosen: Chosen) -> None:
    """How busy it is and what it leans to."""
    layer, expert = chosen.layer, chosen.expert
    load, state = (measure(page.source, name, scope=page.scope) for name in ("relative_load", "expert_state"))
    mass, leans = _mass(page), {by: _lean(page, by, chosen) for by in LABELS}
    standing = float(state.value[layer, expert])
    words = glance_words(chosen.name, expert, load, standing, leans, layer, page.population)
    with figure(
        words,
        key="glance",
        at={"layer": layer},
        frame=lambda: glance_frame(load, mass, state, layer),
    ):
        st.html(tiles(load, mass, standing, leans, layer, expert))


def _mass(page: Page) -> Result | None:
    try:
        return measure(page.source, "relative_gate_mass", scope=page.scope)
    except OptionError:
        return None


def _lean(page: Page, by: str, chosen: Chosen) -> Lean | None:
    """What it leans to, None where the texts have no such label."""
    try:
        return lean_of(measure(page.source, "usage_difference", by=by, scope=page.scope), chosen.layer, chosen.expert)
    except OptionError:
        return None
