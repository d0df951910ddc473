"""The planner: how much memory for experts, how many of each layer that keeps, and what a token still loads."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.comparison.cache_spread import Depths, loads_per_token, lru_depths_by_document
from gatescope.app.charts.formatting import bytes_words
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.app.views.locality.cache_planner_figure import (
    FORMATS,
    MATRICES,
    Plan,
    format_of,
    loads_frame,
    loads_plot,
    loads_table,
    order_part,
    plan,
    plan_rows,
    verdict,
)
from gatescope.app.views.locality.hot_set import keep, kept_experts, names_of
from gatescope.server.expert_sizes import known_weights
from gatescope.server.measures import LIVE_RESAMPLES, Reading, measure, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import counted, facet_mask

MEMORY = "locality-memory"
RESAMPLES = 5 * LIVE_RESAMPLES
BEYOND = (
    "Bytes are these rates times the size of the experts chosen above; "
    "gatescope.app.views.locality.cache_planner_figure has the sums."
)
_depths = MemoCache()


def show_plan(page: Page) -> None:
    """Inputs, verdict, chart and table."""
    question = "What would it take to keep only some of the experts?"
    with answering(question):
        weights_l = _weights(page)
        if weights_l is None:
            return
        form = _format(page)
        found = _memory(page, weights_l, FORMATS[form])
        rates = _rates(page)
        rules, names = page.source.record.layers, names_of(page)
        loads = loads_per_token(_by_document(page), found.kept_l, found.size_l, resamples=RESAMPLES)
        note(_call_of(page, found))
        words = Words(
            question=question,
            takeaway=verdict(found, loads, order_part(rates, rules, found)),
            population=page.population,
            unit="bytes of routed experts; shared experts and the rest of the model are not counted",
            null="dotted: the same documents with their tokens in random order",
            badge="observed",
            metric="lru_hit_rate",
            says=(
                ("Memory", f"the kept experts, and room for those the running token uses: {bytes_words(found.room)}"),
                ("A load", "an expert that is asked for and not kept; experts used last are kept"),
                ("Not this", "time. Whether loads can be hidden behind other work is not known from routing"),
            ),
        )
        frame = loads_frame(rules, weights_l, FORMATS[form], rates)
        kept = int(found.kept_l.max())
        rows = plan_rows(found, rules, names, rates)
        with figure(words, key="plan", is_chart=True, frame=lambda: loads_table(frame, kept, loads), beyond=BEYOND):
            chart(loads_plot(frame, kept), words, key="plan-chart")
            with st.expander("Layer by layer"):
                st.dataframe(rows, hide_index=True, alt=plain(words.alt), column_config=_COLUMNS)


_COLUMNS = {
    name: st.column_config.NumberColumn(name.replace("_", " "), format=form)
    for form, names in (
        ("percent", ("served_used_last", "served_random_order", "served_fixed")),
        ("compact", ("bytes_an_expert", "bytes_a_token_loads")),
    )
    for name in names
}


def _weights(page: Page) -> tuple[int, ...] | None:
    """Weights of one expert by layer: of the configuration, else as the reader types them; None until then."""
    record = page.source.record
    known = known_weights(record)
    if known is not None:
        sizes = sorted(set(known))
        said = " or ".join(f"{size:,}" for size in sizes)
        st.caption(f"An expert of this model has {said} weights, by its configuration.")
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


def _rates(page: Page) -> dict[str, NDArray[np.float64]]:
    """Hit rates by layer and size, of every policy that is drawn."""
    lru, best, fixed = (
        measure(page.source, name, scope=page.scope) for name in ("lru_hit_rate", "belady_hit_rate", "static_hit_rate")
    )
    mixed = np.full(lru.value.shape, np.nan) if lru.null is None else lru.null
    return {"lru": lru.value, "mixed": mixed, "fixed": fixed.value, "best": best.value}


def _call_of(page: Page, found: Plan) -> Reading:
    """How the loads of a token, with their interval, can be had without the page."""
    code = (
        "depths = lru_depths_by_document(record, is_counted_t)\n"
        f"kept_l, size_l = np.array({found.kept_l.tolist()}), np.array({np.asarray(found.size_l).tolist()})\n"
        f"loads = loads_per_token(depths, kept_l, size_l, resamples={RESAMPLES})"
    )
    imports = ("from gatescope.analysis.comparison.cache_spread import loads_per_token, lru_depths_by_document",)
    return Reading(source=page.source, scope=page.scope, code=code, imports=imports)


def _by_document(page: Page) -> Depths:
    record = counted(page.source, page.scope)
    return _depths.get(
        (*page.source.key, page.scope), lambda: lru_depths_by_document(record, facet_mask(record, page.scope.facet))
    )
