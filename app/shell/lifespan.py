"""What happens while the server lives: what a first page needs is read before anybody comes, the model loads."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st

from gatescope.app.shell import tour
from gatescope.app.shell.session import server
from gatescope.routing.errors import GatescopeError
from gatescope.server.settings import settings

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Answer the tour's questions and begin to load the model; in the end, stop what is under way."""
    for begin in (lambda: tour.stops(tour.toured(settings().model)), lambda: server().worker(settings().model)):
        try:
            begin()
        except GatescopeError as error:  # the page says it too, to whoever comes
            log.error("%s", error)
    yield
    server.clear()
