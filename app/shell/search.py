"""The search: one key on every page, over pages, captures, measures and words."""

import streamlit as st

from gatescope.app.components.focus import focus_first
from gatescope.app.shell import address, captures_bar
from gatescope.app.shell.messages import plain
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.search_entries import Entry, entries

KEY = "ctrl+k"
_CHOICE = "search-choice"


def show() -> None:
    """Draw the button; a press, or its key, opens the search."""
    with st.container(key="search", width="content"):
        is_asked = st.button("Search", icon=":material/search:", shortcut=KEY, key="search-open", type="tertiary")
    if is_asked:
        st.session_state.pop(_CHOICE, None)
        _search()


@st.dialog("Search", width="medium")
def _search() -> None:
    found = entries(find_pages(), captures_bar.offered())
    chosen = st.selectbox(
        "Pages, captures, measures, words",
        range(len(found)),
        index=None,
        key=_CHOICE,
        format_func=lambda number: found[number].label,
        placeholder="Type to search …",
        label_visibility="collapsed",
    )
    focus_first("search")
    if chosen is None:
        st.caption("Type a word, choose with the arrow keys, and press Enter.")
        return
    entry = found[chosen]
    if not entry.says:
        _go(entry)
        st.rerun()
    st.markdown(plain(entry.says))
    with st.container(horizontal=True):
        page = next(each for each in find_pages() if each.address == entry.page)
        if st.button(f"Show on {page.title}", type="primary", on_click=_go, args=(entry,), key="search-go"):
            st.rerun()
        if st.button("Open the Guide", on_click=address.visit, args=("guide",), key="search-guide"):
            st.rerun()


def _go(entry: Entry) -> None:
    """Go where an entry is shown; another capture takes no pins along."""
    parts = address.NO_PINS | entry.parts if "capture" in entry.parts else entry.parts
    address.visit(entry.page, **parts)
