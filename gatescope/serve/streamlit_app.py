"""The dashboard's server: `streamlit run streamlit_app.py`. Judged requests, safe headers, models that load at once."""

import sys

import streamlit as st
from starlette.middleware import Middleware

from gatescope.app.shell.headers import SafeHeaders
from gatescope.app.shell.lifespan import lifespan
from gatescope.app.shell.navigation import first_page_route
from gatescope.app.shell.request_guard import RequestGuard, ask_nobody_outside
from gatescope.app.shell.session import FRAME
from gatescope.routing.errors import OptionError
from gatescope.server.settings import settings
from gatescope.server.visitor import check_visitors

ask_nobody_outside()
try:
    check_visitors(settings(), has_tokens=bool(st.get_option("server.enableXsrfProtection")))
except OptionError as error:
    sys.exit(f"Gatescope does not start: {error}")

streamlit_app = st.App(
    FRAME,
    middleware=[Middleware(SafeHeaders), Middleware(RequestGuard)],
    routes=[first_page_route(str(st.get_option("server.baseUrlPath")))],
    lifespan=lifespan,
)
