"""The load of every expert of every layer as one matrix, and what is said of the expert that is pinned in it."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from gatescope.analysis.registry import METRICS, Result
from gatescope.app.components import Pick, matrix
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, figure
from gatescope.app.shell.layer_charts import notes
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page, headline
from gatescope.app.views.layers.load_figure import (
    MARKS,
    expert_sentence,
    load_frame,
    load_grid,
    load_takeaway,
    shared_words,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure
from gatescope.server.view import ViewParts

QUESTION = "Which experts get more than their share?"
COUNTED = {"relative_load": "assignments", "relative_gate_mass": "gate weight"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Loads:
    """What is known of every expert's work; None where it is not recorded."""

    load: Result
    mass: Result | None
    state: Result | None


def show_load(page: Page) -> None:
    """The matrix, the switches over it, and the pinned expert under it."""
    with answering(QUESTION):
        loads = _loads(page)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            metric = _counted(loads)
            is_stretched = st.toggle(
                "Each layer on its own scale",
                key="load-stretched",
                persist_state="session",
                help="Colours then run to the layer's own largest deviation: even layers show their pattern too.",
            )
        shown = loads.mass if metric == "relative_gate_mass" and loads.mass is not None else loads.load
        _matrix(page, loads, shown, metric, is_stretched)
        _pinned(page, loads)


def _loads(page: Page) -> Loads:
    load = measure(page.source, "relative_load", scope=page.scope)
    if not np.isfinite(load.value).any():
        raise OptionError("no expert was chosen by the tokens that count", expected="some", do="choose other tokens")
    return Loads(load=load, mass=_if_known(page, "relative_gate_mass"), state=_if_known(page, "expert_state"))


def _if_known(page: Page, metric: str) -> Result | None:
    try:
        return measure(page.source, metric, scope=page.scope)
    except OptionError:
        return None


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


def _matrix(page: Page, loads: Loads, shown: Result, metric: str, is_stretched: bool) -> None:
    rules = page.source.record.layers
    grid = load_grid(shown, loads.state, is_stretched=is_stretched)
    words = Words(
        question=QUESTION,
        takeaway=load_takeaway(shown, loads.state, rules),
        population=page.population,
        unit=METRICS[metric].unit,
        null="null: 0 doublings, the share of an even router; faint where the 95 % interval over documents holds it",
        badge="observed",
        metric=metric,
        says=(("Dead, cold, hot", METRICS["expert_state"].source), ("Shared experts", shared_words(rules))),
    )
    with figure(words, key="load", frame=lambda: load_frame(loads.load, loads.mass, loads.state, rules)):
        view = page.view
        matrix(
            grid.values_le,
            rows=layer_names(rules),
            columns=None,
            scale=grid.scale,
            pinned=None if view.layer is None or view.expert is None else Pick(view.layer, view.expert),
            key="load-matrix",
            description=words.takeaway,
            attribution=headline(page.source),
            faded_rc=grid.faded_le,
            faded_says="interval holds an even share",
            marks_rc=grid.marks_le,
            marks=MARKS,
            on_pick=_pin,
            on_row=_open_layer,
        )
        notes(() if loads.state is None else loads.state.warnings)
        if said := shared_words(rules):
            st.caption(said)


def _pinned(page: Page, loads: Loads) -> None:
    """What is pinned in words, and the way to its page."""
    layer, expert, rules = page.view.layer, page.view.expert, page.source.record.layers
    if layer is None or expert is None or expert >= rules[layer].experts:
        st.caption("Click an expert to pin it, a layer's name to look at that layer below.")
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        said = expert_sentence(loads.load, loads.mass, loads.state, rules[layer], expert)
        st.markdown(f"**Expert {expert} of layer {plain(layer_names(rules)[layer])}:** {plain(said)}", width="stretch")
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
