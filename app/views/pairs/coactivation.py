"""The pairs of one layer: the matrix of their lift, and the chosen pair with tokens in which both work."""

from typing import NamedTuple

import numpy as np
import streamlit as st

from gatescope.analysis.comparison.pair_evidence import PairTest, expected_of, pair_test
from gatescope.analysis.registry import METRICS, Result
from gatescope.app.components import Pick, matrix
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import Words, answering, figure
from gatescope.app.shell.layer_charts import notes
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page, headline
from gatescope.app.views.pairs.coactivation_figure import (
    LayerPairs,
    Order,
    explained_words,
    layer_pairs,
    lift_frame,
    lift_grid,
    lift_name,
    lift_takeaway,
    order_words,
    pair_sentence,
    partners,
    strongest_pair,
)
from gatescope.app.views.pairs.contexts_figure import contexts, contexts_html, sampled, shared_rows
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import Reading, measure, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import counted, facet_mask

_SUPPORT_NULL = "coactivation_support.null[{layer}]"
_TESTS = MemoCache()
"""Tests of a layer's pairs, by source, scope and layer."""
ORDERS: tuple[Order, ...] = ("clustered", "by number")


class Pair(NamedTuple):
    """Two experts of a layer."""

    one: int
    two: int


def known_pairs(page: Page, layer: int) -> tuple[LayerPairs, Result]:
    """What is known of a layer's pairs, and the metric with its warnings. Errors: OptionError where there are none."""
    lift, support = (measure(page.source, f"coactivation_{name}", scope=page.scope) for name in ("lift", "support"))
    rule = page.source.record.layers[layer]
    return layer_pairs(lift, support, _tested(page, layer, support), rule), lift


def _tested(page: Page, layer: int, support: Result) -> PairTest:
    """The test of one layer's pairs, on the tokens at hand."""

    def compute() -> PairTest:
        record = counted(page.source, page.scope)
        counts_t = facet_mask(record, page.scope.facet)
        ids_tk, document_t = record.ids_tlk[counts_t, layer], record.document_t[counts_t]
        is_known = support.null is not None and support.places is None  # for every pair
        if page.source.is_cut or not is_known:  # the whole was counted, its first documents are at hand
            return pair_test(ids_tk, document_t, expected_of(ids_tk, record.layers[layer], support.shape[1]))
        return pair_test(ids_tk, document_t, support.layer(layer, "null"))

    is_counted_here = page.source.is_cut or support.null is None
    expected = f"expected_of(ids_tk, record.layers[{layer}], record.experts)"
    code = (
        f"ids_tk, document_t = record.ids_tlk[is_counted_t, {layer}], record.document_t[is_counted_t]\n"
        f"test = pair_test(ids_tk, document_t, {expected if is_counted_here else _SUPPORT_NULL.format(layer=layer)})"
    )
    imports = ("from gatescope.analysis.comparison.pair_evidence import expected_of, pair_test",)
    note(Reading(source=page.source, scope=page.scope, code=code, imports=imports))
    return _TESTS.get((*page.source.key, page.scope, layer), compute)


def chosen_pair(page: Page, pairs: LayerPairs, layer: int) -> Pair:
    """The pinned expert with the partner chosen last, else with its strongest; else the strongest pair of all."""
    expert = page.view.expert if page.view.layer == layer else None
    if expert is None or expert >= pairs.rule.experts:
        return Pair(*strongest_pair(pairs))
    chosen = st.session_state.get("pair-chosen")
    if chosen is not None and chosen[:3] == (page.source.id, layer, expert) and chosen[3] < pairs.rule.experts:
        return Pair(expert, chosen[3])
    others = partners(pairs, expert)
    return Pair(expert, others[0] if others else expert)


def choose(page: Page, layer: int, one: int, two: int) -> None:
    """Pin a pair: the first expert in the address, its partner in the session. For callbacks."""
    st.session_state["pair-chosen"] = (page.source.id, layer, one, two)
    address.change(layer=layer, expert=one)


