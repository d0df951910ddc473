"""How a layer's work falls on its experts: as a matrix over all layers, and sorted, over an even router."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.even_load import even_lorenz
from gatescope.analysis.registry import METRICS, Result
from gatescope.app.charts.depth import number
from gatescope.app.charts.figure import Chart, Figure, Matrix, Text
from gatescope.app.charts.page import Page, beside, headline, measure_reference, population
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.app.components import Mark, Pick, Scale
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.routing.router import RouterRule

MARKS = (
    Mark("×", "dead: never chosen"),
    Mark("▽", "cold: significantly below a tenth of an even share"),
    Mark("●", "hot: significantly above twice an even share"),
)
STATES = {-2: "dead", -1: "cold", 0: "neither", 1: "hot"}
LEAST_REACH = 1.0
"""The colours reach at least from half to twice an even share, so that noise is not painted as a finding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loads:
    """What is known of every expert's work; None where it is not recorded."""

    load: Result
    mass: Result | None
    state: Result | None


def loads_of(page: Page) -> Loads:
    """The work of every expert among the tokens that count. Errors: OptionError where none was chosen."""
    load = page.measure("relative_load")
    if not np.isfinite(load.value).any():
        raise OptionError("no expert was chosen by the tokens that count", expected="some", do="choose other tokens")
    return Loads(load=load, mass=page.if_known("relative_gate_mass"), state=page.if_known("expert_state"))


def load_figure(page: Page, loads: Loads, metric: str, *, is_stretched: bool) -> Figure:
    """Every expert of every layer, by its assignments or its gate weight."""
    rules, view, shared = page.source.record.layers, page.view, shared_words(page.source.record.layers)
    shown = loads.mass if metric == "relative_gate_mass" and loads.mass is not None else loads.load
    grid = load_grid(shown, loads.state, is_stretched=is_stretched)
    drawn = Matrix(
        values_rc=grid.values_le,
        rows=page.layers,
        columns=None,
        scale=grid.scale,
        pinned=None if view.layer is None or view.expert is None else Pick(view.layer, view.expert),
        options={
            "attribution": headline(page.source),
            "faded_rc": grid.faded_le,
            "faded_says": "interval holds an even share",
            "marks_rc": grid.marks_le,
            "marks": MARKS,
        },
    )
    return Figure(
        key="load",
        takeaway=load_takeaway(shown, loads.state, rules),
        population=page.population,
        null="null: 0 doublings, the share of an even router; faint where the 95 % interval over documents holds it",
        badge="observed",
        metric=metric,
        says=(("Dead, cold, hot", METRICS["expert_state"].source), ("Shared experts", shared)),
        body=(drawn, *([Text(shared)] if shared else [])),
        frame=lambda: load_frame(loads.load, loads.mass, loads.state, rules),
        notes=() if loads.state is None else loads.state.warnings,
    )


class LoadGrid(NamedTuple):
    """The matrix of the load: doublings over an even share, its glyphs, its colours, and what chance may have done."""

    values_le: NDArray[np.float64]
    marks_le: NDArray[np.int64]
    faded_le: NDArray[np.bool_]
    scale: Scale


def load_grid(load: Result, state: Result | None, *, is_stretched: bool) -> LoadGrid:
    """The matrix of a relative load, or gate mass.

    An expert without any work has no logarithm: it lies beyond the lower end of the colours. `is_stretched`: each layer
    over its own largest deviation, so that an uneven layer does not pale the others.
    """
    with np.errstate(divide="ignore"):
        doublings_le = np.log2(load.value)
    finite_le = np.where(np.isfinite(doublings_le), doublings_le, np.nan)
    if is_stretched:
        extreme_l1 = np.fmax.reduce(np.abs(finite_le), axis=1, keepdims=True)
        values_le = np.divide(finite_le, extreme_l1, out=np.zeros_like(finite_le), where=extreme_l1 > 0)
        values_le[np.isnan(finite_le)] = np.nan
        scale = Scale(
            "load, each layer on its own scale", low=-1, high=1, null=0, palette="diverging", pool="far", unit="extreme"
        )
    else:
        reach = max(LEAST_REACH, float(np.fmax.reduce(np.abs(finite_le), axis=None, initial=0.0)))
        values_le = finite_le
        scale = Scale(
            "load", low=-reach, high=reach, null=0, palette="diverging", pool="far", unit="doublings of an even share"
        )
    values_le = np.where(np.isneginf(doublings_le), 2 * scale.low, values_le)
    return LoadGrid(values_le, load_marks(state, load.value.shape), _around_even(load), scale)


