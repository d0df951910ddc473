"""The planner: how much memory for experts, how many of each layer that keeps, and what a token still loads."""

import streamlit as st

from gatescope.app.charts.figure import Figure
from gatescope.app.charts.formatting import bytes_words
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.views.locality.cache_planner_figure import FORMATS, MATRICES, Plan, format_of, plan, plan_figure
from gatescope.app.views.locality.hot_set import keep, kept_experts
from gatescope.server.expert_sizes import known_weights

MEMORY = "locality-memory"


def show_plan(page: Page) -> None:
    """Inputs, verdict, chart and table."""

    def make() -> Figure | None:
        weights_l = _weights(page)
        if weights_l is None:
            return None
        form = FORMATS[_format(page)]
        return plan_figure(page, weights_l, form, _memory(page, weights_l, form))

    show("What would it take to keep only some of the experts?", make)


def _weights(page: Page) -> tuple[int, ...] | None:
    """Weights of one expert by layer: of the configuration, else as the reader types them; None until then."""
    record = page.source.record
    known = known_weights(record)
    if known is not None:
        sizes = sorted(set(known))
        sentence = " or ".join(f"{size:,}" for size in sizes)
        st.caption(f"An expert of this model has {sentence} weights, by its configuration.")
        return known
    st.markdown("The size of this model's experts is not known here. Its configuration says both numbers:")
    with st.container(horizontal=True):
        key = record.provenance.fingerprint[:8]
        width = st.number_input("Width of the model", 0, 10**6, 0, key=f"plan-width-{key}", persist_state="session")
        inner = st.number_input("Width of an expert", 0, 10**6, 0, key=f"plan-inner-{key}", persist_state="session")
    if not width or not inner:
        st.caption("In a config.json: hidden_size, and moe_intermediate_size or intermediate_size.")
        return None
    weights = MATRICES * int(width) * int(inner)
    st.caption(f"Taken as {MATRICES} matrices (gate, up, down): {weights:,} weights an expert.")
    return (weights,) * len(record.layers)


def _format(page: Page) -> str:
    own = format_of(page.source.record.provenance.dtype)
    return st.selectbox(
        "Experts stored with",
        list(FORMATS),
        index=list(FORMATS).index(own),
        key=f"plan-format-{own}",
        persist_state="session",
        width=260,
    )


def _memory(page: Page, weights_l: tuple[int, ...], bytes_each: float) -> Plan:
    """The plan of the chosen memory; each stop of the slider is one expert more in every layer."""
    rules = page.source.record.layers
    plans = [plan(rules, weights_l, bytes_each, kept) for kept in range(max(rule.experts for rule in rules) + 1)]
    st.session_state[MEMORY] = kept_experts(page)
    st.select_slider(
        "Memory for experts",
        range(len(plans)),
        format_func=lambda kept: f"{bytes_words(plans[kept].memory + plans[kept].room)}: {kept} a layer",
        key=MEMORY,
        on_change=lambda: keep(st.session_state[MEMORY]),
        help=f"All routed experts take {bytes_words(plans[-1].whole)}.",
    )
    kept: int = st.session_state[MEMORY]
    return plans[kept]
