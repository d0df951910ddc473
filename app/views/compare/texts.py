"""The same model, two texts: tokens aligned by what stays, and what a changed context did to their routes."""

from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gatescope.analysis.comparison.alignment import Alignment, align
from gatescope.analysis.comparison.compare import near_ties, overlap
from gatescope.analysis.comparison.elsewhere import Elsewhere, same_word_elsewhere
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.page import Page
from gatescope.app.shell.session import server
from gatescope.app.views.compare.alignment_figure import aligned
from gatescope.app.views.compare.pair import SHARES, show_pair
from gatescope.app.views.compare.relation import note_pair
from gatescope.app.views.compare.relation_figure import (
    Line,
    diff_frame,
    diff_html,
    diff_words,
    overlap_frame,
    overlap_plot,
    overlap_words,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import measure
from gatescope.server.memo_cache import MemoCache
from gatescope.server.server import corpus_of
from gatescope.server.sources import Scope, Source, document_of, facet_mask

_alignments = MemoCache()

ALIGN = "found = align(first.token_t, second.token_t)"
TAKE = "first, second = first.take(found.first_n), second.take(found.second_n)"
STAY = """rows_n = is_counted_t[found.first_n]
one, two = first.take(found.first_n[rows_n]), second.take(found.second_n[rows_n])
share_l = overlap(one, two).astype(np.float64).mean(axis=0)"""
ELSEWHERE = "elsewhere = same_word_elsewhere(first, second, found)"
"""Python of each figure's numbers, of one document of A and one of B."""


def show_texts(page: Page, other: Source) -> None:
    """Both texts as one, then what their common tokens' routes have in common."""
    numbers = page.view.document or 0, _other_document(page, other)
    first, second = document_of(page.source, numbers[0]), document_of(other, numbers[1])
    scope = Scope(documents=(numbers[0],))
    with answering("What changed in the text?"):
        key = (*page.source.key, numbers[0], *other.key, numbers[1])
        found = _alignments.get(key, lambda: align(first.token_t, second.token_t))
        words = diff_words(found, f"A: {first.tokens:,} tokens; B: {second.tokens:,}")
        note_pair(page.source, scope, other, ALIGN, align, document=numbers[1])
        with figure(words, key="diff", frame=lambda: diff_frame(found)):
            st.html(diff_html(first, second, found))
        with answering("Do the tokens that stay keep their experts?"):
            _overlap(page, other, numbers, first, second, found, key)
        with answering("Which tokens went elsewhere?"):
            if not len(found.first_n):
                raise OptionError(
                    "two texts without a token in common", expected="some", do="compare with a variant of A"
                )
            pair = _alignments.get((*key, "pair"), lambda: aligned(first, second, found.first_n, found.second_n))
            code = f"{ALIGN}\n{TAKE}\n{SHARES}"
            note_pair(page.source, scope, other, code, align, overlap, near_ties, document=numbers[1])
            show_pair(page, pair, number=numbers[0], documents=(first, second))


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


def _overlap(
    page: Page,
    other: Source,
    numbers: tuple[int, int],
    first: RoutingRecord,
    second: RoutingRecord,
    found: Alignment,
    about: tuple[Any, ...],
) -> None:
    """Overlap of the tokens that stay, over what the same words share in other contexts."""
    rows_n = _counting(page, first, found)
    if not rows_n.any():
        raise OptionError("no token that counts and that both texts have", expected="some", do="let more tokens count")
    one, two = first.take(found.first_n[rows_n]), second.take(found.second_n[rows_n])
    share_l = overlap(one, two).astype(np.float64).mean(axis=0)
    scope = Scope(facet=page.scope.facet, documents=numbers[:1], span=page.view.span)
    note_pair(page.source, scope, other, f"{ALIGN}\n{STAY}", align, overlap, document=numbers[1])
    null_l, how, is_here = _baseline(page, first, second, found, about)
    if is_here:
        note_pair(page.source, scope, other, ELSEWHERE, same_word_elsewhere, document=numbers[1])
    line = Line(tuple(layer_names(first.layers)), share_l, None, None, null_l, how, "the same word elsewhere")
    begun = min(found.begun_alike, len(found.first_n))
    said = f"N = {int(rows_n.sum()):,} tokens that both have, {begun:,} of them before the first change"
    words = overlap_words(line, question="Do the tokens that stay keep their experts?", population=said)
    with figure(words, key="stay", frame=lambda: overlap_frame(line), is_chart=True):
        chart(overlap_plot(line), words, key="stay-chart")
        _before_change(first, second, begun)


def _counting(page: Page, first: RoutingRecord, found: Alignment) -> NDArray[np.bool_]:
    """Which aligned tokens are of the facet, and within the range, that count."""
    mask_t = facet_mask(first, page.scope.facet)
    if (span := page.view.span) is not None:
        token_t = np.arange(first.tokens)
        mask_t &= (token_t >= span.first) & (token_t <= span.last)
    return mask_t[found.first_n]


def _before_change(first: RoutingRecord, second: RoutingRecord, begun: int) -> None:
    """What a decoder that cannot look ahead must give, and whether it does."""
    if not begun:
        return
    head = slice(0, begun)
    share = float(overlap(first.take(head), second.take(head)).mean())
    tokens = (
        "The token before the first change shares"
        if begun == 1
        else f"The {begun:,} tokens before the first change share"
    )
    st.caption(
        f"{tokens} {share:.2%} of {'its' if begun == 1 else 'their'} experts. A "
        f"decoder cannot look ahead, so anything below 100% is noise of the computation."
    )


def _baseline(
    page: Page, first: RoutingRecord, second: RoutingRecord, found: Alignment, about: tuple[Any, ...]
) -> tuple[NDArray[np.float64] | None, str, bool]:
    """What the same word shares in another context: over the model's probe set, else (`True`) over these two texts."""
    corpus = corpus_of(page.view.model)
    if corpus is not None:
        source = server().find_source(corpus)
        if source.record.provenance.fingerprint == first.provenance.fingerprint:
            return (
                measure(source, "same_word_overlap").value,
                "the same word in other documents of the probe set",
                False,
            )
    key = (*about, "elsewhere")
    apart: Elsewhere = _alignments.get(key, lambda: same_word_elsewhere(first, second, found))
    if apart.share_l is None:
        return None, "", False
    drawn = f"{apart.pairs:,} pairs" + (f" drawn from {apart.every:,}" if apart.pairs < apart.every else "")
    return apart.share_l, f"the same word at another place of these two texts ({drawn})", True
