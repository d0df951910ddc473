"""How far apart domains or languages are: every two in one layer, the mean by depth, and languages on one text."""

import numpy as np
import streamlit as st

from gatescope.analysis.registry import Result
from gatescope.app.charts.formatting import SURE
from gatescope.app.components import Pick, Scale, matrix
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, chart, figure
from gatescope.app.shell.layer_charts import notes
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.by_group import Groups, support_table
from gatescope.app.views.domains.divergence_figure import (
    apart_frame,
    apart_grid,
    apart_takeaway,
    exclusive_frame,
    exclusive_takeaway,
    mean_apart,
    mean_frame,
    mean_plot,
    mean_takeaway,
    pair_sentence,
    reach_frame,
    reach_takeaway,
)
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.routing.errors import OptionError
from gatescope.server.measures import measure

PAIR = "groups-pair"


def show_apart(groups: Groups) -> None:
    """Every two groups in one layer, beside the mean by depth."""
    left, right = st.columns(2, gap="large")
    with left:
        _pairs(groups)
    with right:
        _depth(groups, "profile_divergence", f"Where are {PLURALS[groups.by]} furthest apart?", "mean distance (bits)")


def _pairs(groups: Groups) -> None:
    page, layer, question = groups.page, groups.layer, f"Which {PLURALS[groups.by]} are routed alike?"
    with answering(question):
        found = measure(page.source, "profile_divergence", by=groups.by, scope=page.scope)
        grid = apart_grid(found, layer)
        words = Words(
            question=question,
            takeaway=apart_takeaway(found, layer, groups.names),
            population=page.population,
            unit="bits (Jensen-Shannon) beyond chance",
            null="0: the two labels shuffled among the documents of both give the value that is taken off",
            badge="observed",
            metric="profile_divergence",
        )
        with figure(words, key="apart", at={"layer": layer}, frame=lambda: apart_frame(found, layer)):
            matrix(
                grid.values_gh,
                rows=list(found.groups),
                columns=list(found.groups),
                scale=grid.scale,
                pinned=_pinned_pair(found),
                key=f"apart-{groups.by}",
                row_noun=groups.by,
                column_noun=groups.by,
                description=words.takeaway,
                attribution=words.foot,
                faded_rc=grid.faded_gh,
                faded_says=f"not beyond chance (q > {SURE})",
                on_pick=lambda pick: _pick_pair(found, pick),
                square=True,
            )
            _pair(groups, found)
        notes(found.warnings)


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
    shift = measure(groups.page.source, "profile_shift", by=groups.by, scope=groups.page.scope)
    try:
        support = support_table(groups)
    except OptionError:
        support = None
    st.markdown(plain(pair_sentence(found, shift, groups.layer, (pick.row, pick.column), support)))


def _depth(groups: Groups, metric: str, question: str, axis: str) -> None:
    page = groups.page
    with answering(question):
        found = measure(page.source, metric, by=groups.by, scope=page.scope)
        value_l, null_l = mean_apart(found)
        if not np.isfinite(value_l).any():
            raise OptionError(
                " ".join(found.warnings).rstrip(".") or f"no two {PLURALS[groups.by]} have a null",
                expected=f"two documents and more of each {groups.by}",
                do="choose more documents",
            )
        is_bits = metric == "profile_divergence"
        words = Words(
            question=question,
            takeaway=mean_takeaway(value_l, null_l, groups.names, "bits" if is_bits else ""),
            population=page.population if is_bits else f"N = {found.tokens:,} tokens of passages in several languages",
            unit="bits" if is_bits else "share of the largest possible divergence",
            null=f"dotted: {_NULLS[metric]}",
            badge="observed",
            metric=metric,
        )
        with figure(words, key=metric, is_chart=True, frame=lambda: mean_frame(value_l, null_l, groups.names)):
            chart(mean_plot(value_l, null_l, groups.names, axis), words, key=f"{metric}-chart")
        if not is_bits:
            notes(found.warnings)


_NULLS = {
    "profile_divergence": "mean over the pairs, their labels shuffled",
    "language_divergence": "two different passages in one language",
}


def show_languages(groups: Groups) -> None:
    """What only languages have: the same passage in several, experts of all, experts of one."""
    question = "Are translations routed alike?"
    _depth(groups, "language_divergence", question, "mean divergence")
    left, right = st.columns(2, gap="large")
    with left:
        _reach(groups)
    with right:
        _exclusive(groups)


def _reach(groups: Groups) -> None:
    page, question = groups.page, "Which experts do the languages share?"
    with answering(question):
        found = measure(page.source, "language_reach", by="language", scope=page.scope)
        words = Words(
            question=question,
            takeaway=reach_takeaway(found),
            population=page.population,
            unit="share of the languages in which the expert surely does more than an even share",
            badge="observed",
            metric="language_reach",
        )
        with figure(words, key="reach", frame=lambda: reach_frame(found, groups.names)):
            matrix(
                found.value,
                rows=groups.names,
                columns=None,
                scale=Scale("languages that share it", low=0.0, high=1.0, unit="share of the languages", null=0.0),
                pinned=None if page.view.expert is None else Pick(page.view.layer, page.view.expert),
                key="reach-matrix",
                description=words.takeaway,
                attribution=words.foot,
                on_pick=_pin_expert,
            )


def _pin_expert(pick: Pick | None) -> None:
    if pick is None:
        address.change(expert=None)
    else:
        address.change(layer=pick.row, expert=pick.column)


def _exclusive(groups: Groups) -> None:
    page, question = groups.page, "Which languages have experts of their own?"
    with answering(question):
        found = measure(page.source, "exclusive_experts", by="language", scope=page.scope)
        words = Words(
            question=question,
            takeaway=exclusive_takeaway(found, groups.names),
            population=page.population,
            unit="share of the layer's experts that work for 30 % more of the language's tokens",
            badge="observed",
            metric="exclusive_experts",
        )
        with figure(words, key="exclusive", frame=lambda: exclusive_frame(found, groups.names)):
            matrix(
                found.value,
                rows=list(found.groups),
                columns=groups.names,
                scale=Scale.of(found.value, "experts of one language", unit="share of the experts", null=0.0),
                pinned=None,
                key="exclusive-matrix",
                row_noun="language",
                column_noun="layer",
                description=words.takeaway,
                attribution=words.foot,
                on_pick=lambda pick: None if pick is None else address.change(layer=pick.column, expert=None),
            )
