"""The tour: three questions as links to the states that answer them, on the first page and in the guide."""

from html import escape

import streamlit as st

from gatescope.analysis.claims.tour import digits, surest_taker, widest_parting
from gatescope.app.charts.tour import Stop, parting_stop, specialization_stop, taker_stop
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.session import server
from gatescope.drawing.token_heatmap import views
from gatescope.models import BUNDLED_MODEL, BUNDLED_MODELS
from gatescope.routing.errors import GatescopeError
from gatescope.server.measures import measure, table
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import document_of, shipped_ids, shipped_name
from gatescope.server.view import View, ViewParts

DISMISSED = "tour-dismissed"
PURPOSE = "**A Mixture-of-Experts model sends each token to a few of its experts; Gatescope shows which.**"
STYLE = """<style>
.tour { margin: 0; padding: 0; list-style: none; line-height: 1.5; font-size: .9375rem; }
.tour li { margin: 0 0 .5rem; padding: 0; text-wrap: pretty; overflow-wrap: anywhere; }
.tour a { font-weight: 600; display: inline-block; min-height: 24px; }
.tour.brief { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; align-items: baseline; } .tour.brief li { margin: 0; }
</style>"""
_found = MemoCache()


def first_visit(view: View) -> None:
    """Draw the three questions, over the example with a sentence; nothing once the reader has dismissed them."""
    if st.session_state.get(DISMISSED):
        return
    try:
        found = stops(toured(view.model))
        sentence = _over_the_example(view) if view.capture is None else ""
    except GatescopeError as error:
        show_error(error)
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small", key="row-tour"):
        with st.container(gap="small"):
            if sentence:
                st.markdown(sentence)
            linked(questions(found, is_brief=True), key="tour-questions", on_follow=address.visit_link)
        st.button("Hide", key="tour-hide", type="tertiary", icon=":material/close:", on_click=_dismiss)


def answer(page: str, view: View) -> None:
    """Draw what is to be seen, where a page shows the state that a question leads to; else nothing."""
    if st.session_state.get(DISMISSED) or view.capture not in shipped_ids(toured(view.model))[:2]:
        return
    for stop in stops(toured(view.model)):
        if stop.page == page and _is_at(stop, view):
            st.markdown(f"**{plain(stop.question)}** {plain(stop.says)}")


def replay() -> None:
    """Draw the tour again on the first page, and go there. For callbacks."""
    st.session_state[DISMISSED] = False
    address.visit("prompt", **_afresh() | {"capture": None})


def toured(model: str) -> str:
    """The bundled model whose captures the tour shows: the one looked at, if it is one."""
    return model if model in BUNDLED_MODELS else BUNDLED_MODEL.name


def stops(model: str) -> tuple[Stop, ...]:
    """The three questions of a bundled model, found once. Errors: those of reading what ships with it."""
    return _found.get((model,), lambda: _stops(model))


def questions(found: tuple[Stop, ...], *, is_brief: bool = False) -> str:
    """The questions as a list of links, each with what is seen there unless they are to be brief."""
    items = []
    for stop in found:
        href = address.link(stop.page, **_afresh() | stop.parts)
        says = "" if is_brief else f"<br>{escape(stop.says)}"
        items.append(f'<li><a href="{escape(href)}" title="{escape(stop.says)}">{escape(stop.question)}</a>{says}</li>')
    first = "<li>Three questions to begin with:</li>" if is_brief else ""
    return f'{STYLE}<ul class="tour{" brief" if is_brief else ""}">{first}{"".join(items)}</ul>'


def _stops(model: str) -> tuple[Stop, ...]:
    text, corpus = server().find_source(f"welcome.{model}"), server().find_source(f"probe.{model}")
    difference, share = (measure(corpus, name, by="domain") for name in ("usage_difference", "token_share_of_group"))
    every = (
        parting_stop(text.id, text.record, widest_parting(text.record)),
        taker_stop(corpus.id, surest_taker(corpus.record, digits(corpus.record))),
        specialization_stop(corpus.id, difference, share, table(corpus, "composition.domain")),
    )
    return tuple(stop for stop in every if stop is not None)


def _over_the_example(view: View) -> str:
    """What is pinned, in a sentence; markup of ours alone."""
    source = server().find_source(f"welcome.{toured(view.model)}")
    name = shipped_name(source.id)
    record = document_of(source, view.document or 0)
    if view.token is None or view.token >= record.tokens:
        return f"{PURPOSE} This is {plain(name)}. Click a token to pin it: its experts are listed layer by layer."
    piece = plain(record.piece(int(record.token_t[view.token])).strip() or "␣")
    layer = "" if view.layer is None else f" in layer {view.layer}"
    pinned = f"token {view.token}, “{piece}”, is pinned{layer}"
    return f"{PURPOSE} This is {plain(name)}, and {pinned}: point at another, or press Play."


def _is_at(stop: Stop, view: View) -> bool:
    return all(getattr(view, part) == value for part, value in stop.parts.items())


def _afresh() -> ViewParts:
    """Parts of a view that nothing of what was looked at before is left in."""
    return address.NO_PINS | {"reference": None, "facet": "own", "by": "domain", "quantity": views()[0]}


def _dismiss() -> None:
    st.session_state[DISMISSED] = True
