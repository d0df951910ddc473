"""The frame around every page, run as the dashboard's script: the navigation, and the page that was asked for."""

from pathlib import Path

import streamlit as st

from app.navigation import find_pages
from app.sections import address

ICON = Path(__file__).parents[1] / "icon.svg"
"""A file, for Streamlit fetches the named icons of a browser tab from a font host."""

st.set_page_config(page_title="Gatescope", page_icon=str(ICON), layout="wide")
pages = [
    st.Page(page.path, title=page.title, icon=page.icon, help=page.help, default=number == 0)
    for number, page in enumerate(find_pages())
]
page = st.navigation(pages, position="top")
address.follow_to(page.url_path)
page.run()
