"""Asking for a capture: the text, its examples and options, Run and Cancel, and how far a pass is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from gatescope.app.charts.token_heatmap import striking_cell
from gatescope.app.components import draft
from gatescope.app.shell import address
from gatescope.app.shell.session import watcher
from gatescope.corpora.bundled import domains, languages
from gatescope.models.bundled_captures import WELCOME_TEXT
from gatescope.routing.errors import GatescopeError, explained
from gatescope.routing.record import Document
from gatescope.server.jobs import Job, Phase
from gatescope.server.model_worker import Hit, Tracer
from gatescope.server.settings import settings

if TYPE_CHECKING:
    from gatescope.hooks import CaptureOptions

BOX = "Your text"
POLL_SECONDS = 0.4
QUICK_SECONDS = 1.0
"""How long a page waits for a pass before it starts to show progress."""

NEAR = 0.8
"""Share of the limit from which on the count warns."""

_DOMAINS = ("code", "mathematics", "law", "poetry")
_LANGUAGES = {"de": "German", "ru": "Russian", "ar": "Arabic", "zh": "Chinese"}
"""The examples offered: as many as stand beside the text box."""


@dataclass
class Asked:
    """What this session is waiting for, and how the last request ended; `hit` came, but is not in the address yet."""

    job: Job[Hit] | None = None
    hit: Hit | None = None
    is_welcome: bool = False
    wanted: bool = False
    error: GatescopeError | None = None
    notice: str = ""

    @property
    def is_busy(self) -> bool:
        """Waiting for a pass; or the first one failed, and asking for it again would fail again."""
        return self.job is not None or self.wanted or (self.is_welcome and self.error is not None)


def asked() -> Asked:
    """This session's request."""
    request: Asked = st.session_state.setdefault("asked", Asked())
    return request


def ask(tracer: Tracer, linked: Document | None) -> None:
    """Draw the box with everything around it; a reader who follows a link finds the text of its capture in it."""
    st.session_state.setdefault("text", linked.text if linked else "")
    box, beside = st.columns([5, 2], gap="medium")
    with box:
        st.text_area(
            BOX,
            key="text",
            height=104,
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
                args=(tracer,),
            )
            with st.popover("Options", icon=":material/tune:"):
                _options(tracer)
            _model_choice(tracer)
            _count(tracer)
    with beside:
        st.pills(
            "Or try an example", list(_examples()), key="example", on_change=_take_example, args=(tracer,), wrap=True
        )


def run(tracer: Tracer) -> None:
    """Ask for a capture of the text in the box; what was asked before is left."""
    leave(tracer)
    request = asked()
    request.wanted = tracer.model is None
    if request.wanted:
        return
    try:
        found = tracer.request(st.session_state.get("text", ""), _chosen(tracer), watcher())
    except GatescopeError as error:
        request.error = error
        return
    if isinstance(found, Hit):
        request.hit = found
    else:
        request.job = found


def leave(tracer: Tracer) -> None:
    """Stop waiting; the pass ends when nobody else waits for it."""
    request = asked()
    if request.job is not None:
        tracer.queue.leave(request.job, watcher())
    st.session_state["asked"] = Asked()


def cancel(tracer: Tracer) -> None:
    """Stop waiting because the reader said so."""
    job = asked().job
    far = "" if job is None else _how_far(tracer, job)  # the queue knows the job's place until it is left
    leave(tracer)
    if job is not None:
        asked().notice = f"Cancelled. {far}."


def welcome(tracer: Tracer) -> Hit | None:
    """The capture a first visitor sees; asked for like any other, or recalled while the model is still loading."""
    if tracer.model is None:
        return tracer.recall(WELCOME_TEXT)
    from gatescope.hooks import CaptureOptions

    request = asked()
    try:
        found = tracer.request(WELCOME_TEXT, CaptureOptions(), watcher())
    except GatescopeError as error:
        request.error, request.is_welcome = error, True
        return None
    if isinstance(found, Hit):
        tracer.remember(WELCOME_TEXT, found.id)
        return found
    request.job, request.is_welcome = found, True
    return None


def follow(tracer: Tracer) -> None:
    """Wait a moment for a pass; show how far it is when it takes longer, and what came of it when it is over."""
    request = asked()
    if request.wanted and tracer.model is not None:
        run(tracer)
        request = asked()
    if request.job is not None and not request.job.wait(QUICK_SECONDS):
        _progress(tracer, request.job)
        return
    _settle(request)
    if request.hit is not None:
        arrive(request.hit)
        request.hit = None  # last: Streamlit may end a run at any call, and the next one then arrives


