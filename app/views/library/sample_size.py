"""Whether a corpus is large enough for what one wants to say of it."""

import streamlit as st

from gatescope.analysis.quality.sample_size import Enough, enough
from gatescope.analysis.registry import Ask
from gatescope.app.shell import sidebar as aside
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.messages import plain
from gatescope.app.shell.page import Page, checked
from gatescope.app.shell.session import server
from gatescope.app.views.library.sample_size_figure import (
    QUESTION,
    effect_sentence,
    enough_frame,
    enough_plot,
    enough_words,
    reliability_sentence,
)
from gatescope.routing.groups import layer_names
from gatescope.server.measures import Reading, note, tally_of
from gatescope.server.memo_cache import MemoCache
from gatescope.server.settings import settings
from gatescope.server.snippet import facet_names
from gatescope.server.sources import FACETS, Scope, Source, shipped_ids, shipped_name
from gatescope.server.view import View

METRIC = "relative_load"
_found = MemoCache()


def show_enough(view: View) -> None:
    """Draw the panel for one capture."""
    offered = {id: shipped_name(id) for model in settings().offered for id in shipped_ids(model)[:1]} | aside.seen()
    first = view.capture if view.capture in offered else next(iter(offered), None)
    if first is None:
        st.info("Nothing is captured yet.", icon=":material/search_off:")
        return
    if st.session_state.get("enough-of") not in offered:
        st.session_state["enough-of"] = first
    id = st.selectbox("Of", list(offered), key="enough-of", format_func=lambda id: offered[id], width=420)
    with answering(QUESTION):
        source = server().find_source(id)
        view, scope = checked(source, view)
        _panel(source, scope, Page(view=view, source=source, reference=None, scope=scope).population)


def _panel(source: Source, scope: Scope, population: str) -> None:
    found = _enough(source, scope)
    words = enough_words(found, population=population)
    layers = layer_names(source.record.layers)
    with figure(words, key="enough", of=source, frame=lambda: enough_frame(found, layers), is_chart=True):
        chart(enough_plot(found, layers), words, key="enough-chart")
        st.markdown(plain(f"{effect_sentence(found)} {reliability_sentence(found)}"))


def _enough(source: Source, scope: Scope) -> Enough:
    code = f"found = enough(counts, Ask(facets=({facet_names(scope)},)))"
    imports = (
        "from gatescope.analysis.quality.sample_size import enough",
        "from gatescope.analysis.registry import Ask",
        "from gatescope.analysis.tally.tally import Facet",
    )
    note(Reading(source=source, scope=scope, code=code, imports=imports))
    return _found.get(
        (*source.key, scope),
        lambda: enough(tally_of(source, METRIC, scope), Ask(facets=FACETS[scope.facet])),
    )
