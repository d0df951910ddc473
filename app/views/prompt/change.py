"""What a change of the text did: the text that was shown before beside the one that is, a step before Compare."""

from typing import NamedTuple

import streamlit as st

from gatescope.analysis.comparison.alignment import Alignment, align
from gatescope.analysis.comparison.changed_layers import Changed, changed_layers
from gatescope.app.components.links import linked
from gatescope.app.shell import address
from gatescope.app.shell.links import linker
from gatescope.app.shell.messages import plain, show_error
from gatescope.app.views.prompt.change_figure import change_html, change_sentence
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Source, document_of
from gatescope.server.view import View

_changes = MemoCache()


class _Both(NamedTuple):
    found: Alignment
    changed: Changed


def show_change(source: Source, reference: Source | None, view: View) -> None:
    """Draw what changed from capture B to capture A, where both are single texts of one model."""
    if reference is None or not _are_texts_of_one_model(source, reference):
        return
    before, after = document_of(reference, 0), document_of(source, view.document or 0)
    try:
        both = _changes.get((*source.key, *reference.key, "change"), lambda: _compared(before, after))
    except OptionError as error:
        show_error(error)
        return
    with st.container(border=True):
        st.markdown("**What did the change do to the routes?**")
        st.markdown(plain(change_sentence(after, both.found, both.changed)))
        to_token = linker("prompt")
        html = change_html(before, after, *both, href=lambda token: to_token(token=token))
        linked(html, key="change", on_follow=address.visit_link)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Compare them in full", on_click=address.visit, args=("compare",), icon=":material/compare:")
            st.caption(
                "Marked: other experts than before, with the number of layers. − gone, + new. A token is the same "
                "where both texts have it in one order, whatever stands before it."
            )


def _compared(before: RoutingRecord, after: RoutingRecord) -> _Both:
    found = align(before.token_t, after.token_t)
    return _Both(found, changed_layers(before, after, found))


def _are_texts_of_one_model(source: Source, other: Source) -> bool:
    one, two = source.record, other.record
    is_same = one.provenance.fingerprint == two.provenance.fingerprint and one.layers == two.layers
    return is_same and source.id != other.id and source.kind == other.kind == "text"
