"""The page's address as the one place where what is looked at is kept, and the ways from one page to another."""

from dataclasses import replace
from typing import Unpack
from urllib.parse import parse_qsl, urlencode

import streamlit as st

from gatescope.app.components.url_sync import complete_address
from gatescope.app.shell.navigation import find_pages
from gatescope.drawing.token_heatmap import views
from gatescope.server.settings import settings
from gatescope.server.view import View, ViewParts, read_view

CARRIED = "carried"
"""Where a session keeps what it looked at on the page before, while the address is still bare."""

NO_PINS: ViewParts = {"document": None, "token": None, "layer": None, "expert": None, "span": None, "slice": None}
"""What no longer means anything once another capture is looked at."""


def current() -> View:
    """The view the address asks for."""
    query = st.query_params.to_dict() or st.session_state.get(CARRIED, {})
    return read_view(query, quantities=views(), models=settings().offered)


def here() -> str:
    """The page that is shown."""
    return st.session_state.get("page") or find_pages()[0].address


def params(view: View) -> dict[str, str]:
    """The parameters that say a view."""
    return view.params(default=View(quantity=views()[0], model=settings().offered[0]))


def go(view: View) -> None:
    """Write a view into the address; the browser's Back leads to the one before."""
    query = params(view)
    st.session_state[CARRIED] = {}
    if query != st.query_params.to_dict():
        st.query_params.from_dict(query)
        st.session_state["looked_at"] = query


def follow_to(page: str) -> None:
    """Take what is looked at along to another page: a change of page empties the address.

    What is carried stands in for the address until the browser has completed it.
    """
    here = st.query_params.to_dict()
    has_moved = st.session_state.get("page", page) != page
    if has_moved and not here:
        before = st.session_state.get("looked_at", {})
        st.session_state[CARRIED] = {name: value for name, value in before.items() if name != "p"}
    elif here:
        st.session_state[CARRIED] = {}
    st.session_state["looked_at"] = here or st.session_state.get(CARRIED, {})
    st.session_state["page"] = page
    if st.session_state.get(CARRIED):
        complete_address(page, st.session_state[CARRIED])


def change(**parts: Unpack[ViewParts]) -> None:
    """Write the current view with some parts replaced."""
    go(replace(current(), **parts))


def link(page: str, **parts: Unpack[ViewParts]) -> str:
    """The address of the current view on another page, some parts replaced: `link("expert", layer=2, expert=5)`."""
    query = urlencode(params(elsewhere(page, **parts)))
    address = "" if page == find_pages()[0].address else page
    return f"{address}?{query}" if query else address or "."


def visit(page: str, **parts: Unpack[ViewParts]) -> None:
    """Go to another page, some parts of the view replaced. For callbacks: the move happens in the run they cause."""
    st.session_state["moving"] = (page, params(elsewhere(page, **parts)))


def elsewhere(page: str, **parts: Unpack[ViewParts]) -> View:
    """The current view on a page, some parts replaced; which part of its page is open means nothing on another."""
    view = current() if page == here() else replace(current(), part=None)
    return replace(view, **parts)


def visit_link(href: str) -> None:
    """Go where a link made by `link` leads; anything else leads nowhere."""
    page, _, query = href.partition("?")
    page = page if page not in ("", ".") else find_pages()[0].address
    if any(each.address == page for each in find_pages()):
        st.session_state["moving"] = (page, dict(parse_qsl(query)))


def move() -> None:
    """Make the move that a callback asked for; does not return if there is one."""
    if (moving := st.session_state.pop("moving", None)) is not None:
        page, query = moving
        path = next(each.path for each in find_pages() if each.address == page)
        st.switch_page(path, query_params=query)
