"""Two models: only what survives any renaming of their experts; what does not is refused, with the reason."""

from functools import partial

import streamlit as st

from gatescope.analysis.comparison.compare import Relation
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.views.compare.differences_figure import REFUSAL, SIGHTS
from gatescope.app.views.compare.models_figure import seen, shape, shared
from gatescope.server.sources import Source


def show_models(page: Page, other: Source, found: Relation) -> None:
    """The refusal first, then what can be said."""
    st.info(REFUSAL, icon=":material/block:")
    for place, sight in zip(st.columns(2, gap="large"), SIGHTS[:2], strict=True):
        with place:
            show(sight.question, partial(seen, page, other, sight))
    show(SIGHTS[2].question, lambda: seen(page, other, SIGHTS[2]))
    show("How unequal are the experts?", lambda: shape(page, other))

    def make() -> Figure:
        with st.spinner("Shuffling tokens within their documents", show_time=True):
            return shared(page, other, found)

    show("Do both models tell the same tokens apart?", make)
