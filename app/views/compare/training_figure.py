"""How routing settled during training: the overlap of each step with the final model, over what chance gives."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.saturation import Agreement, saturation
from gatescope.analysis.tally.prefixes import first_of_prefix
from gatescope.app.charts.figure import Chart, Figure, Matrix, Text
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.app.components import Scale
from gatescope.app.views.compare.relation_figure import left_out
from gatescope.models.bundled_captures import history
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import Reading, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Scope, Source, role_mask

HALF = 0.5
NOTHING = 1e-9
"""What chance leaves of the overlap where all tokens go to the same experts, but for rounding."""

_histories = MemoCache()
IMPORTS = (
    "from gatescope.analysis.tally.prefixes import first_of_prefix",
    "from gatescope.analysis.comparison.saturation import saturation",
    "from gatescope.models.bundled_captures import history",
)


class Settling(NamedTuple):
    """Overlap with the last step, by step and layer."""

    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    names: tuple[str, ...]
    share_sl: NDArray[np.float64]
    low_sl: NDArray[np.float64]
    high_sl: NDArray[np.float64]
    null_sl: NDArray[np.float64]


def settling(
    steps: list[int], tokens: list[int], agreed: tuple[tuple[Agreement, ...], ...], names: list[str]
) -> Settling:
    """The history of a training run; the last step is the final model."""
    share, low, high, null = (
        np.array([[getattr(layer, name) for layer in layers] for layers in agreed])
        for name in ("share", "low", "high", "load_matched")
    )
    return Settling(tuple(steps), tuple(tokens), tuple(names), share, low, high, null)


def settling_figure(found: Settling, *, model: str, population: str) -> Figure:
    """When half of what was to be reached was there."""
    beyond_s = _beyond(found)
    half = next((at for at in range(len(beyond_s)) if beyond_s[at] >= HALF), len(beyond_s) - 1)
    first, last = int(np.argmax(found.share_sl[half])), int(np.argmin(found.share_sl[half]))
    before = max(len(found.steps) - 2, 0)
    return Figure(
        key="settling",
        takeaway=(
            f"By step {found.steps[half]:,} of {found.steps[-1]:,} {model} had half of its above-chance agreement with "
            "the final model: "
            f"{found.share_sl[half, first]:.0%} in common in layer {found.names[first]}, "
            f"{found.share_sl[half, last]:.0%} in layer {found.names[last]}; at step {found.steps[before]:,} it was "
            f"{found.share_sl[before].mean():.0%}."
        ),
        population=population,
        unit="share of a token's experts in common with the final model",
        null=f"dotted: independent routes with the loads of both, {np.nanmin(found.null_sl):.1%} to "
        f"{np.nanmax(found.null_sl):.1%}",
        badge="observed",
        says=(
            ("Source", "router saturation, OLMoE (arXiv 2409.02060), equation 5"),
            ("Interval", "95 %, over documents drawn anew, of the first and the last layer"),
            (
                "Not this",
                "the share of training that is done; the last step is the final model and 100 % by definition",
            ),
        ),
        body=(
            Chart(settling_plot(found)),
            Matrix(
                values_rc=found.share_sl,
                rows=[f"{step:,}" for step in found.steps],
                columns=list(found.names),
                scale=settling_scale(),
                options={"row_noun": "step", "column_noun": "layer", "attribution": ""},
            ),
            Text("Click a step to compare with it."),
        ),
        frame=lambda: settling_frame(found),
    )


def _beyond(found: Settling) -> NDArray[np.float64]:
    """Share of what chance leaves that each step has, the mean over layers; 0 where chance leaves nothing."""
    beyond_sl, left_sl = found.share_sl - found.null_sl, 1 - found.null_sl
    share_sl = np.divide(beyond_sl, left_sl, out=np.zeros(left_sl.shape), where=left_sl > NOTHING)
    beyond_s: NDArray[np.float64] = share_sl.mean(axis=1)
    return beyond_s


def settling_frame(found: Settling) -> pd.DataFrame:
    """A row for each step and layer."""
    steps, layers = np.indices(found.share_sl.shape).reshape(2, -1)
    return pd.DataFrame(
        {
            "step": np.array(found.steps)[steps],
            "trained_tokens": np.array(found.tokens)[steps],
            "layer": np.array(found.names, object)[layers],
            "overlap": found.share_sl.ravel(),
            "low": found.low_sl.ravel(),
            "high": found.high_sl.ravel(),
            "null": found.null_sl.ravel(),
        }
    )


def settling_plot(found: Settling) -> go.Figure:
    """The first and the last layer over the steps, and chance."""
    shown = plot("step of training", "experts in common with the final model")
    names = [f"{step:,}" for step in found.steps]
    add_line(shown, names, found.null_sl.mean(axis=1), name="chance", ink=NULL)
    for layer, ink in ((0, A), (len(found.names) - 1, B)):
        add_line(
            shown,
            names,
            found.share_sl[:, layer],
            name=f"layer {found.names[layer]}",
            ink=ink,
            low=found.low_sl[:, layer],
            high=found.high_sl[:, layer],
        )
    shown.update_xaxes(type="category")
    shown.update_yaxes(range=[0, 1.04], tickformat=".0%")
    return shown


def settling_scale() -> Scale:
    """Colours from nothing in common to all."""
    return Scale("in common with the final model", low=0.0, high=1.0, unit="share of experts")


def settled(model: str, facet: str, last: Source) -> Figure:
    """The training of a bundled model, step by step, its last one named by `last`."""
    found, tokens, documents, repeated = _histories.get((model, facet), partial(_settled, model, facet))
    note(Reading(source=last, scope=Scope(facet=facet), code=_python(model), imports=IMPORTS))
    population_text = (
        f"N = {tokens:,} tokens of {documents:,} documents of the probe set, all of them{left_out(repeated)}"
    )
    return replace(settling_figure(found, model=model, population=population_text), of=last)


def _python(model: str) -> str:
    return f"""moments = history("{model}")
rows_t = is_counted_t & first_of_prefix(record)
found = saturation([moment.record.take(rows_t) for moment in moments])"""


def _settled(model: str, facet: str) -> tuple[Settling, int, int, int]:
    moments = history(model)
    rows_t = role_mask(moments[-1].record, facet)
    if not rows_t.any():
        raise OptionError(
            "no token of that kind", expected="tokens that were read", do="let the text's own tokens count"
        )
    fresh_t = rows_t & first_of_prefix(moments[-1].record)
    repeated = int(np.count_nonzero(rows_t) - np.count_nonzero(fresh_t))
    records = [moment.record.take(fresh_t) for moment in moments]
    names = layer_names(records[-1].layers)
    steps, tokens = [moment.step for moment in moments], [moment.tokens for moment in moments]
    found = settling(steps, tokens, saturation(records), names)
    if (found.null_sl[-1] >= 1 - NOTHING).all():
        raise OptionError(
            "tokens that all go to the same experts",
            expected="tokens that the final model tells apart",
            do="let the text's own tokens count",
        )
    return found, records[-1].tokens, len(records[-1].documents), repeated
