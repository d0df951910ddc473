"""Whether a text's domain or language changes its routing, and whether that is more than its words."""

import streamlit as st

from gatescope.app.shell.layer_charts import has_tokens
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.domains.by_group import choose_groups, show_split, show_told
from gatescope.app.views.domains.decoding import show_decoding, show_support
from gatescope.app.views.domains.divergence import show_apart, show_languages
from gatescope.app.views.domains.specialization import show_leaning
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Domains",
    "icon": ":material/category:",
    "help": "Whether domain or language changes routing beyond the words themselves, and which experts lean where.",
    "order": 60,
    "group": "Measure",
}


def main() -> None:
    """The page from top to bottom."""
    page = open_page("Does topic or language change routing, beyond the words themselves?", wants="corpus")
    if page is None or not has_tokens(page):
        return
    groups = choose_groups(page)
    if groups is None:
        return
    left, right = st.columns(2, gap="large")
    with left:
        show_told(groups)
    with right:
        show_split(groups)
    st.header("Which experts lean", divider="gray", anchor=False)
    show_leaning(groups)
    st.header("How far apart", divider="gray", anchor=False)
    show_apart(groups)
    if groups.by == "language":
        show_languages(groups)
    st.header("Told from the experts", divider="gray", anchor=False)
    show_decoding(groups)
    show_support(groups)


try:
    main()
except GatescopeError as error:
    show_error(error)
