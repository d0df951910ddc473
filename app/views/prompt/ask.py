"""Asking for a capture: the text, its examples and options, Run and Cancel, and how far a pass is."""

from typing import TYPE_CHECKING

import streamlit as st

from gatescope.app.components import read_live_text
from gatescope.app.shell import address
from gatescope.app.shell.model_choice import choose_model
from gatescope.app.shell.session import watcher
from gatescope.app.views.prompt.live import LIVE_SECONDS, show_live, written_so_far
from gatescope.corpora.bundled import domains, languages
from gatescope.drawing.token_heatmap import striking_cell
from gatescope.models.bundled_captures import WELCOME_TEXT
from gatescope.routing.record import Document
from gatescope.server.capture_request import CaptureRequest
from gatescope.server.capture_work import CaptureWork
from gatescope.server.jobs import Job
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import settings
from gatescope.server.sources import Source
from gatescope.server.view import View

if TYPE_CHECKING:
    from gatescope.hooks import CaptureOptions

BOX = "Your text"
BESIDE = "beside"
"""Where a session keeps the id of the capture that its next one is compared with."""
POLL_SECONDS = 0.4
QUICK_SECONDS = 1.0
"""How long a page waits for a pass before it starts to show progress."""

NEAR = 0.8
"""Share of the limit from which on the count warns."""

_DOMAINS = ("code", "mathematics", "law", "poetry")
_LANGUAGES = {"de": "German", "ru": "Russian", "ar": "Arabic", "zh": "Chinese"}
"""The examples offered: as many as stand beside the text box."""


def current_request() -> CaptureRequest:
    """This session's request."""
    request: CaptureRequest = st.session_state.setdefault("request", CaptureRequest(watcher()))
    return request


def ask(worker: ModelWorker, linked: Document | None) -> None:
    """Draw the box with everything around it; a reader who follows a link finds the text of its capture in it."""
    st.session_state.setdefault("text", linked.text if linked else "")
    box, beside = st.columns([5, 2], gap="medium")
    with box:
        st.text_area(
            BOX,
            key="text",
            height=68,
            placeholder="Type or paste a text …",
            persist_state="session",
            help="It is read by the model on this server and goes nowhere else.",
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Run",
                type="primary",
                icon=":material/play_arrow:",
                shortcut="ctrl+enter",
                on_click=run,
                args=(worker,),
            )
            shown = _shown(worker)
            if shown is not None:
                st.button(
                    "Run and compare",
                    icon=":material/compare:",
                    on_click=run_beside,
                    args=(worker, shown),
                    help="Change a word and see which tokens go to other experts than in the text that is shown.",
                )
            with st.popover("Options", icon=":material/tune:"):
                _options(worker)
            choose_model(worker, _take_model)
            _count(worker)
    with beside:
        st.pills(
            "Or try an example", list(_examples()), key="example", on_change=_take_example, args=(worker,), wrap=True
        )


def rejoin(worker: ModelWorker, view: View) -> View:
    """Wait for the pass that the address names, with its text in the box: a page loaded anew goes on with it.

    The address of a pass that was cancelled is left: a browser that asked just before it knew may bring it back.
    """
    request = current_request()
    if view.capture is None:
        return view
    if view.capture == request.cancelled:
        address.change(capture=None)
        return address.current()
    if (text := request.rejoin(worker, view.capture)) is not None:
        st.session_state["text"] = text
    return view


def run(worker: ModelWorker) -> None:
    """Ask for a capture of the text in the box; what was asked before is left."""
    st.session_state.pop(BESIDE, None)
    current_request().submit(worker, st.session_state.get("text", ""), lambda: _chosen(worker))


def run_beside(worker: ModelWorker, shown: str | None) -> None:
    """Ask for a capture of the text in the box, to be compared with the capture that is shown."""
    run(worker)
    st.session_state[BESIDE] = shown


def _shown(worker: ModelWorker) -> str | None:
    """The id of the text that is shown, the example's where nothing was asked for; None while the box is empty."""
    if not st.session_state.get("text", "").strip():
        return None
    if (capture := address.current().capture) is not None:
        return capture
    found = worker.recall(WELCOME_TEXT)
    return None if found is None else found.id


def leave(worker: ModelWorker) -> None:
    """Stop waiting; the pass ends when nobody else waits for it."""
    current_request().leave(worker)


def cancel(worker: ModelWorker) -> None:
    """Stop waiting because the reader said so."""
    request = current_request()
    job = request.job
    far = "" if job is None else _how_far(worker, job)  # the queue knows the job's place until it is left
    request.leave(worker)
    if job is not None:
        request.notice, request.cancelled = f"Cancelled. {far}.", job.key
        if address.current().capture == job.key:
            address.change(capture=None)


def welcome(worker: ModelWorker) -> Source | None:
    """The capture a first visitor sees, once its pass has ended where one is needed."""
    request = current_request()
    found = request.submit_welcome(worker)
    if found is None:
        follow(worker)
        found = None if request.is_busy else request.submit_welcome(worker)
    return found


def follow(worker: ModelWorker) -> None:
    """Wait a moment for a pass; show how far it is when it takes longer, and what came of it when it is over."""
    request = current_request()
    request.resume(worker, st.session_state.get("text", ""), lambda: _chosen(worker))
    if not request.settle(QUICK_SECONDS):
        if request.job is not None:
            if not request.is_welcome and address.current().capture != request.job.key:
                address.change(**address.NO_PINS | {"capture": request.job.key})  # so that a reload finds it again
            poll = LIVE_SECONDS if _is_generating(request.job) else POLL_SECONDS
            st.fragment(_progress, run_every=poll)(worker, request.job)
        return
    if request.arrived is not None:
        _arrive(request, request.arrived)
        request.arrived = None  # last: Streamlit may end a run at any call, and the next one then arrives


