"""Paste a text, see where its tokens were routed."""

from dataclasses import replace

import streamlit as st

from gatescope.app.shell import address, captures_bar, sidebar
from gatescope.app.shell.loading import follow_loading
from gatescope.app.shell.messages import plain, show_error, show_notices
from gatescope.app.shell.page import changed_notices, checked, reference_of
from gatescope.app.shell.session import server
from gatescope.app.shell.tour import answer, first_visit
from gatescope.app.views.prompt.ask import ask, current_request, follow, is_reading, leave, rejoin, welcome
from gatescope.app.views.prompt.show import show
from gatescope.drawing.token_heatmap import striking_cell
from gatescope.routing.errors import CaptureNotFoundError, GatescopeError, StoreError
from gatescope.routing.record import Document
from gatescope.server.jobs import Phase
from gatescope.server.model_worker import ModelWorker
from gatescope.server.sources import Source
from gatescope.server.view import View

PAGE = {
    "title": "Prompt",
    "icon": ":material/short_text:",
    "help": "Paste a text and see which experts took each of its tokens, layer by layer.",
    "order": 10,
    "group": "Look",
}


def main() -> None:
    """The page from top to bottom; each part has its place, so that none is drawn anew when another comes or goes."""
    st.title("What did the model do with my text?")
    asking, waiting, saying, picture = (st.container() for _ in range(4))
    view = address.current()
    worker = server().worker(view.model)
    view = rejoin(worker, view)
    with asking:
        ask(worker, _linked(view))
    with waiting:
        follow_loading(worker, then=" Your text runs as soon as it is ready." if current_request().is_wanted else "")
        follow(worker)
    with saying:
        view = address.current()
        if (error := current_request().error) is not None:
            show_error(error)
        source = _found(view, worker)
        view = view if source is None else _introduced(source, view)
    with picture:
        if source is not None:
            show(source, reference_of(view), view, worker)
        elif worker.loading.phase in (Phase.WAITING, Phase.RUNNING) or is_reading():
            st.skeleton(height=420)


def _linked(view: View) -> Document | None:
    """The text of the capture the address names, if it can be had."""
    try:
        record = server().find_source(view.capture).record if view.capture else None
    except StoreError:
        return None
    number = view.document or 0
    return record.documents[number] if record is not None and number < len(record.documents) else None


def _found(view: View, worker: ModelWorker) -> Source | None:
    """The capture the address names, else the one a first visitor sees; why not, where there is none."""
    if view.capture is None:
        if current_request().is_busy:
            return None
        return welcome(worker)
    if (job := current_request().job) is not None and job.key == view.capture:
        return None
    try:
        return server().find_source(view.capture)
    except CaptureNotFoundError:
        _unknown(view.capture, worker)
    except StoreError as error:
        show_error(error)
    return None


def _introduced(source: Source, view: View) -> View:
    """Say what the reader should know before the picture; the view with its pins checked against the capture."""
    view, _ = checked(source, view)
    if view.capture is None and view.token is None and view.layer is None:
        layer, token = striking_cell(source.record, view.quantity) or (None, None)
        view = replace(view, token=token, layer=layer)
    first_visit(view)
    answer(address.here(), view)
    reference = reference_of(view)
    show_notices(tuple(filter(None, (current_request().notice, *changed_notices(source, reference), *view.problems))))
    captures_bar.remember(source)
    if view.capture is not None or reference is not None:
        captures_bar.show(source, reference)
    sidebar.show(source, view, counts=False)
    return view


def _unknown(capture: str, worker: ModelWorker) -> None:
    st.warning(
        f"This server holds no capture **{plain(capture)}**. It may have been made on another server, or been removed "
        "since. The same text, model and options give the same capture: run the text again, if you have it.",
        title="Capture not found",
        icon=":material/search_off:",
    )
    st.button("Show the example", on_click=_start_afresh, args=(worker,))


def _start_afresh(worker: ModelWorker) -> None:
    leave(worker)
    address.change(**address.NO_PINS | {"capture": None})


try:
    main()
except GatescopeError as error:
    show_error(error)
