"""The texts of one expert: its words, and the places where it worked."""

import streamlit as st

from gatescope.analysis.labels.expert_words import Kind
from gatescope.app.charts.page import Page
from gatescope.app.charts.places import place_of
from gatescope.app.shell.figure import show
from gatescope.app.shell.links import linker
from gatescope.app.views.expert.profile_figure import Chosen
from gatescope.app.views.expert.words_figure import KINDS, WHERE, WHICH, where, words
from gatescope.server.sources import select_routes


def show_words(page: Page, chosen: Chosen) -> None:
    """The table of words, by what is read, predicted or came next."""
    kind: Kind = st.session_state.get("expert-kind") or "read"
    if show(WHICH, lambda: words(page, chosen, kind), above=_kinds) is None:
        _kinds()


def _kinds() -> None:
    st.segmented_control(
        "Words by",
        list(KINDS),
        key="expert-kind",
        default=None if "expert-kind" in st.session_state else "read",
        required=True,
        format_func=KINDS.__getitem__,
        label_visibility="collapsed",
        persist_state="session",
    )


def show_places(page: Page, chosen: Chosen) -> None:
    """Contexts at random beside those of most weight."""
    to_prompt = linker("prompt")

    def href(row: int) -> str:
        document, token = place_of(select_routes(page.source, page.scope), page.scope, row)
        return to_prompt(
            capture=page.source.id, document=document or None, token=token, layer=chosen.layer, span=None, slice=None
        )

    show(WHERE, lambda: where(page, chosen, href))