def show_lift(page: Page, pairs: LayerPairs, lift: Result, pair: Pair) -> None:
    """The matrix of one layer."""
    question = "Who works with whom?"
    layer, name = pairs.rule.layer, layer_names(page.source.record.layers)[pairs.rule.layer]
    order: Order = st.segmented_control(
        "Order of the experts", ORDERS, default=ORDERS[0], required=True, key="pairs-order", persist_state="session"
    )
    grid = lift_grid(pairs, order)
    place = np.argsort(grid.order)
    words = Words(
        question=question,
        takeaway=lift_takeaway(pairs, name),
        population=page.population,
        unit="doublings over chance: 1 is twice as often, -1 half as often",
        null=f"null: 0, {METRICS['coactivation_lift'].null}",
        badge="beyond null" if pairs.sure_ef.any() else "observed",
        metric="coactivation_lift",
        says=(
            ("Order", order_words(order)),
            ("Test", (pair_test.__doc__ or "").partition("\n")[0]),
            ("Faint", grid.faded_says),
        ),
    )
    is_pinned = page.view.expert is not None and page.view.layer == layer

    def take(pick: Pick | None) -> None:
        if pick is None or pick.row is None:
            address.change(expert=None)
        else:
            choose(page, layer, int(grid.order[pick.row]), int(grid.order[pick.column]))

    with figure(words, key="lift", at={"layer": layer}, frame=lambda: lift_frame(pairs)):
        names = [str(expert) for expert in grid.order]
        matrix(
            grid.values_rc,
            rows=names,
            columns=names,
            row_noun="expert",
            column_noun="with expert",
            scale=grid.scale,
            pinned=Pick(int(place[pair.one]), int(place[pair.two])) if is_pinned else None,
            key="lift-matrix",
            description=words.takeaway,
            attribution=headline(page.source),
            faded_rc=grid.faded_rc,
            faded_says=grid.faded_says,
            on_pick=take,
            square=True,
        )
        st.caption(plain(order_words(order)))
        notes(lift.warnings)
        if said := _explained(page, layer):
            st.caption(plain(said))


def _explained(page: Page, layer: int) -> str:
    names = {"same": "same_word_overlap", "other": "different_word_overlap", "context": "context_share"}
    found = {key: _if_known(page, name) for key, name in names.items()}
    return explained_words(layer, **found, domain=_if_known(page, "mutual_information", by="domain"))


def _if_known(page: Page, metric: str, *, by: str = "") -> Result | None:
    try:
        return measure(page.source, metric, by=by, scope=page.scope)
    except OptionError:
        return None


def show_pair(page: Page, pairs: LayerPairs, pair: Pair) -> None:
    """The chosen pair: what is known of it, and tokens in which both work."""
    question = f"What do experts {pair.one} and {pair.two} do together?"
    with answering(question), st.container(border=True, key="pair-panel"):
        st.subheader(question, anchor=False)
        _choose_pair(page, pairs, pair)
        st.markdown(plain(pair_sentence(pairs, pair.one, pair.two)))
        _shared_tokens(page, pairs.rule.layer, pair)
        with st.container(horizontal=True):
            for expert in dict.fromkeys(pair):
                st.button(
                    f"Open expert {expert}",
                    icon=":material/arrow_forward:",
                    on_click=address.visit,
                    args=("expert",),
                    kwargs={"layer": pairs.rule.layer, "expert": expert},
                    key=f"open-{expert}",
                )


def _choose_pair(page: Page, pairs: LayerPairs, pair: Pair) -> None:
    """The pair by number, for the keyboard and small screens."""
    layer, others = pairs.rule.layer, partners(pairs, pair.one)

    def take_one() -> None:
        address.change(layer=layer, expert=st.session_state["pair-one"])

    def take_two() -> None:
        choose(page, layer, pair.one, st.session_state["pair-two"])

    st.session_state["pair-one"], st.session_state["pair-two"] = pair
    with st.container(horizontal=True):
        st.selectbox("Expert", range(pairs.rule.experts), key="pair-one", on_change=take_one, width=140)
        st.selectbox(
            "with",
            others,
            key="pair-two",
            format_func=lambda other: lift_name(pairs, pair.one, other),
            on_change=take_two,
            width=180,
        )


def _shared_tokens(page: Page, layer: int, pair: Pair) -> None:
    """Up to a dozen tokens at random, in their context, with the way to each."""
    record = counted(page.source, page.scope)
    rows = shared_rows(record, layer, pair, facet_mask(record, page.scope.facet))
    if not len(rows):
        st.caption("No token that counts was given to both.")
        return
    taken = sampled(rows)
    which = "all" if len(taken) == len(rows) else "at random (seed 0)"
    st.caption(f"{len(taken)} of {len(rows):,} tokens that both worked on, {which}: document and token, then the text.")
    documents = page.source.record.documents

    def href(document: int, token: int) -> str:
        return address.link("prompt", capture=page.source.id, document=document, token=token, layer=layer, span=None)

    def describe(document: int) -> str:
        return " ".join(filter(None, (documents[document].domain, documents[document].language)))

    linked(
        contexts_html(contexts(record, taken, page.scope), href, describe),
        key="pair-tokens",
        on_follow=address.visit_link,
    )
