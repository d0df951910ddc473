"""Which expert a page is about, and the ways to others."""

import streamlit as st

from gatescope.app.charts.page import Page
from gatescope.app.shell import address
from gatescope.app.shell.messages import plain
from gatescope.app.views.expert.profile_figure import Chosen, by_load


def choose(page: Page, chosen: Chosen) -> None:
    """Draw which expert is looked at, and the ways to others."""
    load = page.measure("relative_load")
    names, layer, expert = page.layers, chosen.layer, chosen.expert
    st.subheader(plain(f"Expert {expert} of layer {names[layer]}"), anchor=False)
    order = by_load(load.value[layer])
    place = order.index(expert)
    st.session_state["expert-layer"], st.session_state["expert-number"] = layer, expert
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        layers = range(len(names))
        st.selectbox("Layer", layers, key="expert-layer", format_func=names.__getitem__, on_change=_layer, width=150)
        labels = {each: f"{each}: {load.value[layer, each]:.2f} × its share" for each in order}
        st.selectbox(
            "Expert, by load", order, key="expert-number", format_func=labels.__getitem__, on_change=_expert, width=220
        )
        for label, step in (("‹ Busier", -1), ("Less busy ›", 1)):
            at = place + step
            is_end = not 0 <= at < len(order)
            to = {"layer": layer, "expert": expert if is_end else order[at]}
            st.button(label, on_click=address.change, kwargs=to, disabled=is_end)


def _layer() -> None:
    address.change(layer=st.session_state["expert-layer"], expert=None)


def _expert() -> None:
    address.change(layer=st.session_state["expert-layer"], expert=st.session_state["expert-number"])
