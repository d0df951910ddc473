"""The pairs of one layer: the matrix of their lift, and the chosen pair with tokens in which both work."""

import streamlit as st

from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components import Pick
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain
from gatescope.app.views.pairs.coactivation_figure import (
    ORDERS,
    LayerPairs,
    Order,
    Pair,
    known_pairs,
    lift,
    lift_grid,
    lift_name,
    pair_sentence,
    partners,
    strongest_pair,
)
from gatescope.app.views.pairs.contexts_figure import contexts, contexts_html, sampled, shared_rows
from gatescope.server.sources import role_mask, select_routes


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


def show_lift(page: Page, layer: int) -> int | None:
    """The matrix of one layer and the chosen pair, whose first expert is returned; None where pairs are not known."""

    def make() -> Figure:
        pairs, found = known_pairs(page, layer)
        order: Order = st.segmented_control(
            "Order of the experts",
            ORDERS,
            default=ORDERS[0],
            required=True,
            key="pairs-order",
            persist_state="session",
        )
        return lift(page, pairs, chosen_pair(page, pairs, layer), order, found.warnings)

    def take(pick: Pick | None) -> None:
        if pick is None or pick.row is None:
            address.change(expert=None)
        else:
            order = lift_grid(known_pairs(page, layer)[0], st.session_state["pairs-order"]).order
            choose(page, layer, int(order[pick.row]), int(order[pick.column]))

    if show("Which experts are co-activated?", make, on_pick=take) is None:
        return None
    pairs, _ = known_pairs(page, layer)
    pair = chosen_pair(page, pairs, layer)
    show_pair(page, pairs, pair)
    return pair.one


def show_pair(page: Page, pairs: LayerPairs, pair: Pair) -> None:
    """The chosen pair: what is known of it, and tokens in which both work."""
    question = f"What do experts {pair.one} and {pair.two} do together?"
    with st.container(border=True, key="pair-panel"):
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
    record = select_routes(page.source, page.scope)
    rows = shared_rows(record, layer, pair, role_mask(record, page.scope.facet))
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
