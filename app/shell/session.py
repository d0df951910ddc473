"""The server of this process, and who is looking at a page: what Streamlit knows of a session."""

from pathlib import Path

import streamlit as st
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from gatescope.server.library import Library
from gatescope.server.server import Server
from gatescope.server.settings import settings
from gatescope.server.visitor import COOKIE, visitor_key

FRAME = Path(__file__).parent / "frame.py"
"""The script every session runs. No folder called `pages` lies beside it: Streamlit would take that for its own."""


@st.cache_resource(max_entries=1, show_spinner=False, on_release=Server.close)
def server() -> Server:
    """What all sessions share."""
    return Server(settings(), is_present=_is_connected)


def library() -> Library:
    """What the server holds, line by line."""
    return Library(server())


def watcher() -> str:
    """The name under which this session watches a job."""
    context = get_script_run_ctx()
    return context.session_id if context else "no session"


def visitor() -> str:
    """The key of who is looking at this page. Errors: StoreError."""
    cookie = st.context.cookies.get(COOKIE)
    return visitor_key(settings(), cookie if isinstance(cookie, str) else "", session=watcher())


def _is_connected(session: str) -> bool:
    """Whether a browser is connected to that session right now."""
    return not exists() or get_instance().is_active_session(session)
