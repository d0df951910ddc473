"""Two documents token under token: which tokens stand together, how far their experts agree, what is noise."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.comparison.compare import near_ties, overlap
from gatescope.app.charts.figure import Figure, Matrix, Part, Text
from gatescope.app.charts.page import Page
from gatescope.app.components import Pick, Scale
from gatescope.app.components.heatmap.component import Options
from gatescope.drawing.token_heatmap import (
    TOP_EXPERT,
    TokenFigure,
    changes,
    row_names,
    token_figure,
    token_flags,
    token_pieces,
)
from gatescope.routing.groups import layer_names
from gatescope.routing.record import RoutingRecord

GROUP = "compare"
SIGHTS = {"overlap": "Experts in common", "margin": "Margin, A − B"}


@dataclass(frozen=True, eq=False)
class Aligned:
    """The tokens of A and of B that stand together, `first` and `second` with a row for each.

    first_n, second_n   their numbers in the two documents
    share_lt            share of the experts in common, by layer and column
    near_lt             where rounding alone may have made the difference; None where no margin was recorded
    """

    first: RoutingRecord
    second: RoutingRecord
    first_n: NDArray[np.intp]
    second_n: NDArray[np.intp]
    share_lt: NDArray[np.float32]
    near_lt: NDArray[np.bool_] | None

    @property
    def noise_lt(self) -> NDArray[np.bool_]:
        """Where nothing changed, or no more than rounding may change."""
        same_lt = ~(self.share_lt < 1)
        return same_lt if self.near_lt is None else same_lt | self.near_lt

    def column_of(self, token: int | None) -> int | None:
        """The column of a token of A; None where B has nothing to stand beside it."""
        columns = np.flatnonzero(self.first_n == (-1 if token is None else token))
        return int(columns[0]) if len(columns) else None


def aligned(
    first: RoutingRecord, second: RoutingRecord, first_n: NDArray[np.intp], second_n: NDArray[np.intp]
) -> Aligned:
    """Two documents, and which rows of them stand together."""
    one, two = first.take(first_n), second.take(second_n)
    near_tl = near_ties(one, two)
    near_lt = None if near_tl is None else np.ascontiguousarray(near_tl.T)
    return Aligned(one, two, first_n, second_n, np.ascontiguousarray(overlap(one, two).T), near_lt)


def sights(found: Aligned) -> list[str]:
    """What the difference can be shown as."""
    has_margins = found.first.margin_tl is not None and found.second.margin_tl is not None
    return list(SIGHTS) if has_margins else ["overlap"]


class Difference(NamedTuple):
    """The picture of a difference: values by layer and column, and what their colours mean."""

    values_lt: NDArray[np.float32]
    scale: Scale


def difference(found: Aligned, sight: str) -> Difference:
    """One sight of what differs."""
    if sight == "margin" and found.first.margin_tl is not None and found.second.margin_tl is not None:
        less_tl = found.first.margin_tl.astype(np.float32) - found.second.margin_tl.astype(np.float32)
        less_lt = np.ascontiguousarray(less_tl.T)
        scale = Scale.of(less_lt, "margin, A − B", unit="score", null=0.0, palette="diverging", pool="far")
        return Difference(less_lt, scale)
    return Difference(found.share_lt, Scale("experts in common", low=0.0, high=1.0, unit="share", pool="min"))


def own_figures(found: Aligned) -> tuple[TokenFigure, TokenFigure]:
    """What each capture shows, under one scale: margins where both have them, else who came first."""
    view = "margin" if len(sights(found)) > 1 else TOP_EXPERT
    one, two = (token_figure(record, view) for record in (found.first, found.second))
    low, high = min(one.scale.low, two.scale.low), max(one.scale.high, two.scale.high)
    one, two = (replace(each, scale=replace(each.scale, low=low, high=high)) for each in (one, two))
    return one, two


def in_common(found: Aligned) -> NDArray[np.int32]:
    """How many experts each pair of tokens has in common, by layer and column; -1 where it has none at all."""
    filled_tl = (found.first.ids_tlk != found.first.empty).sum(axis=2)
    other_tl = (found.second.ids_tlk != found.second.empty).sum(axis=2)
    most_lt = np.maximum(filled_tl, other_tl).T
    return np.where(np.isfinite(found.share_lt), np.rint(np.nan_to_num(found.share_lt) * most_lt), -1).astype(np.int32)


def column_names(found: Aligned) -> list[str] | None:
    """The numbers of each column's tokens; None where all are the same in both and counted from 0."""
    if np.array_equal(found.first_n, found.second_n) and np.array_equal(found.first_n, np.arange(len(found.first_n))):
        return None
    return [f"{one} | {two}" for one, two in zip(found.first_n, found.second_n, strict=True)]