def arrive(hit: Hit) -> None:
    """Show a capture that has just been made or found, its most striking cell pinned."""
    view = address.current()
    layer, token = striking_cell(hit.record, view.quantity) or (None, None)
    asked().notice = hit.notice
    address.change(**address.NO_PINS | {"capture": hit.id, "layer": layer, "token": token})


def _settle(request: Asked) -> None:
    job, request.job = request.job, None
    if job is None:
        return
    if job.phase is Phase.FAILED and job.error is not None:
        request.error = explained(job.error)
    elif job.phase is Phase.CANCELLED:
        request.notice = "The pass was stopped."
    elif not request.is_welcome:
        request.hit = job.result
    request.is_welcome = request.is_welcome and request.error is not None


@st.fragment(run_every=POLL_SECONDS)
def _progress(tracer: Tracer, job: Job[Hit]) -> None:
    if job.is_over:
        st.rerun()
    done, total = job.progress
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(done / max(total, 1), text=_how_far(tracer, job))
        st.button("Cancel", icon=":material/stop:", on_click=cancel, args=(tracer,), key="cancel")


def _how_far(tracer: Tracer, job: Job[Hit]) -> str:
    """Where a pass is, in words: waiting, reading the prompt, or writing one token after another."""
    if before := tracer.queue.position(job):
        return f"Waiting, {before} before you"
    if tracer.model is None or not job.progress[1]:
        return "Starting"
    layers = len(tracer.model.layers)
    (step, layer), steps = divmod(max(job.progress[0] - 1, 0), layers), job.progress[1] // layers
    doing = f"Writing token {step} of {steps - 1}" if step else "Reading the text"
    return f"{doing}: layer {layer + 1} of {layers}"


@st.fragment
def _count(tracer: Tracer) -> None:
    """How long the text is for this model while it is typed, before it is too long."""
    with st.container(gap=None, width="content"):
        text = draft(BOX, text=st.session_state.get("text", ""), key="draft")
        _length(tracer, text)


def _length(tracer: Tracer, text: str) -> None:
    if tracer.model is None:
        st.caption("No model is loaded." if tracer.loading.is_over else "The model is still loading.")
        return
    most = settings().max_prompt_chars
    if len(text) > most:  # too long to be worth counting on every rerun
        st.caption(f":red[{len(text):,} of {most:,} characters: shorten it]")
        return
    tokens = tracer.count_tokens(text, chat=bool(st.session_state.get("chat")))
    limit = tracer.prompt_limit
    said = f"{tokens:,} of {limit:,} tokens"
    if tokens > limit:
        st.caption(f":red[{said}: shorten it by {tokens - limit:,}]")
    elif tokens > NEAR * limit:
        st.caption(f":orange[{said}: {limit - tokens:,} left]")
    else:
        st.caption(said)


def _options(tracer: Tracer) -> None:
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
    if tracer.model is not None and tracer.model.has_chat_template:
        st.toggle("Use the chat template", key="chat", help="Wraps the text as a user's turn.", persist_state="session")


def _chosen(tracer: Tracer) -> "CaptureOptions":
    """The options as the widgets say; a widget's limits hold in the browser only, so hooks and tracer check again."""
    from gatescope.hooks import CaptureOptions

    state = st.session_state
    return CaptureOptions(
        max_new_tokens=state.get("new_tokens") or 0,
        sample=bool(state.get("sample")),
        temperature=state.get("temperature") or 1.0,
        seed=state.get("seed") or 0,
        chat=bool(state.get("chat")) and tracer.model is not None and tracer.model.has_chat_template,
    )


def _model_choice(tracer: Tracer) -> None:
    offered = settings().offered
    if len(offered) == 1:
        return
    st.session_state["model"] = address.current().model
    st.selectbox(
        "Model", offered, key="model", label_visibility="collapsed", width=260, on_change=_take_model, args=(tracer,)
    )


def _take_model(left: Tracer) -> None:
    """Another model reads the same text, as soon as it is loaded."""
    leave(left)
    address.change(**address.NO_PINS | {"model": st.session_state["model"], "capture": None})
    asked().wanted = bool(st.session_state.get("text", "").strip())


def _take_example(tracer: Tracer) -> None:
    document = _examples().get(st.session_state["example"] or "")
    if document is not None:
        st.session_state["text"] = document.text
        run(tracer)


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
