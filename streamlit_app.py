"""The dashboard: `streamlit run streamlit_app.py`. Finds the pages and shows the one that was asked for."""

from pathlib import Path

import streamlit as st

from app.navigation import find_pages

ICON = Path(__file__).parent / "app" / "icon.svg"  # a file: Streamlit fetches named icons for the tab from a font host

st.set_page_config(page_title="Gatescope", page_icon=str(ICON), layout="wide")
pages = [
    st.Page(page.path, title=page.title, icon=page.icon, help=page.help, default=first == 0)
    for first, page in enumerate(find_pages())
]
st.navigation(pages, position="top").run()
