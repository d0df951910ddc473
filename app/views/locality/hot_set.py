"""Whether a text keeps to some experts: repeats, overlap, and how often a cache of some experts has the right one."""

import streamlit as st

from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.links import LinkTo, linker
from gatescope.app.shell.messages import plain
from gatescope.app.views.locality.reach_figure import MEAN, MOST_LAYERS, hit_curves, hits, resident_html, residents

KEPT, CHART = "locality-kept", "hits-chart"
SIZE = "locality-size"


def choose_place(page: Page) -> None:
    """One layer, or the mean over all of them."""
    names = page.layers

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
    rules, layer = page.source.record.layers, page.view.layer
    most = rules[layer].experts if layer is not None else max(rule.experts for rule in rules)
    kept = min(max(kept_experts(page), 1), most)

    def make() -> Figure:
        found = hit_curves(page)
        _choose_size(kept, most)
        return hits(page, found, kept)

    if show("How often would a cache have the expert?", make, on_select=_take_point) is not None:
        show_residents(page, kept)


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
    load = page.measure("relative_load")
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
    return f"Layer {page.layers[layer]}", experts, hrefs
