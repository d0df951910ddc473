"""How far apart domains or languages are: every two in one layer, the mean by depth, and languages on one text."""

import streamlit as st

from gatescope.analysis.registry import Result
from gatescope.app.components import Pick
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.divergence_figure import apart, exclusive, mean_distance, pair_sentence, reach
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.app.views.domains.word_tables import Groups, support_table
from gatescope.routing.errors import OptionError

PAIR = "groups-pair"


def show_apart(groups: Groups) -> None:
    """Every two groups in one layer, beside the mean by depth."""
    every = PLURALS[groups.by]
    left, right = st.columns(2, gap="large")
    with left:
        show(
            f"Which {every} are routed alike?",
            lambda: apart(groups, _pinned_pair(_distances(groups))),
            on_pick=lambda pick: _pick_pair(_distances(groups), pick),
            below=lambda: _pair(groups, _distances(groups)),
        )
    with right:
        show(
            f"Where are {every} furthest apart?",
            lambda: mean_distance(groups, "profile_divergence", "mean distance (bits)"),
        )


def _distances(groups: Groups) -> Result:
    return groups.page.measure("profile_divergence", by=groups.by)


def _pick_pair(found: Result, pick: Pick | None) -> None:
    if pick is None or pick.row is None:
        st.session_state.pop(PAIR, None)
    else:
        st.session_state[PAIR] = (found.groups[pick.row], found.groups[pick.column])


def _pinned_pair(found: Result) -> Pick | None:
    names = st.session_state.get(PAIR, ())
    if len(names) != 2 or not set(names) <= set(found.groups):
        return None
    return Pick(found.groups.index(names[0]), found.groups.index(names[1]))


def _pair(groups: Groups, found: Result) -> None:
    """What is known of the two groups that are pinned."""
    pick = _pinned_pair(found)
    if pick is None or pick.row is None or pick.row == pick.column:
        st.caption("Click a cell to hold two of them against each other.")
        return
    shift = groups.page.measure("profile_shift", by=groups.by)
    try:
        support = support_table(groups)
    except OptionError:
        support = None
    st.markdown(plain(pair_sentence(found, shift, groups.layer, (pick.row, pick.column), support)))


def show_languages(groups: Groups) -> None:
    """What only languages have: the same passage in several, experts of all, experts of one."""
    show("Are translations routed alike?", lambda: mean_distance(groups, "language_divergence", "mean divergence"))
    left, right = st.columns(2, gap="large")
    with left:
        show("Which experts do the languages share?", lambda: reach(groups), on_pick=_pin_expert)
    with right:
        show("Which languages have experts of their own?", lambda: exclusive(groups), on_pick=_open_layer)


def _open_layer(pick: Pick | None) -> None:
    if pick is not None:
        address.change(layer=pick.column, expert=None)


def _pin_expert(pick: Pick | None) -> None:
    if pick is None:
        address.change(expert=None)
    else:
        address.change(layer=pick.row, expert=pick.column)
