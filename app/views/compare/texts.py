"""The same model, two texts: tokens aligned by what stays, and what a changed context did to their routes."""

import streamlit as st

from gatescope.analysis.comparison.alignment import align
from gatescope.analysis.comparison.compare import near_ties, overlap
from gatescope.app.charts.page import Page
from gatescope.app.shell.figure import show
from gatescope.app.shell.session import server
from gatescope.app.views.compare.alignment_figure import Aligned, aligned
from gatescope.app.views.compare.pair import SHARES, show_pair
from gatescope.app.views.compare.relation import note_pair
from gatescope.app.views.compare.texts_figure import ALIGN, alignment, diff, stay
from gatescope.routing.errors import OptionError
from gatescope.server.memo_cache import MemoCache
from gatescope.server.server import corpus_of
from gatescope.server.sources import Scope, Source, document_of

_pairs = MemoCache()
TAKE = "first, second = first.take(found.first_n), second.take(found.second_n)"


def show_texts(page: Page, other: Source) -> None:
    """Both texts as one, then what their common tokens' routes have in common."""
    numbers = page.view.document or 0, _other_document(page, other)
    first, second = document_of(page.source, numbers[0]), document_of(other, numbers[1])

    def stand_together() -> Aligned:
        found = alignment(page.source, other, numbers)
        if not len(found.first_n):
            raise OptionError("two texts without a token in common", expected="some", do="compare with a variant of A")
        code, scope = f"{ALIGN}\n{TAKE}\n{SHARES}", Scope(documents=numbers[:1])
        note_pair(page.source, scope, other, code, align, overlap, near_ties, document=numbers[1])
        key = (*page.source.key, numbers[0], *other.key, numbers[1])
        return _pairs.get(key, lambda: aligned(first, second, found.first_n, found.second_n))

    if show("What changed in the text?", lambda: diff(page, other, numbers)) is not None:
        show("Do the tokens that stay keep their experts?", lambda: stay(page, other, numbers, _corpus(page)))
        show_pair(page, stand_together, number=numbers[0], documents=(first, second))


def _corpus(page: Page) -> Source | None:
    """The model's probe set, where these very weights have read it."""
    if (id := corpus_of(page.view.model)) is None:
        return None
    source = server().find_source(id)
    is_same = source.record.provenance.fingerprint == page.source.record.provenance.fingerprint
    return source if is_same else None


def _other_document(page: Page, other: Source) -> int:
    """Which document of B is read; of the same capture, another one than A's."""
    documents = len(other.record.documents)
    if documents == 1:
        return 0
    mine = page.view.document or 0
    default = (mine + 1) % documents if other.id == page.source.id else min(mine, documents - 1)
    chosen = st.number_input(
        f"Document of B, 0 to {documents - 1:,}",
        0,
        documents - 1,
        value=default,
        key=f"compare-d-{other.id}",
        width=200,
    )
    return int(chosen)
