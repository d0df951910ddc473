"""Two texts of one model: what changed between them, and what the tokens that stay have in common."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.comparison.alignment import Alignment, align
from gatescope.analysis.comparison.compare import overlap
from gatescope.analysis.comparison.elsewhere import Elsewhere, same_word_elsewhere
from gatescope.app.charts.figure import Figure, Text
from gatescope.app.charts.page import Page
from gatescope.app.views.compare.relation import note_pair
from gatescope.app.views.compare.relation_figure import (
    Line,
    diff_figure,
    overlap_figure,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import measure
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Scope, Source, document_of, role_mask

_alignments = MemoCache()

ALIGN = "found = align(first.token_t, second.token_t)"
STAY = """rows_n = is_counted_t[found.first_n]
one, two = first.take(found.first_n[rows_n]), second.take(found.second_n[rows_n])
share_l = overlap(one, two).astype(np.float64).mean(axis=0)"""
ELSEWHERE = "elsewhere = same_word_elsewhere(first, second, found)"
"""Python of each figure's numbers, of one document of A and one of B."""


def alignment(source: Source, other: Source, numbers: tuple[int, int]) -> Alignment:
    """The tokens that stay between one document of each, by their `numbers`."""
    first, second = document_of(source, numbers[0]), document_of(other, numbers[1])
    key = (*source.key, numbers[0], *other.key, numbers[1])
    return _alignments.get(key, lambda: align(first.token_t, second.token_t))


def diff(page: Page, other: Source, numbers: tuple[int, int]) -> Figure:
    """Both texts as one."""
    first, second = document_of(page.source, numbers[0]), document_of(other, numbers[1])
    found = alignment(page.source, other, numbers)
    note_pair(page.source, Scope(documents=numbers[:1]), other, ALIGN, align, document=numbers[1])
    return diff_figure(first, second, found)


def stay(page: Page, other: Source, numbers: tuple[int, int], corpus: Source | None) -> Figure:
    """Overlap of the tokens that stay, over what the same words share elsewhere: in a `corpus`, else in these texts."""
    first, second = document_of(page.source, numbers[0]), document_of(other, numbers[1])
    found = alignment(page.source, other, numbers)
    rows_n = _counting(page, first, found)
    if not rows_n.any():
        raise OptionError("no token that counts and that both texts have", expected="some", do="let more tokens count")
    one, two = first.take(found.first_n[rows_n]), second.take(found.second_n[rows_n])
    share_l = overlap(one, two).astype(np.float64).mean(axis=0)
    scope = Scope(facet=page.scope.facet, documents=numbers[:1], span=page.view.span)
    note_pair(page.source, scope, other, f"{ALIGN}\n{STAY}", align, overlap, document=numbers[1])
    null_l, how, is_here = _baseline(page, other, numbers, corpus)
    if is_here:
        note_pair(page.source, scope, other, ELSEWHERE, same_word_elsewhere, document=numbers[1])
    line = Line(tuple(layer_names(first.layers)), share_l, None, None, null_l, how, "the same word elsewhere")
    begun = min(found.begun_alike, len(found.first_n))
    sentence = f"N = {int(rows_n.sum()):,} tokens that both have, {begun:,} of them before the first change"
    before = _before_change(first, second, begun)
    figure = overlap_figure(line, key="stay", population=sentence)
    return replace(figure, body=(*figure.body, Text(before))) if before else figure


def _counting(page: Page, first: RoutingRecord, found: Alignment) -> NDArray[np.bool_]:
    """Which aligned tokens are of the facet, and within the range, that count."""
    mask_t = role_mask(first, page.scope.facet)
    if (span := page.view.span) is not None:
        token_t = np.arange(first.tokens)
        mask_t &= (token_t >= span.first) & (token_t <= span.last)
    return mask_t[found.first_n]


def _before_change(first: RoutingRecord, second: RoutingRecord, begun: int) -> str:
    """What a decoder that cannot look ahead must give, and whether it does."""
    if not begun:
        return ""
    head = slice(0, begun)
    share = float(overlap(first.take(head), second.take(head)).mean())
    tokens = (
        "The token before the first change shares"
        if begun == 1
        else f"The {begun:,} tokens before the first change share"
    )
    return (
        f"{tokens} {share:.2%} of {'its' if begun == 1 else 'their'} experts. A "
        f"decoder cannot look ahead, so anything below 100% is noise of the computation."
    )


def _baseline(
    page: Page, other: Source, numbers: tuple[int, int], corpus: Source | None
) -> tuple[NDArray[np.float64] | None, str, bool]:
    """What the same word shares in another context: over a corpus of the model, else (`True`) over these two texts."""
    if corpus is not None:
        how = "the same word in other documents of the probe set"
        return measure(corpus, "same_word_overlap").value, how, False
    first, second = document_of(page.source, numbers[0]), document_of(other, numbers[1])
    key = (*page.source.key, numbers[0], *other.key, numbers[1], "elsewhere")
    found = alignment(page.source, other, numbers)
    apart: Elsewhere = _alignments.get(key, lambda: same_word_elsewhere(first, second, found))
    if apart.share_l is None:
        return None, "", False
    drawn = f"{apart.pairs:,} pairs" + (f" drawn from {apart.every:,}" if apart.pairs < apart.every else "")
    return apart.share_l, f"the same word at another place of these two texts ({drawn})", True
