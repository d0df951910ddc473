"""What one expert works on, and with whom: groups, places, classes of token, partners, before and after."""

import streamlit as st

from gatescope.app.charts.page import Page
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.links import linker
from gatescope.app.views.expert.coactivation_figure import FLOW, PARTNERS, flow, partners
from gatescope.app.views.expert.groups_figure import CLASS, PLACE, classes, groups, groups_question, places
from gatescope.app.views.expert.profile_figure import Chosen
from gatescope.server.view import LABELS


def work(page: Page, chosen: Chosen) -> None:
    """Domains or languages, places in the document, classes of token."""
    by = page.view.by
    show(groups_question(by), lambda: groups(page, chosen), above=lambda: _by(by))
    left, right = st.columns(2, gap="medium")
    with left:
        show(PLACE, lambda: places(page, chosen))
    with right:
        show(CLASS, lambda: classes(page, chosen))


def around(page: Page, chosen: Chosen) -> None:
    """Partners, and what comes before and after."""
    to_expert = linker("expert")

    def href(layer: int, expert: int | None) -> str:
        return to_expert(layer=layer, expert=expert)

    left, right = st.columns(2, gap="medium")
    with left:
        show(PARTNERS, lambda: partners(page, chosen, href))
    with right:
        show(FLOW, lambda: flow(page, chosen, href))


def _by(by: str) -> None:
    st.session_state["expert-by"] = by
    st.segmented_control(
        "Groups by", LABELS, key="expert-by", required=True, on_change=_take_by, label_visibility="collapsed"
    )


def _take_by() -> None:
    address.change(by=st.session_state["expert-by"])
