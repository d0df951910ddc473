"""What is popularly said of such models, checked on the one that is looked at."""

from typing import TYPE_CHECKING

import streamlit as st

from gatescope.analysis.labels.verdict import Verdict
from gatescope.app.charts.figure import Figure
from gatescope.app.shell import address
from gatescope.app.shell.figure import show
from gatescope.app.shell.navigation import find_pages
from gatescope.app.shell.session import server
from gatescope.app.views.model.claims_figure import claims, evidence
from gatescope.routing.errors import CaptureNotFoundError
from gatescope.server.server import corpus_of
from gatescope.server.sources import Source
from gatescope.server.view import View

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel
    from gatescope.routing.parameters import Parameters

QUESTION = "Common claims about MoE models, tested on this one"
QUICK_TOKENS = 5_000
"""Tokens up to which claims are checked without being asked for, where nothing was analysed before."""


def show_claims(view: View, model: "LoadedModel") -> None:
    """Draw every claim with its verdict, from a corpus that this model read."""

    def make() -> Figure | None:
        source = corpus_for(view, model)
        if source is not None and not _is_wanted(source):
            return None
        titles = {page.address: page.title for page in find_pages()}
        known = evidence(source, model.layers, _weights(model))
        return claims(source, known, view.model, lambda verdict: _why(verdict, source, titles))

    def begin() -> None:
        if corpus_for(view, model) is None:
            st.button("Study a corpus with this model", on_click=address.visit, args=("library",))

    show(QUESTION, make, below=begin)


def corpus_for(view: View, model: "LoadedModel") -> Source | None:
    """The corpus looked at, where this model read it, else the one that ships with the model; None without any.

    Routes that an intervention changed, or that were simulated, say nothing of the model.
    """
    fingerprint = model.provenance().fingerprint
    for id in filter(None, (view.capture, corpus_of(view.model))):
        try:
            source = server().find_source(id)
        except CaptureNotFoundError:
            continue
        made = source.record.provenance
        if source.kind == "corpus" and made.fingerprint == fingerprint and not (made.intervention or made.is_simulated):
            return source
    return None


def _is_wanted(source: Source) -> bool:
    """Whether to check now: at once where it is quick, else when the reader asks."""
    if source.analysis is not None or source.record.tokens <= QUICK_TOKENS:
        return True
    key = f"claims-of-{source.id}"
    if not st.session_state.get(key):
        st.subheader(QUESTION, anchor=False)
        st.button(f"Check it on {source.record.tokens:,} tokens", on_click=_want, args=(key,))
    return bool(st.session_state.get(key))


def _want(key: str) -> None:
    st.session_state[key] = True


def _weights(model: "LoadedModel") -> "Parameters":
    from gatescope.hooks.loading.weights_count import count_weights  # torch is imported by now: the model is loaded

    return count_weights(model)


def _why(verdict: Verdict, source: Source | None, titles: dict[str, str]) -> tuple[str, str] | None:
    """Address and name of the page that shows why; none where there is nothing to show."""
    if source is None or verdict.page not in titles or verdict.page == "model" or verdict.holds == "does not apply":
        return None
    by = "language" if verdict.name == "language" else "domain"
    parts = address.NO_PINS | {"capture": source.id, "facet": "own", "by": by}
    return address.link(verdict.page, **parts), titles[verdict.page]
