"""The parts of a page, one drawn at a time: a page full of charts would keep the browser busy for half a second.

Which part is open stands in the address, so that a link and a reload lead to it.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from gatescope.app.shell import address
from gatescope.app.shell.messages import show_notices


def show_part(parts: Mapping[str, Callable[[], object]], *, key: str) -> None:
    """A choice among the parts of a page, and the chosen one; the first at the beginning.

    parts           name of each part, and what draws it
    key             of the choice, kept while the visitor stays
    """
    parts[choose_part(list(parts), key=key)]()


def choose_part(names: Sequence[str], *, key: str, format_func: Callable[[str], str] = str) -> str:
    """The choice alone: the part the address names, else the one that was open last, else the first."""
    asked = address.current().part
    named = {slug(name): name for name in names}
    if asked in named:
        st.session_state[key] = named[asked]
    elif asked is not None:
        show_notices((f"p={asked} is no part of this page. It has {', '.join(named)}.",))
    st.session_state.setdefault(key, names[0])
    chosen: str | None = st.segmented_control(
        "What comes below",
        names,
        format_func=format_func,
        key=key,
        required=True,
        persist_state="session",
        label_visibility="collapsed",
        on_change=lambda: address.change(part=slug(st.session_state[key])),
    )
    return chosen or names[0]


def slug(name: str) -> str:
    """A part's name as an address has it.

    >>> slug("Confidence and ties")
    'confidence-and-ties'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
