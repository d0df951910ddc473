"""Whether a text keeps to some experts: repeats, overlap, and how often a cache of some experts has the right one."""

import numpy as np
import streamlit as st

from gatescope.analysis.registry import Result
from gatescope.app.charts.formatting import layer_words
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import notes, of_b, population
from gatescope.app.shell.links import LinkTo, linker
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page
from gatescope.app.views.locality.reach_figure import (
    MEAN,
    MOST_LAYERS,
    Curves,
    curves,
    hits_frame,
    hits_plot,
    hits_takeaway,
    overlap_frame,
    overlap_plot,
    overlap_takeaway,
    resident_html,
    residents,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure

KEPT, CHART = "locality-kept", "hits-chart"
SIZE = "locality-size"


def names_of(page: Page) -> list[str]:
    """Names of the layers."""
    return layer_names(page.source.record.layers)


def where(page: Page) -> str:
    """The layer that is looked at, in words."""
    return MEAN if page.view.layer is None else layer_words(names_of(page)[page.view.layer])


def choose_place(page: Page) -> None:
    """One layer, or the mean over all of them."""
    names = names_of(page)

    def take() -> None:
        chosen = st.session_state["locality-layer"]
        address.change(layer=None if chosen < 0 else chosen, expert=None)

    st.session_state["locality-layer"] = -1 if page.view.layer is None else page.view.layer
    st.selectbox(
        "Layer",
        range(-1, len(names)),
        format_func=lambda at: MEAN if at < 0 else names[at],
        key="locality-layer",
        on_change=take,
        width=260,
    )


def show_overlap(page: Page) -> None:
    """Experts in common by distance."""
    question = "How far does a token's choice reach?"
    with answering(question):
        found = measure(page.source, "overlap_decay", scope=page.scope)
        layer = page.view.layer
        words = Words(
            question=question,
            takeaway=f"{where(page).capitalize()}: {overlap_takeaway(found, layer)}",
            population=population(page),
            unit="share of a token's experts",
            null="dotted: tokens of other documents of the same domain and language",
            badge="observed",
            metric="overlap_decay",
        )
        other = of_b(page, "overlap_decay")
        beside = None if other is None else other[1]
        with figure(
            words, key="overlap", is_chart=True, frame=lambda: overlap_frame(found, names_of(page), layer, beside)
        ):
            chart(overlap_plot(found, layer, beside), words, key="overlap-chart")
        notes(found.warnings)


def kept_experts(page: Page) -> int:
    """How many experts of a layer are kept, as the reader chose; an eighth of them to begin with, at least k."""
    rules = page.source.record.layers
    most = max(rule.experts for rule in rules)
    first = max(max(rule.k for rule in rules), most // 4)
    return int(min(st.session_state.get(KEPT, first), most))


def keep(number: int) -> None:
    """Take over another number of kept experts, for both figures that show it."""
    st.session_state[KEPT] = int(number)


def show_hits(page: Page) -> None:
    """Hit rates by size and policy, and the experts that would be kept."""
    question = "How often would a cache have the expert?"
    with answering(question):
        found = hit_curves(page)
        rules, layer = page.source.record.layers, page.view.layer
        most = len(found.by_policy["lru"]) if layer is None else rules[layer].experts
        kept = min(max(kept_experts(page), 1), most)
        words = Words(
            question=question,
            takeaway=hits_takeaway(found, kept, where(page)),
            population=page.population,
            unit="share of requests for an expert",
            null="dotted: C of E, what an even router gives any fixed choice",
            badge="observed",
            metric="lru_hit_rate",
            says=(
                ("Used most often", "least often used in the document so far out first"),
                ("Fixed", "the experts that all other documents use most: nothing moves"),
                ("Best possible", "an oracle that knows the rest of the document (Belady)"),
                ("Knowing the next 16 tokens", "k, 2 k or 3 k experts by how often the next 16 tokens use them"),
            ),
        )
        _choose_size(kept, most)
        with figure(
            words,
            key="hits",
            is_chart=True,
            at={"layer": MEAN if layer is None else layer},
            frame=lambda: hits_frame(found),
        ):
            chart(hits_plot(found, kept), words, key=CHART, on_select=_take_point, selection_mode="points")
        show_residents(page, kept)


def hit_curves(page: Page) -> Curves:
    """The rates of the layer that is looked at. Errors: OptionError where no token counts."""
    names = ("lru_hit_rate", "lfu_hit_rate", "belady_hit_rate", "static_hit_rate", "segment_cache_hits")
    lru, lfu, best, fixed, segment = (measure(page.source, name, scope=page.scope) for name in names)
    if not np.isfinite(lru.value).any():
        raise OptionError("no layer has requests", expected="tokens that count", do="choose other tokens")
    return curves(lru, lfu, best, fixed, segment, page.source.record.layers, page.view.layer)


def _choose_size(kept: int, most: int) -> None:
    if most < 2:
        return
    st.session_state[SIZE] = kept
    st.slider(
        "Experts kept in a layer (C); a click on the chart chooses too",
        1,
        most,
        key=SIZE,
        on_change=lambda: keep(st.session_state[SIZE]),
    )


def _take_point() -> None:
    """A click on a point of the chart chooses its size."""
    points = st.session_state[CHART].selection.points
    if points:
        keep(int(points[0]["x"]))


def show_residents(page: Page, kept: int) -> None:
    """The most used experts, as many as are kept."""
    load = measure(page.source, "relative_load", scope=page.scope)
    st.markdown(
        f"**The {kept} most used experts**, which a fixed cache would hold; a moving one changes with the text."
    )
    layers = [page.view.layer] if page.view.layer is not None else list(range(len(load.value)))[:MOST_LAYERS]
    to_expert = linker("expert")
    rows = [_row(page, load, layer, kept, to_expert) for layer in layers]
    linked(resident_html(rows), key="residents", on_follow=address.visit_link)
    if len(rows) < len(load.value) and page.view.layer is None:
        st.caption(plain(f"The first {len(rows)} of {len(load.value)} layers; choose a layer above for another."))


def _row(page: Page, load: Result, layer: int, kept: int, to_expert: LinkTo) -> tuple[str, list[int], list[str]]:
    experts = residents(load.value[layer], kept)
    hrefs = [to_expert(layer=layer, expert=expert) for expert in experts]
    return f"Layer {names_of(page)[layer]}", experts, hrefs
