"""The same tokens through other weights, another number format or engine: what changed, where, and what is noise."""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.comparison.compare import Relation, cascade, flips_by_margin, load_shift, near_ties
from gatescope.analysis.comparison.saturation import Agreement, agreement
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.components import Pick
from gatescope.app.views.compare.flips_figure import cascade_figure, margin_figure
from gatescope.app.views.compare.relation import Both, both_of, note_pair, related, within
from gatescope.app.views.compare.relation_figure import (
    line_of,
    overlap_figure,
    shift_figure,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.memo_cache import Key, MemoCache
from gatescope.server.sources import Source

RESAMPLES = 200
_kept = MemoCache()


def shared_tokens(page: Page, other: Source, found: Relation) -> Both:
    """The tokens that count and that both captures hold. Errors: OptionError where there are none."""
    pairs = within(found.pairs, page.scope)
    if not pairs:
        raise OptionError(
            "documents that count here and that B does not have", expected="some in both", do="release the slice"
        )
    return both_of(page.source, other, pairs, page.scope)


def _key(page: Page, other: Source) -> Key:
    return (*page.source.key, *other.key, page.scope)


def agreed(page: Page, other: Source, both: Both) -> tuple[Agreement, ...]:
    """How far A and B agree, layer by layer."""
    note_pair(page.source, page.scope, other, "agreed = agreement(first, second, resamples=1000)", agreement)
    key = (*_key(page, other), "agreement")
    return _kept.get(key, lambda: agreement(both.first, both.second, resamples=1000))


def ceiling(page: Page, other: Source, repeat: Source) -> tuple[NDArray[np.float64], str] | None:
    """What the same recipe reaches when it is repeated: nothing else tells how much of a difference is noise."""
    pairs = within(related(page.source, repeat).pairs, page.scope)
    try:
        both = both_of(page.source, repeat, pairs, page.scope)
    except OptionError:  # the repeat has none of the tokens that count
        return None
    found = _kept.get(
        (*_key(page, other), "repeat", *repeat.key), lambda: agreement(both.first, both.second, resamples=1)
    )
    note_pair(page.source, page.scope, repeat, "again = agreement(first, second, resamples=1)", agreement)
    return np.array([layer.share for layer in found]), f"A captured again ({repeat.name})"


def overlaps(both: Both, found: tuple[Agreement, ...], repeated: tuple[NDArray[np.float64], str] | None) -> Figure:
    """The layers in which choices differ; `repeated` is the ceiling that a repeated run gives, and its name."""
    line = line_of(found, layer_names(both.first.layers))
    line = line if repeated is None else line._replace(ceiling_l=repeated[0], ceiling_words=repeated[1])
    near_tl = near_ties(both.first, both.second)
    line = line if near_tl is None else line._replace(near_l=near_tl.mean(axis=0))
    return overlap_figure(line, key="overlap", population=both.population)


def margins(page: Page, other: Source, both: Both) -> Figure:
    """Flips by how close the choice was."""
    flips = _kept.get(
        (*_key(page, other), "flips"), lambda: flips_by_margin(both.first, both.second, resamples=RESAMPLES)
    )
    code = f"flips = flips_by_margin(first, second, resamples={RESAMPLES})"
    note_pair(page.source, page.scope, other, code, flips_by_margin)
    whose = "A" if both.first.margin_tl is not None else "B"
    return margin_figure(flips, population=both.population, whose=whose)


def cascades(page: Page, other: Source, both: Both) -> Figure:
    """Where changes begin, and whether they carry on."""
    names = layer_names(both.first.layers)
    falls = _kept.get((*_key(page, other), "cascade"), lambda: cascade(both.first, both.second, resamples=RESAMPLES))
    code = f"falls = cascade(first, second, resamples={RESAMPLES})"
    note_pair(page.source, page.scope, other, code, cascade)
    return cascade_figure(falls, names, population=both.population)


def shifts(page: Page, other: Source, both: Both, *, is_faint: bool) -> Figure:
    """Every expert's work in A and in B; `is_faint`: whether what is no more than noise is drawn faint."""
    names, view = layer_names(both.first.layers), page.view
    shift = _kept.get((*_key(page, other), "shift"), lambda: load_shift(both.first, both.second, resamples=1000))
    note_pair(page.source, page.scope, other, "shift = load_shift(first, second, resamples=1000)", load_shift)
    pinned = None if view.expert is None else Pick(view.layer, view.expert)
    return shift_figure(shift, names, population=both.population, pinned=pinned, is_faint=is_faint)
