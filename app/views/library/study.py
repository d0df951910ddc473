"""The form of a study: which model reads which documents, what is recorded, what it will take, and Start."""

from functools import cache

import streamlit as st

from gatescope.app.shell.loading import follow_loading
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.session import library, server, watcher
from gatescope.app.views.library.studies import begun, duration, say_later
from gatescope.app.views.library.uploading import documents_uploaded
from gatescope.cache.keys import server_secret
from gatescope.corpora import probe
from gatescope.routing.errors import GatescopeError, ModelError, QueueFullError, explained
from gatescope.routing.record import Document
from gatescope.server.jobs import Job, Phase
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import settings
from gatescope.server.study_blocks import plan_for
from gatescope.server.study_request import Estimate, Request, estimated, order_for, part_of, refusal, study_id
from gatescope.server.upload import Texts
from gatescope.server.view import View
from gatescope.studies.estimate import Length, Speed, length_of, speed_of
from gatescope.studies.manifest import MOST_NAMED, RECORDS, read_manifest

SOURCES = {"probe": "The bundled probe set", "upload": "Your own files"}
LONG = {"split": "split at spaces into parts", "skip": "left out, and named"}
THERE = {
    "ready": "This study is done already.",
    "waiting": "This study waits for its turn.",
    "running": "This study is under way.",
    "stopped": "This study was begun before and resumes where it stopped.",
    "failed": "This study was begun before and failed.",
}
POLL_SECONDS = 0.7
QUICK_SECONDS = 1.0

_speeds: dict[tuple[str, ...], Speed] = {}
"""How fast a model is and how large its routes become, by its weights, what they run on and what is recorded."""


def show_form(view: View, visitor: str) -> None:
    """Draw the form."""
    offered = settings().offered
    st.session_state.setdefault("study-model", view.model)
    st.subheader("Study a corpus", anchor=False)
    with st.container(horizontal=True):
        st.selectbox("Model", offered, key="study-model", persist_state="session", width=300)
        st.segmented_control(
            "Documents",
            list(SOURCES),
            format_func=lambda name: SOURCES[name],
            default="probe",
            required=True,
            key="study-source",
            persist_state="session",
        )
    texts = documents_uploaded() if st.session_state["study-source"] == "upload" else _probe_part()
    if texts is None:
        return
    _recording()
    worker = server().worker(st.session_state["study-model"])
    follow_loading(worker)
    if worker.model is not None and texts.documents:
        _decide(worker, texts, visitor)
    elif not texts.documents:
        st.info("No document is chosen.", icon=":material/search_off:")


def _probe_part() -> Texts:
    """Some of the probe set; the name of the study says which."""
    texts = _probe()
    with st.container(horizontal=True):
        domains = st.multiselect(
            "Domains", sorted({each.domain for each in texts}), key="study-domains", placeholder="all", width=380
        )
        languages = st.multiselect(
            "Languages", sorted({each.language for each in texts}), key="study-languages", placeholder="all", width=300
        )
        each = st.number_input("Maximum per group (0: no limit)", 0, 1000, 0, key="study-each", width=180)
    documents = part_of(texts, domains=domains, languages=languages, each=each or 0)
    sentence = ", ".join((*domains, *languages)) or "all"
    _name(f"Probe set: {sentence}" + (f", {each} of each" if each else ""), about=(*domains, *languages, each))
    return Texts(documents)


@cache
def _probe() -> tuple[Document, ...]:
    return tuple(probe())


def _name(suggested: str, *, about: object) -> None:
    """Suggest a name for the study, anew when its documents are others."""
    if st.session_state.get("study-named-for") != about:
        st.session_state["study-named-for"] = about
        st.session_state["study-name"] = suggested[:MOST_NAMED]


def _recording() -> None:
    """What is recorded, what becomes of long texts, and the study's name."""
    with st.container(horizontal=True):
        st.text_input("Name of the study", key="study-name", max_chars=MOST_NAMED, width=380)
        st.selectbox(
            "Record of every token",
            list(RECORDS),
            index=1,
            format_func=lambda name: RECORDS[name],
            key="study-record",
            width=280,
            help="All scores take several times the room; experts alone rule out everything about weights and margins.",
        )
        st.selectbox(
            "A text longer than the model takes is",
            list(LONG),
            format_func=lambda name: LONG[name],
            key="study-long",
            width=280,
        )


