"""What every page begins with: its question, what is looked at, and the bar and sidebar that say so.

page = open_page("How is the work spread, layer by layer?", wants="corpus")
if page is not None:
    ...page.source, page.scope, page.view...
"""

from contextvars import ContextVar
from dataclasses import replace
from typing import Literal

import streamlit as st

from gatescope.app.charts.page import Page, headline
from gatescope.app.shell import address, captures_bar, sidebar, tour
from gatescope.app.shell.messages import plain, show_error, show_notices
from gatescope.app.shell.session import server
from gatescope.routing.errors import CaptureNotFoundError, GatescopeError, OptionError
from gatescope.routing.record import Provenance
from gatescope.server.measures import own_tokens
from gatescope.server.server import corpus_of
from gatescope.server.sources import Scope, Source, document_of, scope_of, shipped_ids
from gatescope.server.view import View
from gatescope.studies.manifest import clean_name

MOST_TOKENS = 10**7
FEW_TOKENS = 200
"""Tokens below which a page about a corpus says that it has too little to go by."""


_LOOKED_AT: ContextVar[Page | None] = ContextVar("looked at", default=None)


def looked_at() -> Page | None:
    """The page that was opened in this run of the script, if one was."""
    return _LOOKED_AT.get()


def look_at(page: Page | None) -> None:
    """Say which page is shown from here on, or that none is yet."""
    _LOOKED_AT.set(page)


def open_page(question: str, *, wants: Literal["corpus", "text"]) -> Page | None:
    """Draw the head of a page; None, with what to do next, where there is nothing to look at.

    `wants` says which capture stands in where the address names none: the probe set of the model, or its example.
    """
    st.title(question)
    view = address.current()
    source = _source(view.capture or _stand_in(view.model, wants))
    if source is None:
        show_notices(view.problems)
        return None
    view, scope = checked(source, view)
    page = Page(view=view, source=source, reference=reference_of(view), scope=scope)
    look_at(page)
    show_notices(tuple(filter(None, (source.notice, *changed_notices(source, page.reference), *view.problems))))
    captures_bar.remember(source)
    captures_bar.show(source, page.reference)
    captures_bar.say_whose(source, plain(headline(source)))
    tour.answer(address.here(), view)
    sidebar.show(source, view)
    if wants == "corpus" and own_tokens(source, scope) < FEW_TOKENS:
        _too_little(page)
    return page


def changed_words(made: Provenance, which: str = "This capture") -> str:
    """That routes were changed while they were captured, and by what, or that no model made them; else nothing.

    >>> made = Provenance(model="m", fingerprint="f", dtype="float32", device="cpu", options={"intervention": "Halved"})
    >>> changed_words(made)
    "This capture was made under an intervention (Halved): its routes are not the model's own."
    """
    if made.is_simulated:
        return (
            f"{which} is simulated: its routes were drawn at random, with effects planted in them. No model made them."
        )
    if not made.intervention:
        return ""
    name = clean_name(made.intervention) or "not named"
    return f"{which} was made under an intervention ({name}): its routes are not the model's own."


def changed_notices(source: Source, reference: Source | None) -> tuple[str, ...]:
    """What must be said of captures whose routes are not a model's own; nothing of others."""
    other = "" if reference is None else changed_words(reference.record.provenance, "Capture B")
    return tuple(filter(None, (changed_words(source.record.provenance), other)))


def _stand_in(model: str, wants: str) -> str | None:
    shipped = shipped_ids(model)
    return shipped[1 if wants == "text" else 0] if shipped else None


def _source(id: str | None) -> Source | None:
    """What the id stands for, or what to do where there is nothing."""
    if id is None:
        st.info("Nothing is captured yet for this model. Run a text, or study a corpus.", icon=":material/search_off:")
        _ways_to_begin()
        return None
    try:
        return server().find_source(id)
    except CaptureNotFoundError:
        st.warning(
            f"This server holds no capture **{plain(id)}**. It may have been made on another server, or been removed.",
            title="Capture not found",
            icon=":material/search_off:",
        )
    except GatescopeError as error:
        show_error(error)
    _ways_to_begin()
    st.button("Show the example", on_click=address.change, kwargs={"capture": None, **address.NO_PINS})
    return None


def _ways_to_begin() -> None:
    with st.container(horizontal=True):
        for page, label in (("prompt", "Run a text"), ("library", "Open the Library")):
            st.button(
                label,
                on_click=address.visit,
                args=(page,),
                kwargs={"capture": None, **address.NO_PINS},
                key=f"to-{page}",
            )


def checked(source: Source, view: View) -> tuple[View, Scope]:
    """The view with what lies outside of the capture dropped, and the scope it leaves."""
    record = source.record
    sizes = {"layers": len(record.layers), "experts": record.experts, "documents": len(record.documents)}
    view = view.within(tokens=MOST_TOKENS, **sizes)
    if view.token is not None or view.span is not None:
        view = view.within(tokens=document_of(source, view.document or 0).tokens, **sizes)
    try:
        return view, scope_of(source, view)
    except OptionError as error:
        lost = f"{error.found.capitalize()}: all documents are shown."
        view = replace(view, slice=None, problems=(*view.problems, lost))
        return view, scope_of(source, view)


def reference_of(view: View) -> Source | None:
    """Capture B, if the address names one that can be had."""
    if view.reference is None:
        return None
    try:
        return server().find_source(view.reference)
    except GatescopeError as error:
        show_error(error)
        return None


def _too_little(page: Page) -> None:
    tokens = own_tokens(page.source, page.scope)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info(
            f"Only {tokens:,} token{'s' * (tokens != 1)}: what is shown here says what happened to this text, not what "
            f"experts do. That needs {FEW_TOKENS:,} and more, of many documents.",
            icon=":material/hourglass_empty:",
        )
        if (corpus := corpus_of(page.view.model)) is not None and corpus != page.source.id:
            st.button("Show the probe set", on_click=address.change, kwargs={"capture": corpus, **address.NO_PINS})
