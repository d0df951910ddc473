"""One domain or language at a time: the choice of it, and its profile."""

import streamlit as st

from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.group_profile_figure import Measured, group_profile
from gatescope.app.views.domains.word_tables import Groups

CHOSEN = "profile-of"


def show_profile(groups: Groups) -> None:
    """Draw the choice and the figure; nothing where no group can be compared."""
    difference = groups.page.measure("usage_difference", by=groups.by)
    key = f"{CHOSEN}-{groups.by}"
    if st.session_state.get(key) not in difference.groups:
        st.session_state[key] = difference.groups[0]
    name = st.selectbox(
        groups.by.capitalize(), difference.groups, key=key, format_func=plain, persist_state="session", width=260
    )
    show("What is special about its routing?", lambda: group_profile(groups, _measured(groups), name))


def _measured(groups: Groups) -> Measured:
    page = groups.page
    return Measured(
        share=page.measure("token_share_of_group", by=groups.by),
        difference=page.measure("usage_difference", by=groups.by),
        distance=page.if_known("profile_divergence", by=groups.by),
    )
