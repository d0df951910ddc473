"""The dashboard's server: `streamlit run streamlit_app.py`. Safe headers, and the model loads from the start."""

import streamlit as st
from starlette.middleware import Middleware

from app.headers import SafeHeaders
from app.server import FRAME, lifespan

streamlit_app = st.App(FRAME, middleware=[Middleware(SafeHeaders)], lifespan=lifespan)
