"""Experts × groups of one layer, or layers × groups, and what lies behind the cell that is pinned."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.labels.evidence import document_use, word_parts
from gatescope.analysis.registry import Result
from gatescope.app.charts.formatting import SURE
from gatescope.app.components import Pick, Scale, matrix
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, figure
from gatescope.app.shell.layer_charts import choose_layer, notes
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.by_group import Groups
from gatescope.app.views.domains.evidence_figure import (
    behind_html,
    cell_of,
    document_list,
    random_documents,
    top_documents,
    word_table,
)
from gatescope.app.views.domains.groups_figure import (
    PLURALS,
    counts_frame,
    leaning_counts,
    leaning_frame,
    leaning_takeaway,
    leanings,
)
from gatescope.server.measures import measure
from gatescope.server.sources import counted, facet_mask

ONE, ALL = "Experts of one layer", "All layers"
GROUP = "leaning-group"


def show_leaning(groups: Groups) -> None:
    """The matrix, in one of two views, and the panel of its pinned cell."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control(
            "Matrix", (ONE, ALL), default=ONE, required=True, key="leaning-view", persist_state="session"
        )
        if view == ONE:
            choose_layer(groups.page, groups.layer, key="leaning-layer")
    question = f"Which experts lean towards which {groups.by}?"
    with answering(question):
        leaning = measure(groups.page.source, "usage_difference", by=groups.by, scope=groups.page.scope)
        if view == ONE:
            _one_layer(groups, leaning, question)
        else:
            _all_layers(groups, leaning)
        notes(leaning.warnings)
        _behind(groups, leaning)


def _one_layer(groups: Groups, leaning: Result, question: str) -> None:
    page, layer = groups.page, groups.layer
    share = measure(page.source, "token_share_of_group", by=groups.by, scope=page.scope)
    grid = leanings(leaning, layer, page.source.record.layers[layer].experts)
    words = Words(
        question=question,
        takeaway=leaning_takeaway(leaning, layer, groups.names, groups.by),
        population=page.population,
        unit="share of the group's tokens that use the expert, less the same of all others",
        null="0; shuffled labels give nearly that",
        badge="observed",
        metric="usage_difference",
    )
    with figure(
        words, key="leaning", at={"layer": layer}, frame=lambda: leaning_frame(leaning, share, layer, groups.by)
    ):
        matrix(
            grid.values_eg,
            rows=None,
            columns=list(leaning.groups),
            scale=grid.scale,
            pinned=_pinned(groups, leaning),
            key=f"leaning-{groups.by}",
            row_noun="expert",
            column_noun=groups.by,
            description=words.takeaway,
            attribution=words.foot,
            faded_rc=grid.faded_eg,
            faded_says=f"not beyond chance (q > {SURE})",
            on_pick=lambda pick: _pin(groups, leaning, pick),
            on_row=lambda expert: address.visit("expert", layer=layer, expert=expert),
        )


def _all_layers(groups: Groups, leaning: Result) -> None:
    share_lg = leaning_counts(leaning)
    expected = f"at most {SURE:.0%} of what is called so is expected to be chance".replace("%", " %")
    words = Words(
        question=f"In which layers do experts lean towards which {groups.by}?",
        takeaway=_all_takeaway(share_lg, leaning, groups),
        population=groups.page.population,
        unit=f"share of the layer's experts that lean to or from the {groups.by} (q ≤ {SURE})",
        null=expected,
        badge="observed",
        metric="usage_difference",
    )
    with figure(words, key="leaning-all", frame=lambda: counts_frame(share_lg, leaning, groups.names, groups.by)):
        matrix(
            share_lg,
            rows=groups.names,
            columns=list(leaning.groups),
            scale=Scale("experts that lean", low=0.0, high=1.0, unit="share of the experts", null=0.0),
            pinned=_pinned(groups, leaning, is_by_layer=True),
            key=f"leaning-all-{groups.by}",
            column_noun=groups.by,
            description=words.takeaway,
            attribution=words.foot,
            on_pick=lambda pick: _pin_layer(leaning, pick),
            on_row=lambda layer: address.visit("layers", layer=layer, expert=None),
        )


