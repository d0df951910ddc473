"""From layer to layer: where the tokens of one expert go next, and how many paths through all layers count."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import Result
from gatescope.app.charts.depth import Depth, number
from gatescope.app.charts.figure import Chart, Figure, Matrix
from gatescope.app.charts.page import Page, headline, measure_reference, population
from gatescope.app.charts.plots import NULL, A, B, add_line, faint, plot
from gatescope.app.components import Scale
from gatescope.routing.errors import OptionError
from gatescope.routing.router import RouterRule

MOST_DECADES = 8
"""Powers of ten that are written beside an axis."""
SHOWN = 8
"""Next experts with a band of their own; the others go together."""
PAD, MARGIN = 10, 8
TIMES = 1.5
"""From so many times chance on a band is drawn in the ink of a finding."""

INFORMATION = Depth("transition_information", "How much does a layer tell of the next?", "bits", "bits", is_excess=True)
PREDICTABILITY = Depth(
    "transition_predictability",
    "What share of the next choice is told?",
    "share of its entropy",
    "% of the entropy",
    is_excess=True,
)


class Step(NamedTuple):
    """Where the tokens go whose first choice was one expert: next experts, largest share first; the rest together."""

    expert_n: NDArray[np.intp]
    share_n: NDArray[np.float64]
    chance_n: NDArray[np.float64]
    others: int
    other_share: float
    other_chance: float


def step_from(found: Result, rule: RouterRule, following: RouterRule, expert: int) -> Step:
    """The first choices of the next layer after one of this. Errors: OptionError where there are none."""
    share_f = found.value[rule.layer, expert, : following.experts]
    if found.null is None or not np.isfinite(share_f).any():
        raise OptionError(
            f"expert {expert} of layer {rule.layer} is the first choice of no token that counts",
            expected="an expert that is",
            do="choose another expert",
        )
    chance_f = found.null[rule.layer, expert, : following.experts]
    order = np.argsort(-share_f, kind="stable")
    shown, rest = order[:SHOWN], order[SHOWN:]
    shown = shown[share_f[shown] > 0]
    return Step(
        shown,
        share_f[shown],
        chance_f[shown],
        len(rest),
        float(share_f[rest].sum()),
        float(chance_f[rest].sum()),
    )


def step_takeaway(step: Step, expert: int, layer: str, next_layer: str) -> str:
    """The most frequent next expert, beside chance; and what the shown ones are together."""
    times = step.share_n / np.where(step.chance_n > 0, step.chance_n, np.nan)
    lead = (
        f"After expert {expert} of layer {layer}, {100 * step.share_n[0]:.0f} % of the tokens go to expert "
        f"{step.expert_n[0]} of layer {next_layer} first: {number(times[0])} times as many as of all tokens."
    )
    if not step.other_share > 0:
        return lead
    return f"{lead} The {len(step.share_n)} shown take {100 * step.share_n.sum():.0f} %, {step.others} others the rest."


def step_plot(step: Step, expert: int, *, height: int = 380) -> go.Figure:
    """A Sankey from one expert to the next layer's, in order of their shares, the others last."""
    shares = np.append(step.share_n, step.other_share)
    chances = np.append(step.chance_n, step.other_chance)
    names = [f"expert {each}" for each in step.expert_n] + [f"{step.others} others"]
    keep = shares > 0
    shares, chances, names = shares[keep], chances[keep], [name for name, kept in zip(names, keep, strict=True) if kept]
    times = shares / np.where(chances > 0, chances, np.nan)
    labels = [
        f"{name} · {100 * share:.0f} % · {number(lift)}×"
        for name, share, lift in zip(names, shares, times, strict=True)
    ]
    shown = go.Figure(
        go.Sankey(
            arrangement="fixed",
            node={
                "label": [escape(f"expert {expert}"), *map(escape, labels)],
                "x": [0.001, *[0.999] * len(shares)],
                "y": [0.5, *_middles(shares, PAD / (height - 2 * MARGIN))],
                "color": [A, *(A if lift >= TIMES else NULL for lift in times)],
                "pad": PAD,
                "thickness": 14,
                "hovertemplate": "%{label}<extra></extra>",
            },
            link={
                "source": [0] * len(shares),
                "target": list(range(1, len(shares) + 1)),
                "value": shares,
                "color": [faint(A if lift >= TIMES else NULL) for lift in times],
                "customdata": np.stack([100 * shares, 100 * chances, times], axis=1),
                "hovertemplate": "%{customdata[0]:.1f} % of its tokens; of all tokens %{customdata[1]:.1f} %: "
                "%{customdata[2]:.2f} times chance<extra></extra>",
            },
        )
    )
    shown.update_layout(height=height, margin=dict.fromkeys("lrtb", MARGIN), font_size=13)
    return shown


