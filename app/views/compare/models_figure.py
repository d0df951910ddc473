"""Two models side by side: one number per layer of each, the load of a layer of each, and which layers tell alike."""

import numpy as np

from gatescope.analysis.comparison.compare import Relation
from gatescope.analysis.tally.first_choices import shared_information
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page, beside, population
from gatescope.app.views.compare.differences_figure import (
    Sight,
    layer_at,
    model_line,
    shape_figure,
    shape_of,
    shared_figure,
    sight_figure,
)
from gatescope.app.views.compare.relation import both_of, note_pair, within
from gatescope.app.views.compare.relation_figure import left_out
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Source

_kept = MemoCache()


def seen(page: Page, other: Source, sight: Sight) -> Figure:
    """One number per layer of both models, over their relative depth."""
    by, side, mine = page.view.by if sight.by_label else "", beside(page), page.source.record.experts
    found = measure(page.source, sight.metric, by=by, scope=page.scope, then=sight.python(mine))
    lines = [model_line(found, sight, mine, whose="A")]
    if side is not None:
        theirs = other.record.experts
        found = measure(side.source, sight.metric, by=by, scope=side.scope, then=sight.python(theirs))
        lines.append(model_line(found, sight, theirs, whose=side.name))
    return sight_figure(lines, sight, population=population(page), by=by)


def shape(page: Page, other: Source) -> Figure:
    """Sorted load of A's pinned layer, or of the middle one, and of B's at the same depth."""
    layers, side = len(page.source.record.layers), beside(page)
    layer = page.view.layer if page.view.layer is not None else layers // 2
    found = page.measure("load_lorenz")
    shapes = [shape_of(found, layer, page.source.record.experts, whose="A")]
    if side is not None:
        opposite = layer_at(layer / max(layers - 1, 1), len(other.record.layers))
        found = measure(side.source, "load_lorenz", scope=side.scope)
        shapes.append(shape_of(found, opposite, other.record.experts, whose=side.name))
    return shape_figure(shapes, population=population(page))


def shared(page: Page, other: Source, relation: Relation) -> Figure:
    """How much each layer of A tells of each layer of B, of the tokens that both have read."""
    pairs = within(relation.pairs, page.scope)
    if not pairs:
        raise OptionError(
            "no document of the same tokens in both",
            expected="the same texts through tokenizers that cut them alike",
            do="capture the text of A with the other model as well",
        )
    both = both_of(page.source, other, pairs, page.scope)
    key = (*page.source.key, *other.key, page.scope)
    found = _kept.get(key, lambda: shared_information(both.first, both.second))
    if not np.isfinite(found.value_lm).any():
        raise OptionError(
            "tokens that all go to the same expert, in each layer of A or of B",
            expected="tokens that both models tell apart",
            do="let other tokens count, in the sidebar",
        )
    note_pair(page.source, page.scope, other, "shared = shared_information(first, second)", shared_information)
    every = both.first.tokens
    names, others = (layer_names(each.record.layers) for each in (page.source, other))
    drawn = "" if found.tokens == every else f", drawn from {every:,}"
    sentence = f"N = {found.tokens:,} tokens of {found.documents:,} documents that both have read{drawn}"
    sentence += left_out(both.repeated)
    return shared_figure(found, names, others, population=sentence)