def _around_even(load: Result) -> NDArray[np.bool_]:
    """Where the interval holds an even share, so that the texts do not tell it from one; nowhere without intervals."""
    if load.low is None or load.high is None:
        return np.zeros(load.value.shape, bool)
    return (load.low <= 1) & (load.high >= 1)


def load_marks(state: Result | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The number of each cell's glyph, 1 + index into `MARKS`; 0 for none."""
    marks_le = np.zeros(shape, np.int64)
    if state is not None:
        for value, mark in ((-2, 1), (-1, 2), (1, 3)):
            marks_le[state.value == value] = mark
    return marks_le


def load_takeaway(load: Result, state: Result | None, rules: Sequence[RouterRule]) -> str:
    """The busiest and the least busy expert, and how many are dead, cold and hot."""
    names = layer_names(rules)
    busy, idle = (np.unravel_index(at(load.value), load.value.shape) for at in (np.nanargmax, np.nanargmin))
    sentence = (
        f"Busiest is expert {busy[1]} of layer {names[busy[0]]}, with {number(load.value[busy])} times an even share; "
        f"least busy expert {idle[1]} of layer {names[idle[0]]}, with {number(load.value[idle])} times."
    )
    return sentence if state is None else f"{sentence} {_counted(state, rules)}"


def _counted(state: Result, rules: Sequence[RouterRule]) -> str:
    every = sum(rule.experts for rule in rules)
    dead, cold, hot = (int(np.count_nonzero(state.value == value)) for value in (-2, -1, 1))
    return f"Of {every:,} experts {dead} are dead (×), {cold} cold (▽) and {hot} hot (●)."


def load_frame(load: Result, mass: Result | None, state: Result | None, rules: Sequence[RouterRule]) -> pd.DataFrame:
    """One row for each expert that there is."""
    own_le = np.arange(load.value.shape[1]) < np.array([[rule.experts] for rule in rules])
    layer_n, expert_n = np.nonzero(own_le)
    rows: dict[str, object] = {
        "layer": layer_n,
        "block": np.array([rule.block for rule in rules])[layer_n],
        "expert": expert_n,
        "relative_load": load.value[own_le],
        "even_router": 1.0,
    }
    for name, values in (("low", load.low), ("high", load.high)):
        if values is not None:
            rows[name] = values[own_le]
    if mass is not None:
        rows["relative_gate_mass"] = mass.value[own_le]
    if state is not None:
        rows["state"] = [STATES.get(value, "not known") for value in state.value[own_le].tolist()]
    return pd.DataFrame(rows)


def expert_sentence(load: Result, mass: Result | None, state: Result | None, rule: RouterRule, expert: int) -> str:
    """What one expert of a layer does, in a sentence."""
    own_e = load.value[rule.layer, : rule.experts]
    if not np.isfinite(own_e[expert]):
        return "No token that counts went through this layer."
    place = 1 + int(np.count_nonzero(own_e > own_e[expert]))
    sentence = (
        f"{number(own_e[expert])} times an even share of layer {rule.layer}, number {place} of {rule.experts} by load"
    )
    if load.low is not None and load.high is not None and np.isfinite(load.low[rule.layer, expert]):
        low, high = load.low[rule.layer, expert], load.high[rule.layer, expert]
        sentence += f" (95 % interval over documents {number(low)} to {number(high)})"
    if mass is not None:
        sentence += f"; {number(mass.value[rule.layer, expert])} times an even share of the gate's weight"
    word = "" if state is None else STATES.get(state.value[rule.layer, expert], "")
    return f"{sentence}; {word}." if word not in ("", "neither") else f"{sentence}."


def shared_words(rules: Sequence[RouterRule]) -> str:
    """That shared experts are counted apart, where the rules have some."""
    counts = sorted({rule.shared_experts for rule in rules if rule.shared_experts})
    if not counts:
        return ""
    some = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    verb = "works" if counts == [1] else "work"
    return (
        f"Beside these {some} shared expert{'s' * (counts != [1])} {verb} on every token of such a layer: no router "
        "chooses them, so they are no routes and are not counted here."
    )


class Sorted(NamedTuple):
    """One layer's Lorenz curve, its own points only; `even_r` is an even router's, None without a noise floor."""

    share_r: NDArray[np.float64]
    low_r: NDArray[np.float64] | None
    high_r: NDArray[np.float64] | None
    even_r: NDArray[np.float64] | None


def sorted_load(lorenz: Result, cv: Result, rule: RouterRule) -> Sorted:
    """The curve of one layer. `cv` is the metric `load_cv`, whose null is the noise floor."""
    own = slice(rule.experts + 1)
    low, high = (None if end is None else end[rule.layer, own] for end in (lorenz.low, lorenz.high))
    floor = np.nan if cv.null is None else float(cv.null[rule.layer])
    even = even_lorenz(rule.experts, floor) if floor >= 0 else None
    return Sorted(lorenz.value[rule.layer, own], low, high, even)


def busiest_share(share_r: NDArray[np.float64], quarter: int) -> float:
    """What share of the work the busiest experts do, so many of them."""
    return float(1 - share_r[len(share_r) - 1 - quarter])


def sorted_takeaway(curve: Sorted, layer: str) -> str:
    """What the busiest quarter of the experts does, and what it would under an even router."""
    experts = len(curve.share_r) - 1
    quarter = max(1, experts // 4)
    sentence = (
        f"The busiest {quarter} of {experts} experts of layer {layer} do "
        f"{100 * busiest_share(curve.share_r, quarter):.1f} % of its work"
    )
    even = quarter / experts if curve.even_r is None else busiest_share(curve.even_r, quarter)
    return f"{sentence}; under an even router {100 * even:.1f} %."


def sorted_plot(curves: Sequence[tuple[str, Sorted]]) -> go.Figure:
    """Share of the work over share of the experts, least busy first; A, then B, over the even router of A."""
    shown = plot("share of the experts, least busy first", "share of the layer's work")
    for (name, curve), ink in zip(curves, (A, B), strict=False):
        x = np.linspace(0, 1, len(curve.share_r))
        if ink == A and curve.even_r is not None:
            add_line(shown, x, curve.even_r, name="even router", ink=NULL)
        add_line(shown, x, curve.share_r, name=name, ink=ink, low=curve.low_r, high=curve.high_r)
    shown.update_traces(marker_size=3)
    shown.update_layout(legend_traceorder="normal")
    shown.update_xaxes(tickformat=".0%")
    shown.update_yaxes(tickformat=".0%")
    return shown


def sorted_frame(curves: Sequence[tuple[str, Sorted]]) -> pd.DataFrame:
    """One row for each curve and number of experts."""
    return pd.concat([_points(name, curve) for name, curve in curves], ignore_index=True)


def _points(name: str, curve: Sorted) -> pd.DataFrame:
    rows: dict[str, object] = {"capture": name, "experts": np.arange(len(curve.share_r)), "share": curve.share_r}
    around = {"low": curve.low_r, "high": curve.high_r, "even_router": curve.even_r}
    return pd.DataFrame(rows | {column: values for column, values in around.items() if values is not None})


def sorted_work(page: Page, layer: int) -> Figure:
    """What share of a layer's work its busiest experts do."""
    curves = [("A", _curve(page, layer)), *_curve_of_b(page, layer)]
    return Figure(
        key="sorted",
        takeaway=sorted_takeaway(curves[0][1], page.layers[layer]),
        population=population(page),
        unit="share of the layer's assignments",
        null="dotted: an even router over as many effective tokens (order statistics of normal counts)",
        badge="observed",
        metric="load_lorenz",
        body=(Chart(sorted_plot(curves)),),
        frame=lambda: sorted_frame(curves),
        at={"layer": layer},
    )


def _curve(page: Page, layer: int) -> Sorted:
    lorenz, cv = (page.measure(name) for name in ("load_lorenz", "load_cv"))
    if not np.isfinite(lorenz.value[layer]).any():
        raise OptionError(
            f"no token that counts went through layer {layer}", expected="some", do="choose another layer, or tokens"
        )
    return sorted_load(lorenz, cv, page.source.record.layers[layer])


def _curve_of_b(page: Page, layer: int) -> list[tuple[str, Sorted]]:
    """The same layer of B, where it has one."""
    found, other, cv = measure_reference(page, "load_lorenz"), beside(page), measure_reference(page, "load_cv")
    if found is None or other is None or cv is None:
        return []
    rules = other.source.record.layers
    if layer >= len(rules) or not np.isfinite(found[1].value[layer]).any():
        return []
    return [(other.name, sorted_load(found[1], cv[1], rules[layer]))]