def _arrive(request: CaptureRequest, source: Source) -> None:
    """Show a capture that has just been made or found, its most striking cell pinned."""
    view = address.current()
    layer, token = striking_cell(source.record, view.quantity) or (None, None)
    request.notice = source.notice
    parts = address.NO_PINS | {"capture": source.id, "layer": layer, "token": token}
    if (before := st.session_state.pop(BESIDE, None)) is not None:
        parts |= {"reference": before if before != source.id else None}
        if before == source.id:
            request.notice = f"{request.notice} The text is the one that was shown: change a word first.".strip()
    address.change(**parts)


def is_reading() -> bool:
    """Whether a pass is waited for of which nothing is seen before its end."""
    job = current_request().job
    return job is not None and not _is_generating(job)


def _is_generating(job: Job[Source]) -> bool:
    return isinstance(job.work, CaptureWork) and job.work.is_generating


def _progress(worker: ModelWorker, job: Job[Source]) -> None:
    if job.is_over:
        st.rerun()
    done, total = job.progress
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(done / max(total, 1), text=_how_far(worker, job))
        st.button("Cancel", icon=":material/stop:", on_click=cancel, args=(worker,), key="cancel")
    if (work := written_so_far(job)) is not None:
        show_live(work, key=f"live-{job.key}")


def _how_far(worker: ModelWorker, job: Job[Source]) -> str:
    """Where a pass is, in words: waiting, reading the prompt, or writing one token after another."""
    if before := worker.queue.position(job):
        return f"Waiting, {before} before you"
    if worker.model is None or not job.progress[1]:
        return "Starting"
    layers = len(worker.model.layers)
    (step, layer), steps = divmod(max(job.progress[0] - 1, 0), layers), job.progress[1] // layers
    doing = f"Writing token {step} of {steps - 1}" if step else "Reading the text"
    return f"{doing}: layer {layer + 1} of {layers}"


@st.fragment
def _count(worker: ModelWorker) -> None:
    """How long the text is for this model while it is typed, before it is too long."""
    with st.container(gap=None, width="content"):
        text = read_live_text(BOX, text=st.session_state.get("text", ""), key="draft")
        _length(worker, text)


def _length(worker: ModelWorker, text: str) -> None:
    if worker.model is None:
        st.caption("No model is loaded." if worker.loading.is_over else "The model is still loading.")
        return
    most = settings().max_prompt_chars
    if len(text) > most:  # too long to be worth counting on every rerun
        st.caption(f":red[{len(text):,} of {most:,} characters: shorten it]")
        return
    tokens = worker.count_tokens(text, chat=bool(st.session_state.get("chat")))
    limit = worker.prompt_limit
    sentence = f"{tokens:,} of {limit:,} tokens"
    if tokens > limit:
        st.caption(f":red[{sentence}: shorten it by {tokens - limit:,}]")
    elif tokens > NEAR * limit:
        st.caption(f":orange[{sentence}: {limit - tokens:,} left]")
    else:
        st.caption(sentence)


def _options(worker: ModelWorker) -> None:
    most = settings().max_new_tokens
    new = st.number_input(
        "Tokens to generate", 0, most, 0, key="new_tokens", help=f"0 to {most}.", persist_state="session"
    )
    is_sampled = st.toggle(
        "Sample at random", key="sample", disabled=not new, help="Off: the likeliest.", persist_state="session"
    )
    off = not (new and is_sampled)
    st.number_input("Temperature", 0.1, 5.0, 1.0, 0.1, key="temperature", disabled=off, persist_state="session")
    st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", disabled=off, persist_state="session")
    if worker.model is not None and worker.model.has_chat_template:
        st.toggle("Use the chat template", key="chat", help="Wraps the text as a user's turn.", persist_state="session")


def _chosen(worker: ModelWorker) -> "CaptureOptions":
    """The options as the widgets say; a widget's limits hold in the browser only, so hooks and worker check again."""
    from gatescope.hooks import CaptureOptions

    state = st.session_state
    return CaptureOptions(
        max_new_tokens=state.get("new_tokens") or 0,
        sample=bool(state.get("sample")),
        temperature=state.get("temperature") or 1.0,
        seed=state.get("seed") or 0,
        chat=bool(state.get("chat")) and worker.model is not None and worker.model.has_chat_template,
    )


def _take_model(left: ModelWorker) -> None:
    """Another model reads the same text, as soon as it is loaded."""
    leave(left)
    address.change(**address.NO_PINS | {"model": st.session_state["model"], "capture": None})
    current_request().is_wanted = bool(st.session_state.get("text", "").strip())


def _take_example(worker: ModelWorker) -> None:
    document = _examples().get(st.session_state["example"] or "")
    if document is not None:
        st.session_state["text"] = document.text
        run(worker)


@st.cache_resource(max_entries=1, show_spinner=False)
def _examples() -> dict[str, Document]:
    """A few words, a text of some domains, and a passage in some languages; by the name on its button."""
    found = {"A few words": Document(WELCOME_TEXT)}
    for document in domains():
        if document.domain in _DOMAINS:
            found.setdefault(document.domain.capitalize(), document)
    for document in languages():
        if document.language in _LANGUAGES:
            found.setdefault(_LANGUAGES[document.language], document)
    return found
