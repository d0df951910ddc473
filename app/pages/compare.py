"""What changed between two captures: texts, weights or models, each by what may be compared."""

import streamlit as st

from gatescope.analysis.comparison.compare import Relation
from gatescope.app.charts.page import Page
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.compare.choice import choose, model_of, show_settling, steps_of
from gatescope.app.views.compare.models import show_models
from gatescope.app.views.compare.relation import related
from gatescope.app.views.compare.relation_figure import kind_words
from gatescope.app.views.compare.texts import show_texts
from gatescope.app.views.compare.weights import show_weights
from gatescope.routing.errors import GatescopeError
from gatescope.server.sources import Source

PAGE = {
    "title": "Compare",
    "icon": ":material/compare_arrows:",
    "help": "What changed between two texts, two sets of weights or two models, and how much of it is noise.",
    "order": 90,
    "group": "Compare",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("What changed between A and B?", wants="corpus")
    if page is None:
        return
    if page.reference is None:
        choose(page)
        show_settling(page, model=model_of(page.source.id) or page.view.model)
        return
    found = related(page.source, page.reference)
    _say(page, page.reference, found)
    if found.kind == "text":
        show_texts(page, page.reference)
    elif found.kind == "weights":
        show_weights(page, page.reference, found)
        _history(page, page.reference)
    else:
        show_models(page, page.reference, found)


def _say(page: Page, other: Source, found: Relation) -> None:
    """Which kind of comparison this is, what it can say, and what not."""
    told = kind_words(found, is_same_capture=page.source.id == other.id)
    with st.container(border=True):
        st.markdown(f"**{plain(told.title)}**  \n{plain(told.can)}  \n{plain(told.cannot)}")
        st.caption(plain(f"B: {other.name}"))


def _history(page: Page, other: Source) -> None:
    """The whole training, where A or B is a step of it."""
    model = model_of(page.source.id)
    if model and model == model_of(other.id) and {page.source.id, other.id} & set(steps_of(model)):
        show_settling(page, model=model)


try:
    main()
except GatescopeError as error:
    show_error(error)
