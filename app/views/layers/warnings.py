"""What to beware of in the texts that are counted."""

import streamlit as st

from gatescope.analysis.quality.data_warnings import RULES, DataWarning, lint
from gatescope.app.charts.page import Page
from gatescope.app.shell.messages import plain
from gatescope.server.measures import tally_of
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import TOKEN_ROLES, WHOLE, select_routes
from gatescope.studies.results import read_warnings

_WARNINGS = MemoCache()
"""What was found to beware of, by source and scope."""


def show_warnings(page: Page) -> None:
    """Known artefacts that these texts are prone to, folded away."""
    found = _WARNINGS.get((*page.source.key, page.scope), lambda: _looked_for(page))
    if not found:
        return
    with st.expander(
        f"{len(found)} thing{'s' * (len(found) != 1)} to watch out for in these texts", icon=":material/rule:"
    ):
        for each in found:
            st.markdown(f"**{plain(each.sentence)}** {plain(each.do)}")


def _looked_for(page: Page) -> tuple[DataWarning, ...]:
    """Of a whole study what was found when it was analysed; what its tables might mislead by is no matter of texts."""
    analysed = page.source.analysis if page.scope == WHOLE else None
    found = None if analysed is None else read_warnings(analysed)
    if found is not None:
        return tuple(each for each in found if each.rule not in RULES or "results" not in RULES[each.rule].needs)
    tally = tally_of(page.source, "relative_load", page.scope)
    return lint(tally, None, select_routes(page.source, page.scope), facets=TOKEN_ROLES[page.scope.facet])