def _middles(shares: NDArray[np.float64], pad: float) -> NDArray[np.float64]:
    """Where the bands end, one under another with gaps of `pad` between them, as shares of the height."""
    height_n = shares / shares.sum() * (1 - pad * (len(shares) - 1))
    middle_n: NDArray[np.float64] = np.clip(np.cumsum(height_n + pad) - pad - height_n / 2, 0.001, 0.999)
    return middle_n


def step_frame(found: Result, rule: RouterRule, following: RouterRule, expert: int) -> pd.DataFrame:
    """Every next expert, not only those with a band of their own."""
    share_f = found.value[rule.layer, expert, : following.experts]
    chance_f = np.full_like(share_f, np.nan) if found.null is None else found.null[rule.layer, expert, : len(share_f)]
    times = np.divide(share_f, chance_f, out=np.full_like(share_f, np.nan), where=chance_f > 0)
    return pd.DataFrame(
        {
            "layer": rule.layer,
            "expert": expert,
            "next_layer": following.layer,
            "next_expert": np.arange(len(share_f)),
            "share": share_f,
            "by_chance": chance_f,
            "times_chance": times,
        }
    )


def coverage_scale() -> Scale:
    """The colours of a share of tokens."""
    return Scale("share of tokens", low=0, high=1, unit="of the tokens")


def coverage_takeaway(coverage: Result, count: Result) -> str:
    """What the most frequent paths through all layers cover, and how many there are."""
    top, hundred = 100 * coverage.value[-1, 0], 100 * coverage.value[-1, 2]
    there = count.value[-1]
    many = f"about {there:,.0f} different paths" if np.isfinite(there) else "too many paths to count"
    return (
        f"Through {coverage.labels['w'][-1]} layers tokens take {many}; the most frequent one has {top:.2g} % of them, "
        f"the 100 most frequent {hundred:.3g} %."
    )


def coverage_frame(coverage: Result) -> pd.DataFrame:
    """One row for each depth and number of paths."""
    depths, ranks = coverage.labels["w"], coverage.labels["r"]
    return pd.DataFrame(
        {
            "through": np.repeat(depths, len(ranks)),
            "paths": np.tile(ranks, len(depths)),
            "share": coverage.value.ravel(),
        }
    )


def same_takeaway(same: Result) -> str:
    """How likely two tokens take one path through all layers, beside layers that do not know of each other."""
    value, null = float(same.value[-1]), np.nan if same.null is None else float(same.null[-1])
    if not value > 0:
        return "No two tokens take the same path through all layers."
    lead = f"Two tokens at random take the same path with a chance of 1 in {number(1 / value)}"
    if not null > 0:
        return f"{lead}."
    return f"{lead}; were layers independent, 1 in {number(1 / null)}: {number(value / null)} times as likely."


