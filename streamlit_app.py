"""The dashboard's server: `streamlit run streamlit_app.py`. Safe headers, and the model loads from the start."""

import sys

import streamlit as st
from starlette.middleware import Middleware

from app.headers import SafeHeaders
from app.server import FRAME, lifespan
from app.settings import settings
from app.visitor import check_visitors
from routing.errors import OptionError

try:
    check_visitors(settings(), has_tokens=bool(st.get_option("server.enableXsrfProtection")))
except OptionError as error:
    sys.exit(f"Gatescope does not start: {error}")

streamlit_app = st.App(FRAME, middleware=[Middleware(SafeHeaders)], lifespan=lifespan)
