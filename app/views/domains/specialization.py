"""Experts × groups of one layer, or layers × groups, and what lies behind the cell that is pinned."""

import numpy as np
import streamlit as st

from gatescope.analysis.labels.evidence import document_use, word_parts
from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Figure
from gatescope.app.components import Pick
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.layer_charts import choose_layer
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.evidence_figure import (
    behind_html,
    cell_of,
    document_list,
    random_documents,
    top_documents,
    word_table,
)
from gatescope.app.views.domains.usage_difference_figure import all_layers, one_layer
from gatescope.app.views.domains.word_tables import Groups
from gatescope.server.sources import role_mask, select_routes

ONE, ALL = "Experts of one layer", "All layers"
GROUP = "usage-difference-group"


def show_usage_difference(groups: Groups) -> None:
    """The matrix, in one of two views, and the panel of its pinned cell."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control(
            "Matrix", (ONE, ALL), default=ONE, required=True, key="usage-difference-view", persist_state="session"
        )
        if view == ONE:
            choose_layer(groups.page, groups.layer, key="usage-difference-layer")
    is_one = view == ONE
    draw = one_layer if is_one else all_layers

    def make() -> Figure:
        found = _difference(groups)
        return draw(groups, found, _pinned(groups, found, is_by_layer=not is_one))

    def pick(chosen: Pick | None) -> None:
        if is_one:
            _pin(groups, _difference(groups), chosen)
        else:
            _pin_layer(_difference(groups), chosen)

    def open_row(row: int) -> None:
        if is_one:
            address.visit("expert", layer=groups.layer, expert=row)
        else:
            address.visit("layers", layer=row, expert=None)

    if show(f"Which experts specialize in which {groups.by}?", make, on_pick=pick, on_row=open_row) is not None:
        _behind(groups, _difference(groups))


def _difference(groups: Groups) -> Result:
    return groups.page.measure("usage_difference", by=groups.by)


def _group(groups: Groups, difference: Result) -> int | None:
    """The pinned group, else the one that the pinned expert is used for most."""
    view = groups.page.view
    if view.layer is None or view.expert is None:
        return None
    value_g = difference.value[:, groups.layer, view.expert]
    name = st.session_state.get(GROUP)
    if name in difference.groups:
        return difference.groups.index(name)
    return int(np.nanargmax(np.abs(value_g))) if np.isfinite(value_g).any() else None


def _pinned(groups: Groups, difference: Result, *, is_by_layer: bool = False) -> Pick | None:
    group, expert = _group(groups, difference), groups.page.view.expert
    if group is None or expert is None:
        return None
    return Pick(groups.layer if is_by_layer else expert, group)


def _pin(groups: Groups, difference: Result, pick: Pick | None) -> None:
    if pick is None:
        address.change(expert=None)
    else:
        st.session_state[GROUP] = difference.groups[pick.column]
        address.change(layer=groups.layer, expert=pick.row)


def _pin_layer(difference: Result, pick: Pick | None) -> None:
    """A cell of layers × groups stands for the expert with the largest usage difference there."""
    if pick is None or pick.row is None:
        address.change(expert=None)
        return
    value_e = difference.value[pick.column, pick.row]
    expert = int(np.nanargmax(np.abs(value_e))) if np.isfinite(value_e).any() else None
    st.session_state[GROUP] = difference.groups[pick.column]
    address.change(layer=pick.row, expert=expert)


def _behind(groups: Groups, difference: Result) -> None:
    """The panel of the pinned cell, or how to get one."""
    group, expert = _group(groups, difference), groups.page.view.expert
    if group is None or expert is None:
        value_ge = difference.value[:, groups.layer]
        if np.isfinite(value_ge).any():
            _offer(groups, difference, *np.unravel_index(int(np.nanargmax(np.abs(value_ge))), value_ge.shape))
        return
    if not np.isfinite(difference.value[group, groups.layer, expert]):
        st.caption(f"Layer {groups.names[groups.layer]} has no expert {expert} that can be held against chance here.")
        return
    with st.container(border=True):
        linked(_panel(groups, difference, group, expert), key="usage-difference-behind", on_follow=address.visit_link)
        name = difference.groups[group]
        st.button("See the layers on these documents alone", on_click=_slice, args=(groups, name), key="to-slice")


def _slice(groups: Groups, name: str) -> None:
    address.visit("layers", slice=f"{groups.by}:{name}", span=None)


def _offer(groups: Groups, difference: Result, group: np.intp, expert: np.intp) -> None:
    name = difference.groups[group]

    def pin() -> None:
        _pin(groups, difference, Pick(int(expert), int(group)))

    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Click a cell to see the documents and the words behind it.", width="content")
        st.button(f"Show expert {expert} and {plain(name)}", on_click=pin, key="usage-difference-offer")


def _panel(groups: Groups, difference: Result, group: int, expert: int) -> str:
    page, layer = groups.page, groups.layer
    share = page.measure("token_share_of_group", by=groups.by)
    record = select_routes(page.source, page.scope)
    counted_t = role_mask(record, page.scope.facet)
    in_group_d = np.array([getattr(document, groups.by) == difference.groups[group] for document in record.documents])
    use = document_use(record, counted_t, layer, expert)
    parts = word_parts(record, counted_t, in_group_d, layer, expert)
    numbers = page.scope.documents or range(len(record.documents))

    def href(number: int) -> str:
        return address.link(
            "prompt", document=int(numbers[number]), layer=layer, expert=expert, slice=None, span=None, token=None
        )

    top = top_documents(use, in_group_d)
    return behind_html(
        cell_of(difference, share, layer, expert, group),
        parts,
        layer_name=groups.names[layer],
        expert_href=address.link("expert", layer=layer, expert=expert),
        tops=document_list(top, use, record.documents, href),
        random=document_list(random_documents(use, in_group_d, top), use, record.documents, href),
        words=word_table(parts, record, difference.groups[group]),
    )
