"""The way of one token: its experts layer by layer, how firmly it was sent there, and what else goes that way."""

import streamlit as st

from gatescope.app.charts.card import facts
from gatescope.app.charts.context import STYLE, context, quoted
from gatescope.app.charts.token_heatmap import striking_cell, views
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.links import linker
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.page import Page, open_page
from gatescope.app.views.token import similar_tokens as alike_tokens
from gatescope.app.views.token import token_path_figure as ladder
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import Reading, note
from gatescope.server.sources import Scope, document_of

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
    _ladder(page, record, token)
    _margins(page, record, token)
    alike_tokens.show(page, record, number, token)


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
    said = " · ".join(f"<b>{name}</b> {text}" for name, text in facts(record, token))
    st.html(f'<p style="font-size:.875rem;overflow-wrap:anywhere">{said}</p>')


def _firmness(page: Page, record: RoutingRecord, token: int) -> ladder.Firmness:
    code = f"firm = firmness(record, {token})"
    imports = ("from gatescope.app.views.token.token_path_figure import firmness",)
    scope = Scope(documents=(page.view.document or 0,))
    note(Reading(source=page.source, scope=scope, code=code, imports=imports))
    return ladder.firmness(record, token)


def _ladder(page: Page, record: RoutingRecord, token: int) -> None:
    with answering(ladder.QUESTION):
        firm = _firmness(page, record, token)
        to_expert, to_layer = linker("expert"), linker("layers")

        def href(layer: int, expert: int | None) -> str:
            return to_layer(layer=layer) if expert is None else to_expert(layer=layer, expert=expert)

        words = ladder.ladder_words(record, token, firm)
        with figure(words, key="ladder", frame=lambda: ladder.ladder_frame(record, token, firm)):
            html = ladder.ladder_html(record, token, firm, href=href, pinned=page.view.layer)
            linked(html, key="ladder-html", on_follow=address.visit_link)


def _margins(page: Page, record: RoutingRecord, token: int) -> None:
    with answering(ladder.HOW_FIRM):
        firm = _firmness(page, record, token)
        if not firm.is_known:
            raise OptionError(
                "no margins in this capture",
                expected="the router's scores",
                do="capture the text again with scores, which costs 8 bytes a token and layer",
            )
        words = ladder.margin_words(record, firm)
        with figure(words, key="margins", is_chart=True, frame=lambda: ladder.margin_frame(record, firm)):
            chart(ladder.margin_plot(record, firm), words, key="margins-chart")


try:
    main()
except GatescopeError as error:
    show_error(error)