def same_plot(lines: Sequence[tuple[str, Result]]) -> go.Figure:
    """The chance by number of layers, on a scale of powers of ten; A, then B, each over its own independent layers."""
    shown = plot("layers from the first on", "chance of one path")
    for (name, found), ink in zip(lines, (A, B), strict=False):
        depths = [
            label.rpartition(" ")[2] if label.startswith("all") else label.partition(" ")[0]
            for label in found.labels["w"]
        ]
        x = np.array([int(depth) for depth in depths])
        if found.null is not None:
            add_line(shown, x, _above_zero(found.null), name=f"independent layers ({name})", ink=NULL)
        add_line(shown, x, _above_zero(found.value), name=name, ink=ink)
    shown.update_layout(legend_traceorder="normal")
    shown.update_xaxes(tickformat="d", dtick=1 if max(x) <= 12 else None)
    shown.update_yaxes(type="log", exponentformat="power", dtick=_decades_a_tick(shown))
    return shown


def _decades_a_tick(shown: go.Figure) -> int:
    """Every how many powers of ten one is written, so that they do not touch."""
    drawn = np.concatenate([np.asarray(line.y, np.float64) for line in shown.data] or [np.ones(1)])
    drawn = drawn[drawn > 0]
    decades = float(np.log10(drawn.max() / drawn.min())) if drawn.size else 0.0
    return max(1, math.ceil(decades / MOST_DECADES))


def _above_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What has a logarithm as a number of 32 bits, which is what is drawn; NaN elsewhere."""
    return np.where(values > np.finfo(np.float32).tiny, values, np.nan)


def same_frame(lines: Sequence[tuple[str, Result]]) -> pd.DataFrame:
    """One row for each line and depth."""
    return pd.concat(
        [
            pd.DataFrame(
                {"capture": name, "through": found.labels["w"], "chance": found.value, "independent_layers": found.null}
            )
            for name, found in lines
        ],
        ignore_index=True,
    )


def step(page: Page, layer: int, expert: int) -> Figure:
    """Where the tokens of one expert go in the next layer. Errors: OptionError where there is no such step."""
    rules = page.source.record.layers
    if layer + 1 >= len(rules):
        raise OptionError(
            f"layer {layer} is the last one", expected="a layer with one after it", do="choose an earlier layer"
        )
    found = page.measure("transition_share")
    names, ends = page.layers, (rules[layer], rules[layer + 1])
    if expert >= ends[0].experts:
        raise OptionError(f"no expert {expert} in layer {layer}", expected="one of its own", do="choose another")
    taken = step_from(found, *ends, expert)
    return Figure(
        key="step",
        takeaway=step_takeaway(taken, expert, names[layer], names[layer + 1]),
        population=page.population,
        unit="share of the tokens whose first choice it is",
        null="chance: the next layer's first choices of all tokens; blue bands are 1.5 times that and more",
        badge="observed",
        metric="transition_share",
        body=(Chart(step_plot(taken, expert)),),
        frame=lambda: step_frame(found, *ends, expert),
        notes=found.warnings,
        at={"layer": layer, "expert": expert},
    )


def coverage(page: Page) -> Figure:
    """How many paths carry how many of the tokens."""
    found, count = (page.measure(name) for name in ("path_coverage", "path_count"))
    drawn = Matrix(
        values_rc=found.value,
        rows=found.labels["w"],
        columns=found.labels["r"],
        scale=coverage_scale(),
        options={"row_noun": "through", "column_noun": "paths", "attribution": headline(page.source)},
    )
    return Figure(
        key="coverage",
        takeaway=coverage_takeaway(found, count),
        population=page.population,
        unit="share of tokens, by first choices",
        badge="observed",
        metric="path_coverage",
        body=(drawn,),
        frame=lambda: coverage_frame(found),
        notes=found.warnings,
    )


def same_path(page: Page) -> Figure:
    """How likely two tokens take one path, beside layers that do not know of each other."""
    found, other = page.measure("same_path"), measure_reference(page, "same_path")
    lines = [("A", found), *([] if other is None else [(other[0].name, other[1])])]
    return Figure(
        key="same",
        takeaway=same_takeaway(found),
        population=population(page),
        unit="probability that two tokens take one path",
        null="dotted: layers independent of each other, with their own loads",
        badge="observed",
        metric="same_path",
        body=(Chart(same_plot(lines)),),
        frame=lambda: same_frame(lines),
        notes=found.warnings,
    )
