"""Enough data? What is there and what is needed, as words, a chart and a table."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gatescope.analysis.quality.sample_size import Enough, enough
from gatescope.analysis.registry import MetricOptions
from gatescope.app.charts.figure import Chart, Figure, Text
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.routing.groups import layer_names
from gatescope.server.measures import Reading, note, tally_of
from gatescope.server.memo_cache import MemoCache
from gatescope.server.snippet import facet_names
from gatescope.server.sources import TOKEN_ROLES, Scope, Source

QUESTION = "Is there enough text to go by?"
METRIC = "relative_load"
STEPS = "#1b9e77"
NEEDS = {
    "load_l": "one expert's load to ±10 %",
    "pairs_l": "50 tokens in the average pair of experts",
    "transitions_l": "50 tokens in the average step to the next layer",
}
_found = MemoCache()


def enough_figure(found: Enough, layers: list[str], *, population: str) -> Figure:
    """What is said around the chart."""
    return Figure(
        key="enough",
        takeaway=takeaway(found),
        population=population,
        unit="tokens, those of one document counted for what they are worth",
        badge="observed",
        says=(
            ("Tokens of one document are alike", effect_sentence(found)),
            ("Needed", "; ".join(NEEDS.values()) + ": at an even router, times what alike tokens cost."),
            ("Other documents", reliability_sentence(found)),
            ("Not this", "a promise about rare experts: one with a tenth of the even load needs ten times as many."),
        ),
        body=(
            Chart(enough_plot(found, layers)),
            Text(f"{effect_sentence(found)} {reliability_sentence(found)}", "plain"),
        ),
        frame=lambda: enough_frame(found, layers),
    )


def takeaway(found: Enough) -> str:
    """One sentence on what there is enough for, in every layer."""
    layers = len(found.tokens_l)
    parts = []
    for name, need in NEEDS.items():
        needed_l = getattr(found, name)
        known_l = ~np.isnan(needed_l)
        if known_l.any():
            met = int(np.count_nonzero(found.tokens_l[known_l] >= needed_l[known_l]))
            parts.append(f"{need}: {'all' if met == layers else met if met else 'none'} of {layers} layers")
    return f"{found.tokens_l.max(initial=0):,.0f} tokens are enough for {'; '.join(parts)}."


def effect_sentence(found: Enough) -> str:
    """What it costs that tokens of one document are alike."""
    known = found.effect_l[~np.isnan(found.effect_l)]
    if not len(known):
        return "Not known for one document: its tokens are taken for independent, which they are not."
    return (
        f"{known.min():,.1f} to {known.max():,.1f} of them, by layer, carry the information of one independent token: "
        f"{np.min(found.tokens_l) / known.max():,.0f} effective tokens in the worst layer."
    )


def reliability_sentence(found: Enough) -> str:
    """How well other documents would agree."""
    known = found.reliability_l[~np.isnan(found.reliability_l)]
    if not len(known):
        return "With one document nothing can be said of how others would agree."
    return (
        f"The loads of as many others would correlate with these at {known.min():.2f} to {known.max():.2f}, by layer."
    )


def enough_plot(found: Enough, layers: list[str]) -> go.Figure:
    """Needed and there, layer by layer, on a logarithmic scale."""
    shown = plot("layer", "tokens")
    shown.update_yaxes(type="log")
    add_line(shown, layers, found.tokens_l, name="there", ink=A)
    for name, ink in zip(NEEDS, (NULL, B, STEPS), strict=True):
        add_line(shown, layers, getattr(found, name), name=NEEDS[name], ink=ink)
    shown.data[-1].line.dash = "dashdot"
    return shown


def enough_frame(found: Enough, layers: list[str]) -> pd.DataFrame:
    """Its numbers, a row for each layer."""
    return pd.DataFrame({"layer": pd.Categorical(layers), **{name: getattr(found, name) for name in found._fields}})


def sample_size(source: Source, scope: Scope, population: str) -> Figure:
    """Whether a capture is large enough, and for what."""
    figure = enough_figure(_enough(source, scope), layer_names(source.record.layers), population=population)
    return replace(figure, of=source)


def _enough(source: Source, scope: Scope) -> Enough:
    code = f"found = enough(counts, MetricOptions(facets=({facet_names(scope)},)))"
    imports = (
        "from gatescope.analysis.quality.sample_size import enough",
        "from gatescope.analysis.registry import MetricOptions",
        "from gatescope.analysis.tally.tally import TokenRole",
    )
    note(Reading(source=source, scope=scope, code=code, imports=imports))
    return _found.get(
        (*source.key, scope),
        lambda: enough(tally_of(source, METRIC, scope), MetricOptions(facets=TOKEN_ROLES[scope.facet])),
    )
