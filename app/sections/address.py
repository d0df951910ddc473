"""The page's address as the one place where what is looked at is kept."""

from dataclasses import replace

import streamlit as st

from app.figures.trace import views
from app.settings import settings
from app.state import View, read_view


def current() -> View:
    """The view the address asks for."""
    return read_view(st.query_params.to_dict(), quantities=views(), models=settings().offered)


def go(view: View) -> None:
    """Write a view into the address; the browser's Back leads to the one before."""
    fresh = View(quantity=views()[0], model=settings().offered[0])
    params = view.params(default=fresh)
    if params != st.query_params.to_dict():
        st.query_params.from_dict(params)
        st.session_state["looked_at"] = params


def follow_to(page: str) -> None:
    """Take what is looked at along to another page: a change of page empties the address."""
    here = st.query_params.to_dict()
    has_moved = st.session_state.get("page", page) != page
    if has_moved and not here:
        st.query_params.from_dict(st.session_state.get("looked_at", {}))
    else:
        st.session_state["looked_at"] = here
    st.session_state["page"] = page


def change(**parts: object) -> None:
    """Write the current view with some parts replaced."""
    go(replace(current(), **parts))  # type: ignore[arg-type]  # parts are fields of View
