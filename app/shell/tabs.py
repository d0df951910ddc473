"""The parts of a page, one drawn at a time: a page full of charts would keep the browser busy for half a second."""

from collections.abc import Callable, Mapping

import streamlit as st


def show_part(parts: Mapping[str, Callable[[], object]], *, key: str) -> None:
    """A choice among the parts of a page, and the chosen one; the first at the beginning.

    parts           name of each part, and what draws it
    key             of the choice, kept while the visitor stays
    """
    first = next(iter(parts))
    st.session_state.setdefault(key, first)
    part = st.segmented_control(
        "What comes below",
        list(parts),
        key=key,
        required=True,
        persist_state="session",
        label_visibility="collapsed",
    )
    parts[part or first]()
