"""What all sessions of this server share: the captures, and each model behind its queue."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from gatescope.cache.store import Store
from gatescope.models import BUNDLED_MODELS
from gatescope.models.box import WELCOME_TEXT, welcome
from gatescope.routing.errors import GatescopeError
from gatescope.server.memo_cache import MemoCache
from gatescope.server.model_worker import Hit, Shelf, Tracer
from gatescope.server.quota import STUDIES, Quota
from gatescope.server.settings import settings
from gatescope.server.sources import Kind, Source, read_shipped, read_study, shipped_ids
from gatescope.studies.manifest import clean_name

log = logging.getLogger(__name__)

FRAME = Path(__file__).parents[1] / "app" / "shell" / "frame.py"
"""The script every session runs. No folder called `pages` lies beside it: Streamlit would take that for its own."""

_sources = MemoCache()

MODELS_LOADED = 2
"""How many models are in memory at once; the one used longest ago makes room."""


@st.cache_resource(max_entries=1, show_spinner=False)
def shelf() -> Shelf:
    """The captures of this server. Errors: StoreError when their folder cannot be used."""
    room = quota()
    return Shelf(Store(room.folder, quota_bytes=room.most_bytes, beside=room.studies))


def quota() -> Quota:
    """What captures and studies may take together."""
    chosen = settings()
    return Quota(chosen.cache_dir, chosen.quota_bytes)


def studies() -> Path:
    """The folder of this server's studies, each in a folder named by its id."""
    return settings().cache_dir / STUDIES


def find_source(id: str) -> Source:
    """What an id stands for: what ships with a model, a study, or a captured text.

    Errors: CaptureNotFoundError, CaptureDamagedError, StoreError.
    """
    if "." in id:
        return _sources.get((id,), lambda: read_shipped(id))
    if (folder := studies() / id).is_dir():
        return _sources.get((id,), lambda: read_study(id, folder))
    return source_of(shelf().find(id))


def source_of(hit: Hit) -> Source:
    """A captured text, or an imported trace, as a source."""
    documents = hit.record.documents
    kind: Kind = "text" if len(documents) < 2 else "corpus"
    said = clean_name(documents[0].text) if len(documents) == 1 else ""
    name = said or f"{len(documents):,} document{'s' * (len(documents) != 1)}"
    return Source(id=hit.id, name=name, kind=kind, record=hit.record, notice=hit.notice)


def corpus_of(model: str) -> str | None:
    """The corpus that a page about many documents shows of a model before anything is chosen."""
    return next(iter(shipped_ids(model)), None)


@st.cache_resource(max_entries=MODELS_LOADED, show_spinner=False, on_release=Tracer.close)
def tracer(name: str) -> Tracer:
    """The model of that name, loaded once for everybody; returns at once, see `Tracer.loading`."""
    made = Tracer(name, settings=settings(), shelf=shelf(), is_present=_is_connected)
    if name in BUNDLED_MODELS and made.recall(WELCOME_TEXT) is None:
        _adopt_welcome(made, name)
    return made


def _adopt_welcome(made: Tracer, name: str) -> None:
    """Take in the capture that came with a bundled model; without it the first visitor waits for the model."""
    try:
        made.adopt(welcome(name))
    except GatescopeError as error:
        log.warning("%s", error)


def watcher() -> str:
    """The name under which this session watches a job."""
    context = get_script_run_ctx()
    return context.session_id if context else "no session"


def _is_connected(session: str) -> bool:
    """Whether a browser is connected to that session right now."""
    return not exists() or get_instance().is_active_session(session)


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Begin to load the model when the server starts, and end the passes under way when it stops."""
    try:
        tracer(settings().model)
    except GatescopeError as error:  # the page says it too, to whoever comes
        log.error("%s", error)
    yield
    tracer.clear()
