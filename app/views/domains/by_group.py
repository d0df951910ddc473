"""What is compared on the page of domains and languages, and what is computed when it is asked for."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from gatescope.analysis.labels.profiles import OTHER
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.messages import plain
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.app.views.domains.word_tables import Groups
from gatescope.server.sources import role_mask, select_routes
from gatescope.server.view import LABELS

SECONDS_A_CHOICE = 1.2e-6
ASKED = "words-asked"
"""For what a reader of this session wanted the words' part computed though it takes long."""


def choose_groups(page: Page) -> Groups | None:
    """Which label, and the layer pinned or told most by; None, and what to do, where there is nothing to compare."""
    by = page.view.by
    st.session_state["groups-by"] = by
    st.segmented_control(
        "Compare",
        LABELS,
        format_func=lambda each: PLURALS[each].capitalize(),
        key="groups-by",
        required=True,
        on_change=lambda: address.change(by=st.session_state["groups-by"]),
    )
    found = group_sizes(page, by)
    if len(found) < 2:
        _nothing_to_compare(page, by, list(found))
        return None
    _guessed(page, by)
    layer = page.view.layer
    if layer is None:
        bits_l = page.measure("mutual_information", by=by).value
        layer = int(np.nanargmax(bits_l)) if np.isfinite(bits_l).any() else 0
    is_asked = (page.source.id, by, page.scope) in st.session_state.get(ASKED, set())
    return Groups(page=page, by=by, layer=layer, is_asked=is_asked)


def group_sizes(page: Page, by: str) -> Counter[str]:
    """How many documents of the scope, with tokens that count, have each label."""
    record = select_routes(page.source, page.scope)
    has_tokens = np.unique(record.document_t[role_mask(record, page.scope.facet)])
    labels = (getattr(record.documents[number], by) for number in has_tokens)
    return Counter(label for label in labels if label)


def _nothing_to_compare(page: Page, by: str, found: list[str]) -> None:
    """Why two groups are missing, and the ways to some."""
    other = OTHER[by]
    what = f"only the {by} {found[0]} counts here" if found else f"no document that counts states a {by}"
    with st.container(border=True):
        st.markdown(
            plain(f"Nothing to compare: {what}. This page holds two {PLURALS[by]} and more against each other.")
        )
        with st.container(horizontal=True):
            if page.view.slice is not None or page.view.span is not None:
                parts = {"slice": None, "span": None}
                st.button("Count all documents", on_click=address.change, kwargs=parts, key="groups-all")
            if len(group_sizes(page, other)) > 1:
                st.button(
                    f"Compare {PLURALS[other]}", on_click=address.change, kwargs={"by": other}, key="groups-other"
                )
            st.button("Study a corpus with labels", on_click=address.visit, args=("library",), key="groups-library")


def _guessed(page: Page, by: str) -> None:
    """Say where labels are a program's guess; under domains, languages are what labels are shuffled within."""
    documents = select_routes(page.source, page.scope).documents
    guessed = sum(document.language_guessed for document in documents)
    if guessed:
        use = "" if by == "language" else " They are the strata that domains are shuffled within."
        st.caption(
            f"The language of {guessed:,} of {len(documents):,} documents was guessed by a program from their text, "
            f"not stated by their owner.{use}"
        )


def show_if_computed(
    question: str,
    groups: Groups,
    table: Callable[[Groups], pd.DataFrame | None],
    draw: Callable[[Groups, pd.DataFrame], Figure],
    *,
    meanwhile: str,
    key: str,
) -> None:
    """A figure of a table, or a button where the table takes long; `meanwhile` says what is computed."""

    def make() -> Figure | None:
        with st.spinner(meanwhile):
            found = table(groups)
        if found is None:
            st.subheader(question, anchor=False)
            _offer_to_compute(groups, key)
            return None
        return draw(groups, found)

    show(question, make)


def _offer_to_compute(groups: Groups, key: str) -> None:
    """A button where a table takes long."""
    page = groups.page
    size = select_routes(page.source, page.scope).ids_tlk.size

    def ask() -> None:
        st.session_state[ASKED] = st.session_state.get(ASKED, set()) | {(page.source.id, groups.by, page.scope)}

    with st.container(border=True):
        st.markdown("What the words alone explain was not computed for this choice of tokens.")
        st.button(f"Compute (about {size * SECONDS_A_CHOICE:.0f} s)", on_click=ask, key=key)