def _all_takeaway(share_lg: NDArray[np.float64], leaning: Result, groups: Groups) -> str:
    if not np.isfinite(share_lg).any():
        return f"No {groups.by} could be tested: each has one document, or none to be shuffled with."
    layer, group = np.unravel_index(int(np.nanargmax(share_lg)), share_lg.shape)
    mean = float(np.nanmean(share_lg))
    return (
        f"Most experts lean in layer {groups.names[layer]} for {leaning.groups[group]}: {share_lg[layer, group]:.0%}; "
        f"on average over layers and {PLURALS[groups.by]}, {mean:.0%}."
    ).replace("%", " %")


def _group(groups: Groups, leaning: Result) -> int | None:
    """The pinned group, else the one that the pinned expert leans to most."""
    view = groups.page.view
    if view.layer is None or view.expert is None:
        return None
    value_g = leaning.value[:, groups.layer, view.expert]
    name = st.session_state.get(GROUP)
    if name in leaning.groups:
        return leaning.groups.index(name)
    return int(np.nanargmax(np.abs(value_g))) if np.isfinite(value_g).any() else None


def _pinned(groups: Groups, leaning: Result, *, is_by_layer: bool = False) -> Pick | None:
    group, expert = _group(groups, leaning), groups.page.view.expert
    if group is None or expert is None:
        return None
    return Pick(groups.layer if is_by_layer else expert, group)


def _pin(groups: Groups, leaning: Result, pick: Pick | None) -> None:
    if pick is None:
        address.change(expert=None)
    else:
        st.session_state[GROUP] = leaning.groups[pick.column]
        address.change(layer=groups.layer, expert=pick.row)


def _pin_layer(leaning: Result, pick: Pick | None) -> None:
    """A cell of layers × groups stands for the expert that leans most there."""
    if pick is None or pick.row is None:
        address.change(expert=None)
        return
    value_e = leaning.value[pick.column, pick.row]
    expert = int(np.nanargmax(np.abs(value_e))) if np.isfinite(value_e).any() else None
    st.session_state[GROUP] = leaning.groups[pick.column]
    address.change(layer=pick.row, expert=expert)


def _behind(groups: Groups, leaning: Result) -> None:
    """The panel of the pinned cell, or how to get one."""
    group, expert = _group(groups, leaning), groups.page.view.expert
    if group is None or expert is None:
        value_ge = leaning.value[:, groups.layer]
        if np.isfinite(value_ge).any():
            _offer(groups, leaning, *np.unravel_index(int(np.nanargmax(np.abs(value_ge))), value_ge.shape))
        return
    if not np.isfinite(leaning.value[group, groups.layer, expert]):
        st.caption(f"Layer {groups.names[groups.layer]} has no expert {expert} that can be held against chance here.")
        return
    with st.container(border=True):
        linked(_panel(groups, leaning, group, expert), key="leaning-behind", on_follow=address.visit_link)
        name = leaning.groups[group]
        st.button("See the layers on these documents alone", on_click=_slice, args=(groups, name), key="to-slice")


def _slice(groups: Groups, name: str) -> None:
    address.visit("layers", slice=f"{groups.by}:{name}", span=None)


def _offer(groups: Groups, leaning: Result, group: np.intp, expert: np.intp) -> None:
    name = leaning.groups[group]

    def pin() -> None:
        _pin(groups, leaning, Pick(int(expert), int(group)))

    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Click a cell to see the documents and the words behind it.", width="content")
        st.button(f"Show expert {expert} and {plain(name)}", on_click=pin, key="leaning-offer")


def _panel(groups: Groups, leaning: Result, group: int, expert: int) -> str:
    page, layer = groups.page, groups.layer
    share = measure(page.source, "token_share_of_group", by=groups.by, scope=page.scope)
    record = counted(page.source, page.scope)
    counted_t = facet_mask(record, page.scope.facet)
    in_group_d = np.array([getattr(document, groups.by) == leaning.groups[group] for document in record.documents])
    use = document_use(record, counted_t, layer, expert)
    parts = word_parts(record, counted_t, in_group_d, layer, expert)
    numbers = page.scope.documents or range(len(record.documents))

    def href(number: int) -> str:
        return address.link(
            "prompt", document=int(numbers[number]), layer=layer, expert=expert, slice=None, span=None, token=None
        )

    top = top_documents(use, in_group_d)
    return behind_html(
        cell_of(leaning, share, layer, expert, group),
        parts,
        layer_name=groups.names[layer],
        expert_href=address.link("expert", layer=layer, expert=expert),
        tops=document_list(top, use, record.documents, href),
        random=document_list(random_documents(use, in_group_d, top), use, record.documents, href),
        words=word_table(parts, record, leaning.groups[group]),
    )