def _decide(worker: ModelWorker, texts: Texts, visitor: str) -> None:
    """What it will take, and Start; or why not."""
    request = Request(
        name=st.session_state["study-name"],
        model=worker.name,
        documents=texts.documents,
        record=st.session_state["study-record"],
        long=st.session_state["study-long"],
        owner=visitor,
    )
    speed = _speed(worker, request)
    if worker.model is None:
        return
    length = length_of(worker.model, texts.documents)
    estimate = estimated(texts.documents, length, speed if isinstance(speed, Speed) else None)
    st.markdown(plain(estimate_sentence(estimate, texts.twice, request.long)))
    if isinstance(speed, Job):
        _measuring(speed)
    refused = refusal(estimate, settings(), room=server().quota.room())
    if refused is not None:
        show_error(refused)
    there = _state_of(request, worker)
    st.button(
        "Start the study",
        type="primary",
        icon=":material/play_arrow:",
        key="study-start",
        disabled=refused is not None or there in ("ready", "waiting", "running"),
        on_click=_start,
        args=(worker, request, estimate),
    )
    if there:
        st.caption(f"{THERE[there]} It is shown above, and in the list of captures.")


def _state_of(request: Request, worker: ModelWorker) -> str:
    """How this very study stands, if it was begun before."""
    if worker.model is None:
        return ""
    id = study_id(request, worker.model, secret=server_secret(settings().workspace))
    order = read_manifest(server().studies_folder / id)
    return "" if order is None else library().state_of(id, order)


def estimate_sentence(estimate: Estimate, twice: int, long: str) -> str:
    """What a study takes, in a sentence or three."""
    length: Length = estimate.length
    off = f" (± {length.off:,})" if length.off else ""
    about = "about " if length.off else ""
    sentence = f"{estimate.documents:,} documents, {about}{length.tokens:,} tokens{off}"
    if estimate.seconds is not None and estimate.size_bytes is not None:
        sentence += f"; about {duration(estimate.seconds)} to capture them, as measured on a few of these texts"
        sentence += " (the model is loaded already), then the metrics"
        sentence += f"; about {estimate.size_bytes / 1e6:,.0f} MB on the disk"
    sentence += "."
    if length.too_long:
        are = "is" if length.too_long == 1 else "are"
        sentence += f" {length.too_long:,} {are} probably longer than the model takes, and will be {LONG[long]}."
    if twice:
        are = "text was" if twice == 1 else "texts were"
        sentence += f" {twice:,} {are} there before: a text that is there twice counts twice."
    return sentence


def _speed(worker: ModelWorker, request: Request) -> Speed | Job[Speed] | None:
    """The model's speed, or the short pass that measures it; None where the queue is full or the pass failed."""
    model = worker.model
    if model is None:
        return None
    key = (model.fingerprint, model.device, model.dtype, request.record)
    if key in _speeds:
        return _speeds[key]
    try:
        job: Job[Speed] = worker.queue.submit(
            f"speed {key}", lambda _tick: _measured(key, worker, request), watcher=watcher()
        )
    except QueueFullError:
        return None
    if not job.wait(QUICK_SECONDS):
        return job
    if job.phase is Phase.FAILED and job.error is not None:
        show_error(explained(job.error))
    return job.result


def _measured(key: tuple[str, ...], worker: ModelWorker, request: Request) -> Speed:
    """The short pass, in the model's queue; its answer is kept for everybody."""
    if worker.model is None:
        raise ModelError(f"{worker.name} is not loaded", expected="a loaded model", do="wait until it is")
    _speeds[key] = speed_of(worker.model, request.documents, plan_for(request.record, request.long))
    return _speeds[key]


@st.fragment(run_every=POLL_SECONDS)
def _measuring(job: Job[Speed]) -> None:
    """Say that the speed is being measured, until it is."""
    if job.is_over:
        st.rerun()
    st.caption("Measuring how fast the model reads a few of these texts …")


def _start(worker: ModelWorker, request: Request, estimate: Estimate) -> None:
    """Begin a study. One that is there already is shown."""
    model = worker.model
    if model is None:
        return
    secret = server_secret(settings().workspace)
    try:
        id = study_id(request, model, secret=secret)
        begun().add(id)
        server().studies.begin(order_for(request, estimate, model, secret=secret), request.documents)
        st.toast("Study started. Progress is shown above.", icon=":material/play_arrow:")
    except GatescopeError as error:
        say_later(error)
