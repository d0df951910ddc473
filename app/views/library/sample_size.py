"""Whether a corpus is large enough for what one wants to say of it."""

import streamlit as st

from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.shell import captures_bar
from gatescope.app.shell.figure import show
from gatescope.app.shell.page import checked
from gatescope.app.shell.session import server
from gatescope.app.views.library.sample_size_figure import QUESTION, sample_size
from gatescope.server.settings import settings
from gatescope.server.sources import shipped_ids, shipped_name
from gatescope.server.view import View


def show_enough(view: View) -> None:
    """Draw the panel for one capture."""
    offered = {
        id: shipped_name(id) for model in settings().offered for id in shipped_ids(model)[:1]
    } | captures_bar.seen()
    first = view.capture if view.capture in offered else next(iter(offered), None)
    if first is None:
        st.info("Nothing is captured yet.", icon=":material/search_off:")
        return
    if st.session_state.get("enough-of") not in offered:
        st.session_state["enough-of"] = first
    id = st.selectbox("Of", list(offered), key="enough-of", format_func=lambda id: offered[id], width=420)

    def make() -> Figure:
        source = server().find_source(id)
        here, scope = checked(source, view)
        return sample_size(source, scope, Page(view=here, source=source, reference=None, scope=scope).population)

    show(QUESTION, make)
