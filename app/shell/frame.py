"""The frame around every page, run as the dashboard's script: the navigation, and the page that was asked for."""

from itertools import groupby
from pathlib import Path

import streamlit as st

from gatescope.app.shell import address, search
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.page import look_at

ICON = Path(__file__).parents[1] / "icon.svg"
"""A file, for Streamlit fetches the named icons of a browser tab from a font host."""

LOGO = Path(__file__).parents[1] / "logo.svg"

SIDEBAR_PIXELS = 236

STYLE = Path(__file__).parents[1] / "frame.css"

st.set_page_config(page_title="Gatescope", page_icon=str(ICON), layout="wide", initial_sidebar_state=SIDEBAR_PIXELS)
st.html(STYLE)
files = find_pages()
pages = {
    group: [
        st.Page(page.path, title=page.title, icon=page.icon, help=page.help, default=page is files[0])
        for page in together
    ]
    for group, together in groupby(files, key=lambda page: page.group)
}
st.logo(str(LOGO), size="large", icon_image=str(ICON))
page = st.navigation(pages, position="sidebar", expanded=True)
address.move()
address.follow_to(page.url_path)
look_at(None)
search.show()
page.run()
