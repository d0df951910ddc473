"""Two documents token under token: the difference over both captures, and both cards of a pinned token."""

from collections.abc import Callable

import streamlit as st

from gatescope.app.charts.card import card
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components import Pick
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.views.compare.alignment_figure import SIGHTS, Aligned, pair, sights
from gatescope.routing.record import RoutingRecord

SHARES = "share_tl = overlap(first, second)\nnear_tl = near_ties(first, second)"
"""Python of the figure's numbers, of `first` and `second` token under token."""
SIGHT, BEYOND = "compare-sight", "compare-beyond"


def show_pair(
    page: Page,
    align: Callable[[], Aligned],
    *,
    number: int,
    documents: tuple[RoutingRecord, RoutingRecord],
    where: str = "",
) -> None:
    """The difference of A and B over the tokens they share, A and B below it, and what is pinned.

    `align` finds these tokens once and knows them from then on.
    """

    def make() -> Figure:
        found = align()
        chosen, is_faint = st.session_state.get(SIGHT), st.session_state.get(BEYOND, True)
        sight = chosen if chosen in sights(found) else sights(found)[0]
        return pair(page, found, number=number, sight=sight, is_faint=is_faint, where=where)

    shown = show(
        "Which tokens went elsewhere?",
        make,
        on_pick=lambda pick: _pin(page, align(), number, pick),
        above=lambda: _controls(align()),
    )
    if shown is not None:
        found = align()
        _cards(
            page, found, found.column_of(page.view.token if (page.view.document or 0) == number else None), documents
        )


def _controls(found: Aligned) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        choices = sights(found)
        if len(choices) > 1:
            st.segmented_control(
                "What the difference is of",
                choices,
                default=choices[0],
                format_func=lambda name: SIGHTS[name],
                required=True,
                key=SIGHT,
                persist_state="session",
                label_visibility="collapsed",
            )
        st.toggle(
            "Only what is beyond noise",
            value=True,
            key=BEYOND,
            persist_state="session",
            help="Cells where nothing changed, or no more than a near tie, are drawn faint.",
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
        sentence = "Click a cell to see the same token in A and in B, side by side."
        st.caption(
            sentence if page.view.token is None else f"Token {page.view.token} has no counterpart in B. {sentence}"
        )
        return
    rows = int(found.first_n[column]), int(found.second_n[column])
    for name, place, record, row in zip(("A", "B"), st.columns(2, gap="medium"), documents, rows, strict=True):
        with place, st.container(border=True):
            st.markdown(f"**{name}**")
            st.html(card(record, row, page.view.layer))
