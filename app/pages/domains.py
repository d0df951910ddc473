"""Whether a text's domain or language changes its routing, and whether that is more than its words."""

import streamlit as st

from gatescope.app.shell.figure import show
from gatescope.app.shell.layer_charts import has_tokens
from gatescope.app.shell.messages import show_error
from gatescope.app.shell.page import open_page
from gatescope.app.views.domains.by_group import choose_groups, show_if_computed
from gatescope.app.views.domains.decoding_figure import decoding, support
from gatescope.app.views.domains.divergence import show_apart, show_languages
from gatescope.app.views.domains.group_profile import show_profile
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.app.views.domains.mutual_information_figure import split, told
from gatescope.app.views.domains.specialization import show_usage_difference
from gatescope.app.views.domains.word_tables import split_table, support_table
from gatescope.routing.errors import GatescopeError

PAGE = {
    "title": "Domains",
    "icon": ":material/category:",
    "help": "Whether domain or language changes routing beyond the words, and which experts specialize in what.",
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
        show(f"Do experts differ between {PLURALS[groups.by]}?", lambda: told(groups))
    with right:
        show_if_computed(
            "And beyond the words themselves?",
            groups,
            split_table,
            split,
            meanwhile="Computing what the words alone explain",
            key="compute-split",
        )
    st.header(f"One {groups.by} at a time", divider="gray", anchor=False)
    show_profile(groups)
    st.header("Expert specialization", divider="gray", anchor=False)
    show_usage_difference(groups)
    st.header("How far apart", divider="gray", anchor=False)
    show_apart(groups)
    if groups.by == "language":
        show_languages(groups)
    st.header("Decoding the domain from routing", divider="gray", anchor=False)
    show(f"Can the {groups.by} of a document be told from its routing?", lambda: decoding(groups))
    show_if_computed(
        "What remains when every group uses the same words equally often?",
        groups,
        support_table,
        support,
        meanwhile="Giving every group the same words",
        key="compute-support",
    )


try:
    main()
except GatescopeError as error:
    show_error(error)
