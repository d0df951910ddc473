"""The way of one token: its experts layer by layer, how firmly it was sent there, and what else goes that way."""

from collections.abc import Callable

import streamlit as st

from gatescope.app.charts.card import facts
from gatescope.app.charts.context import STYLE, context, quoted
from gatescope.app.charts.page import Page
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.links import linker
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.token.similar_tokens import show_alike
from gatescope.app.views.token.token_path_figure import HOW_FIRM, QUESTION, ladder, margins
from gatescope.drawing.token_heatmap import striking_cell, views
from gatescope.routing.errors import GatescopeError
from gatescope.routing.record import RoutingRecord
from gatescope.server.sources import document_of

PAGE = {
    "title": "Token",
    "icon": ":material/route:",
    "help": "One token's way through the layers: its experts, how close the choice was, and which tokens go alike.",
    "order": 20,
    "group": "Look",
}

REACH = 14


def main() -> None:
    """The page from top to bottom."""
    page = open_page("Which way did this token go, and how firmly?", wants="text")
    if page is None:
        return
    number = page.view.document or 0
    record = document_of(page.source, number)
    token = _token(page, record)
    if token is None:
        st.info("This document has no tokens.", icon=":material/search_off:")
        return
    _here(record, number, token)
    show(QUESTION, lambda: ladder(page, record, token, _links()))
    show(HOW_FIRM, lambda: margins(page, record, token))
    show_alike(page, record, number, token)


def _token(page: Page, record: RoutingRecord) -> int | None:
    """The pinned token, else the most striking one."""
    if page.view.token is not None or not record.tokens:
        return page.view.token
    cell = striking_cell(record, views(record)[0])
    return 0 if cell is None else cell[1]


def _here(record: RoutingRecord, number: int, token: int) -> None:
    """Which token it is, with the ways to its neighbours."""
    before, after = max(token - 1, 0), min(token + 1, record.tokens - 1)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(plain(f"Token {token} {quoted(record, record.token_t[token])}"), anchor=False, width="stretch")
        for name, to in (("‹ Previous", before), ("Next ›", after)):
            pin = {"document": number or None, "token": to}
            st.button(name, on_click=address.change, kwargs=pin, disabled=to == token)
    to_token = linker("token")
    text = context(record, token, reach=REACH, href=lambda row: to_token(document=number or None, token=row))
    linked(f"{STYLE}<p>{text}</p>", key="token-context", on_follow=address.visit_link)
    sentence = " · ".join(f"<b>{name}</b> {text}" for name, text in facts(record, token))
    st.html(f'<p style="font-size:.875rem;overflow-wrap:anywhere">{sentence}</p>')


def _links() -> Callable[[int, int | None], str]:
    """To an expert, or to a layer."""
    to_expert, to_layer = linker("expert"), linker("layers")
    return lambda layer, expert: to_layer(layer=layer) if expert is None else to_expert(layer=layer, expert=expert)


try:
    main()
except GatescopeError as error:
    show_error(error)
