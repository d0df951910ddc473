"""Two models: only what survives any renaming of their experts; what does not is refused, with the reason."""

import numpy as np
import streamlit as st

from gatescope.analysis.comparison.compare import Relation
from gatescope.analysis.tally.first_choices import shared_information
from gatescope.app.components import matrix
from gatescope.app.shell.figure import answering, chart, figure
from gatescope.app.shell.layer_charts import beside, population
from gatescope.app.shell.page import Page
from gatescope.app.views.compare.differences_figure import (
    REFUSAL,
    SIGHTS,
    Sight,
    layer_at,
    model_line,
    shape_frame,
    shape_of,
    shape_plot,
    shape_words,
    shared_frame,
    shared_scale,
    shared_words,
    sight_frame,
    sight_plot,
    sight_words,
)
from gatescope.app.views.compare.relation import both_of, note_pair, within
from gatescope.app.views.compare.relation_figure import left_out
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Source

_kept = MemoCache()


def show_models(page: Page, other: Source, found: Relation) -> None:
    """The refusal first, then what can be said."""
    st.info(REFUSAL, icon=":material/block:")
    places = st.columns(2, gap="large")
    for number, sight in enumerate(SIGHTS[:2]):
        with places[number % 2]:
            _sight(page, other, sight)
    _sight(page, other, SIGHTS[2])
    _shape(page, other)
    with answering("Do both models tell the same tokens apart?"):
        _shared(page, other, found)


def _sight(page: Page, other: Source, sight: Sight) -> None:
    by = page.view.by if sight.by_label else ""
    with answering(sight.question):
        side = beside(page)
        lines = [
            model_line(
                measure(page.source, sight.metric, by=by, scope=page.scope, then=sight.python(_experts(page.source))),
                sight,
                _experts(page.source),
                whose="A",
            )
        ]
        if side is not None:
            found = measure(side.source, sight.metric, by=by, scope=side.scope, then=sight.python(_experts(other)))
            lines.append(model_line(found, sight, _experts(other), whose=side.name))
        words = sight_words(lines, sight, population=population(page), by=by)
        with figure(words, key=f"sight-{sight.metric}", frame=lambda: sight_frame(lines), is_chart=True):
            chart(sight_plot(lines, sight), words, key=f"sight-{sight.metric}-chart")


def _experts(source: Source) -> int:
    return source.record.experts


def _shape(page: Page, other: Source) -> None:
    """Sorted load of A's pinned layer, or of the middle one, and of B's at the same depth."""
    with answering("How unequal are the experts?"):
        layers = len(page.source.record.layers)
        layer = page.view.layer if page.view.layer is not None else layers // 2
        side = beside(page)
        shapes = [
            shape_of(measure(page.source, "load_lorenz", scope=page.scope), layer, _experts(page.source), whose="A")
        ]
        if side is not None:
            opposite = layer_at(layer / max(layers - 1, 1), len(other.record.layers))
            found = measure(side.source, "load_lorenz", scope=side.scope)
            shapes.append(shape_of(found, opposite, _experts(other), whose=side.name))
        words = shape_words(shapes, population=population(page))
        with figure(words, key="shape", frame=lambda: shape_frame(shapes), is_chart=True):
            chart(shape_plot(shapes), words, key="shape-chart")


def _shared(page: Page, other: Source, found: Relation) -> None:
    pairs = within(found.pairs, page.scope)
    if not pairs:
        raise OptionError(
            "no document of the same tokens in both",
            expected="the same texts through tokenizers that cut them alike",
            do="capture the text of A with the other model as well",
        )
    both = both_of(page.source, other, pairs, page.scope)
    with st.spinner("Shuffling tokens within their documents", show_time=True):
        key = (*page.source.key, *other.key, page.scope)
        shared = _kept.get(key, lambda: shared_information(both.first, both.second))
    if not np.isfinite(shared.value_lm).any():
        raise OptionError(
            "tokens that all go to the same expert, in each layer of A or of B",
            expected="tokens that both models tell apart",
            do="let other tokens count, in the side column",
        )
    note_pair(page.source, page.scope, other, "shared = shared_information(first, second)", shared_information)
    every = both.first.tokens
    names, others = (layer_names(each.record.layers) for each in (page.source, other))
    drawn = "" if shared.tokens == every else f", drawn from {every:,}"
    said = f"N = {shared.tokens:,} tokens of {shared.documents:,} documents that both have read{drawn}"
    said += left_out(both.repeated)
    words = shared_words(shared, names, others, population=said)
    with figure(words, key="shared", frame=lambda: shared_frame(shared, names, others)):
        matrix(
            shared.value_lm,
            rows=names,
            columns=others,
            row_noun="layer of A",
            column_noun="layer of B",
            scale=shared_scale(shared),
            pinned=None,
            key="shared-matrix",
            description=words.takeaway,
            faded_rc=~(shared.q_lm <= 0.05),
            faded_says="no more than chance",
            square=True,
        )
