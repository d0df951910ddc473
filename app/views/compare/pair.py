"""Two documents token under token: the difference over both captures, and both cards of a pinned token."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.app.charts.card import card
from gatescope.app.charts.token_heatmap import changes, row_names, token_flags, token_pieces
from gatescope.app.components import Pick, Scale, token_matrix
from gatescope.app.shell import address
from gatescope.app.shell.figure import figure
from gatescope.app.shell.page import Page
from gatescope.app.views.compare.alignment_figure import (
    SIGHTS,
    Aligned,
    aligned_frame,
    aligned_words,
    column_names,
    difference,
    in_common,
    own_figures,
    sights,
)
from gatescope.routing.record import RoutingRecord

GROUP = "compare"
SHARES = "share_tl = overlap(first, second)\nnear_tl = near_ties(first, second)"
"""Python of the figure's numbers, of `first` and `second` token under token."""


def show_pair(
    page: Page, found: Aligned, *, number: int, documents: tuple[RoutingRecord, RoutingRecord], where: str = ""
) -> None:
    """The difference of A and B over the tokens they share, A and B below it, and what is pinned."""
    token = page.view.token if (page.view.document or 0) == number else None
    column, words = found.column_of(token), aligned_words(found, where=where)
    pinned = None if column is None else Pick(page.view.layer, column)
    with figure(words, key="pair", frame=lambda: aligned_frame(found)):
        with st.container(horizontal=True, vertical_alignment="center"):
            sight = _sight(found)
            only = st.toggle(
                "Only what is beyond noise",
                value=True,
                key="compare-beyond",
                persist_state="session",
                help="Cells where nothing changed, or no more than a near tie, are drawn faint.",
            )
        drawn = difference(found, sight)
        labels_lt = in_common(found) if sight == "overlap" else None
        _heatmap(
            page,
            found,
            found.first,
            drawn.values_lt,
            key=f"pair-{sight}",
            number=number,
            pinned=pinned,
            scale=drawn.scale,
            only=only,
            labels_lt=labels_lt,
            label_noun="in common",
            description=words.takeaway,
        )
        st.caption("The same tokens in A, then in B: the three share cursor and window.")
        for name, record, own in zip("AB", (found.first, found.second), own_figures(found), strict=True):
            st.markdown(f"**{name}**")
            _heatmap(
                page,
                found,
                record,
                own.values_lt,
                key=f"pair-own-{name}",
                number=number,
                pinned=pinned,
                scale=own.scale,
                labels_lt=own.expert_lt,
                description=f"{name}: {own.scale.name} of the tokens that both have",
            )
    _cards(page, found, column, documents)


def _sight(found: Aligned) -> str:
    choices = sights(found)
    if len(choices) == 1:
        return choices[0]
    return st.segmented_control(
        "What the difference is of",
        choices,
        default=choices[0],
        format_func=lambda name: SIGHTS[name],
        required=True,
        key="compare-sight",
        persist_state="session",
        label_visibility="collapsed",
    )


def _heatmap(
    page: Page,
    found: Aligned,
    record: RoutingRecord,
    values_lt: NDArray[np.floating],
    *,
    key: str,
    number: int,
    pinned: Pick | None,
    scale: Scale,
    only: bool = False,
    labels_lt: NDArray[np.integer] | None = None,
    label_noun: str = "expert",
    description: str,
) -> None:
    """One of the three pictures."""
    token_matrix(
        values_lt,
        pieces=token_pieces(record),
        flags=token_flags(record),
        rows=row_names(record),
        columns=column_names(found),
        scale=scale,
        labels_rc=labels_lt,
        label_noun=label_noun,
        changes_rc=changes(record),
        stops_rc=found.share_lt < 1,
        stops_say="change",
        pinned=pinned,
        group=GROUP,
        key=f"{key}-{page.source.id}-{page.reference.id if page.reference else ''}-{number}",
        description=description,
        on_pick=lambda pick: _pin(page, found, number, pick),
        faded_rc=found.noise_lt if only else None,
        faded_says="no more than noise",
    )


def _pin(page: Page, found: Aligned, number: int, pick: Pick | None) -> None:
    if pick is None:
        address.change(token=None, layer=None)
    else:
        token = int(found.first_n[pick.column])
        address.change(capture=page.source.id, document=number, token=token, layer=pick.row)


def _cards(page: Page, found: Aligned, column: int | None, documents: tuple[RoutingRecord, RoutingRecord]) -> None:
    """Both cards of the pinned token, side by side."""
    if column is None:
        said = "Click a cell to see the same token in A and in B, side by side."
        st.caption(said if page.view.token is None else f"Token {page.view.token} has no counterpart in B. {said}")
        return
    rows = int(found.first_n[column]), int(found.second_n[column])
    for name, place, record, row in zip(("A", "B"), st.columns(2, gap="medium"), documents, rows, strict=True):
        with place, st.container(border=True):
            st.markdown(f"**{name}**")
            st.html(card(record, row, page.view.layer))