def aligned_words(found: Aligned, *, where: str) -> Figure:
    """How many tokens changed, how many of those are no more than noise, and where most did."""
    changed_lt = found.share_lt < 1
    cells, changed = int(np.isfinite(found.share_lt).sum()), int(changed_lt.sum())
    beyond = int((changed_lt & ~found.noise_lt).sum())
    names = layer_names(found.first.layers)
    if not changed:
        sentence = f"All {cells:,} choices of experts are the same"
    else:
        layer = int(np.argmax(changed_lt.mean(axis=1)))
        sentence = (
            f"{changed:,} of {cells:,} choices differ ({changed / max(cells, 1):.1%}), most in layer {names[layer]} "
            f"({changed_lt[layer].mean():.1%})"
        )
        if found.near_lt is not None:
            sentence += f"; {changed - beyond:,} of them are near ties, which rounding alone may flip"
    tokens = len(found.first_n)
    return Figure(
        key="pair",
        takeaway=f"{sentence}.",
        population=f"N = {tokens:,} token{'s' * (tokens != 1)} that A and B share{where}",
        null="1: nothing changed. Noise: a margin below a step of the coarser number format"
        if found.near_lt is not None
        else "1: nothing changed. No margins were recorded, so that near ties cannot be told",
        badge="observed",
        says=(("Columns", "tokens that both have, as A has them; names are the token's number in A, then in B"),),
    )


def aligned_frame(found: Aligned) -> pd.DataFrame:
    """A row for each layer and pair of tokens."""
    layers, columns = np.indices(found.share_lt.shape).reshape(2, -1)
    pieces = np.array([found.first.piece(token) for token in found.first.token_t], object)
    rows = {
        "layer": np.array(layer_names(found.first.layers), object)[layers],
        "token_a": found.first_n[columns],
        "token_b": found.second_n[columns],
        "token": pieces[columns],
        "overlap": found.share_lt.ravel(),
        "noise": found.noise_lt.ravel(),
    }
    return pd.DataFrame(rows)


def pair(page: Page, found: Aligned, *, number: int, sight: str, is_faint: bool, where: str = "") -> Figure:
    """The difference of A and B over the tokens they share, then A and B.

    number      of A's document; its token that is pinned is pinned here
    sight       one of `SIGHTS`; is_faint: whether what is no more than noise is drawn faint
    where       which document it is, in words
    """
    column = found.column_of(page.view.token if (page.view.document or 0) == number else None)
    pinned = None if column is None else Pick(page.view.layer, column)
    ends = f"{page.source.id}-{page.reference.id if page.reference else ''}-{number}"
    drawn = difference(found, sight)
    options: Options = {
        "labels_rc": in_common(found) if sight == "overlap" else None,
        "label_noun": "in common",
        "faded_rc": found.noise_lt if is_faint else None,
    }
    body: list[Part] = [
        _heatmap(found, found.first, drawn.values_lt, drawn.scale, pinned, f"pair-{sight}-{ends}", options),
        Text("The same tokens in A, then in B: the three share cursor and window."),
    ]
    for name, record, own in zip("AB", (found.first, found.second), own_figures(found), strict=True):
        options = {
            "labels_rc": own.expert_lt,
            "description": f"{name}: {own.scale.name} of the tokens that both have",
        }
        key = f"pair-own-{name}-{ends}"
        body += [Text(name, "strong"), _heatmap(found, record, own.values_lt, own.scale, pinned, key, options)]
    return replace(aligned_words(found, where=where), body=tuple(body), frame=lambda: aligned_frame(found))


def _heatmap(
    found: Aligned,
    record: RoutingRecord,
    values_lt: NDArray[np.floating],
    scale: Scale,
    pinned: Pick | None,
    key: str,
    options: Options,
) -> Matrix:
    """One of the three pictures."""
    return Matrix(
        values_rc=values_lt,
        pieces=token_pieces(record),
        flags=token_flags(record),
        rows=row_names(record),
        columns=column_names(found),
        scale=scale,
        pinned=pinned,
        key=key,
        options={
            "changes_rc": changes(record),
            "stops_rc": found.share_lt < 1,
            "stops_say": "change",
            "group": GROUP,
            "attribution": "",
            "faded_says": "no more than noise",
            **options,
        },
    )
