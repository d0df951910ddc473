"""The load of every expert of every layer as one matrix, and what is said of the expert that is pinned in it."""

import streamlit as st

from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components import Pick
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain
from gatescope.app.views.layers.load_figure import Loads, expert_sentence, load_figure, loads_of
from gatescope.server.view import ViewParts

COUNTED = {"relative_load": "assignments", "relative_gate_mass": "gate weight"}


def show_load(page: Page) -> None:
    """The matrix, the switches over it, and the pinned expert under it."""

    def make() -> Figure:
        loads = loads_of(page)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            metric = _counted(loads)
            is_stretched = st.toggle(
                "Each layer on its own scale",
                key="load-stretched",
                persist_state="session",
                help="Colours then run to the layer's own largest deviation: even layers show their pattern too.",
            )
        return load_figure(page, loads, metric, is_stretched=is_stretched)

    if show("Which experts get more than their share?", make, on_pick=_pin, on_row=_open_layer) is not None:
        _pinned(page, loads_of(page))


def _counted(loads: Loads) -> str:
    """Assignments or gate weight, where both are known."""
    if loads.mass is None:
        return "relative_load"
    return st.segmented_control(
        "What is counted",
        list(COUNTED),
        format_func=lambda name: COUNTED[name],
        default="relative_load",
        required=True,
        key="load-of",
        persist_state="session",
    )


def _pinned(page: Page, loads: Loads) -> None:
    """What is pinned in words, and the way to its page."""
    layer, expert, rules = page.view.layer, page.view.expert, page.source.record.layers
    if layer is None or expert is None or expert >= rules[layer].experts:
        st.caption("Click an expert to pin it, a layer's name to look at that layer below.")
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        sentence = expert_sentence(loads.load, loads.mass, loads.state, rules[layer], expert)
        st.markdown(f"**Expert {expert} of layer {plain(page.layers[layer])}:** {plain(sentence)}", width="stretch")
        st.button(
            f"Open expert {expert} of layer {layer}",
            icon=":material/arrow_forward:",
            on_click=address.visit,
            args=("expert",),
            kwargs={"layer": layer, "expert": expert},
            key="open-expert",
        )


def _pin(pick: Pick | None) -> None:
    layer, expert = (None, None) if pick is None else (pick.row, pick.column)
    address.change(layer=layer, expert=expert)


def _open_layer(row: int) -> None:
    parts: ViewParts = {} if address.current().layer == row else {"expert": None}
    address.change(**parts | {"layer": row})
