"""How far apart the routing of two domains or languages is: every two of them, and the mean by depth."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import Result
from gatescope.app.charts.depth import number
from gatescope.app.charts.figure import Chart, Figure, Matrix
from gatescope.app.charts.formatting import SURE, chance_words, in_layers, over_layers, percent
from gatescope.app.charts.lines import layer_axis
from gatescope.app.charts.plots import NULL, A, add_line, plot
from gatescope.app.components import Pick, Scale
from gatescope.app.views.domains.groups_figure import PLURALS
from gatescope.app.views.domains.word_tables import Groups
from gatescope.routing.errors import OptionError

LEAST_REACH_BITS = 0.01


class Apart(NamedTuple):
    """Groups × groups of one layer: values, what is not beyond chance, and the colours."""

    values_gh: NDArray[np.float64]
    faded_gh: NDArray[np.bool_]
    scale: Scale


def beyond_chance(found: Result) -> NDArray[np.float64]:
    """Distances less what chance gives, (layers, groups, groups); 0 of a group with itself, NaN where not tested."""
    null_lgh = np.full(found.value.shape, np.nan) if found.null is None else found.null
    beyond_lgh = found.value - null_lgh
    same = np.arange(found.value.shape[1])
    beyond_lgh[:, same, same] = 0.0
    return beyond_lgh


def apart_grid(found: Result, layer: int) -> Apart:
    """The distances of one layer beyond chance."""
    values_gh = beyond_chance(found)[layer]
    q_gh = np.full(values_gh.shape, np.nan) if found.q is None else found.q[layer]
    high = max(LEAST_REACH_BITS, float(np.nanmax(values_gh, initial=0.0)))
    scale = Scale("distance beyond chance", low=0.0, high=high, unit="bits", null=0.0)
    faded_gh = ~(q_gh <= SURE)
    np.fill_diagonal(faded_gh, False)
    return Apart(values_gh, faded_gh, scale)


def apart_takeaway(found: Result, layer: int, names: Sequence[str]) -> str:
    """The two furthest apart and the two closest, beyond chance."""
    values_gh = beyond_chance(found)[layer]
    first, second = np.tril_indices(len(values_gh), -1)
    pairs = values_gh[first, second]
    if not np.isfinite(pairs).any():
        return f"Layer {names[layer]}: no two of them can be held against chance."
    most, least = int(np.nanargmax(pairs)), int(np.nanargmin(pairs))

    def pair(at: int) -> str:
        return f"{found.groups[second[at]]} and {found.groups[first[at]]}"

    q = np.full(len(pairs), np.nan) if found.q is None else found.q[layer][first, second]
    sure, tested = int((q <= SURE).sum()), int(np.isfinite(q).sum())
    return (
        f"Layer {names[layer]}: furthest apart are {pair(most)} ({number(float(pairs[most]))} bits beyond chance), "
        f"closest {pair(least)} ({number(float(pairs[least]))}). {sure} of {tested} pairs differ beyond chance "
        f"(q ≤ {SURE})."
    )


def apart_frame(found: Result, layer: int) -> pd.DataFrame:
    """One row for each two groups."""
    rows = [
        {"group": found.groups[g], "other_group": found.groups[h], "distance": found.value[layer, g, h]}
        | {
            name: values[layer, g, h]
            for name, values in (
                ("low", found.low),
                ("high", found.high),
                ("chance", found.null),
                ("p", found.p),
                ("q", found.q),
            )
            if values is not None
        }
        for g in range(len(found.groups))
        for h in range(g + 1, len(found.groups))
    ]
    return pd.DataFrame(rows)


def mean_apart(found: Result) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean distance over the pairs that have a null, and the mean of these nulls, by layer."""
    first, second = np.tril_indices(len(found.groups), -1)
    value_lx = found.value[:, first, second]
    null_lx = np.full(value_lx.shape, np.nan) if found.null is None else found.null[:, first, second]
    known_lx = np.isfinite(value_lx) & np.isfinite(null_lx)
    size_l = known_lx.sum(axis=1)

    def mean(values_lx: NDArray[np.float64]) -> NDArray[np.float64]:
        total_l = np.where(known_lx, values_lx, 0.0).sum(axis=1)
        mean_l = np.full(len(size_l), np.nan)
        np.divide(total_l, size_l, out=mean_l, where=size_l > 0)
        return mean_l

    return mean(value_lx), mean(null_lx)


def mean_takeaway(value_l: NDArray[np.float64], null_l: NDArray[np.float64], names: Sequence[str], unit: str) -> str:
    """Where groups are furthest apart, and how that compares with chance."""
    known_l = np.isfinite(value_l) & np.isfinite(null_l)
    if not known_l.any():
        return "No two of them have a null to be held against."
    ratio_l = np.divide(value_l, null_l, out=np.full(len(value_l), np.nan), where=known_l & (null_l > 0))
    times = ""
    if np.isfinite(ratio_l).any():
        times = f", {np.nanmin(ratio_l):.2g} to {np.nanmax(ratio_l):.2g} times what chance gives"
    above = in_layers(value_l > null_l, known_l)
    return f"On average {over_layers(value_l, names, unit)} apart{times}; above chance {above}."


def mean_frame(value_l: NDArray[np.float64], null_l: NDArray[np.float64], names: Sequence[str]) -> pd.DataFrame:
    """One row for each layer."""
    return pd.DataFrame({"layer": names, "mean_distance": value_l, "mean_chance": null_l})


def mean_plot(value_l: NDArray[np.float64], null_l: NDArray[np.float64], names: Sequence[str], y: str) -> go.Figure:
    """The mean distance by depth over the mean of the nulls."""
    shown = plot("layer", y)
    add_line(shown, np.arange(len(names)), null_l, name="chance", ink=NULL)
    add_line(shown, np.arange(len(names)), value_l, name="A", ink=A)
    layer_axis(shown, names)
    shown.update_yaxes(rangemode="tozero")
    return shown


def pair_sentence(found: Result, shift: Result, layer: int, pair: tuple[int, int], support: pd.DataFrame | None) -> str:
    """Two groups in one layer: bits, chance, q, work that would have to move, what is left under one mix of words."""
    g, h = pair
    first, second = found.groups[g], found.groups[h]
    null = float("nan") if found.null is None else float(found.null[layer, g, h])
    q = float("nan") if found.q is None else float(found.q[layer, g, h])
    sentence = (
        f"{first} and {second}: {number(float(found.value[layer, g, h]))} bits apart, {number(null)} by chance "
        f"({chance_words('q', q)}). {percent(float(shift.value[layer, g, h]))} of the work goes to other experts in "
        "one than in the other."
    )
    row = _pair_row(support, layer, {first, second})
    return sentence if row is None else f"{sentence} {row}"


def _pair_row(support: pd.DataFrame | None, layer: int, pair: set[str]) -> str | None:
    """What the table of common support says of two groups."""
    if support is None:
        return None
    rows = support[support["layer"].eq(layer) & support["group"].isin(pair) & support["other_group"].isin(pair)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    if row["reason"]:
        return f"With the same words equally often, nothing is known: {row['reason']}."
    return (
        f"Under one mix of the {int(row['ids']):,} words that both have often "
        f"({percent(float(row['covered']))} of the text), "
        f"{number(float(row['standardised_excess_bits']))} bits beyond chance are left "
        f"({chance_words('q', float(row['q']))})."
    )


def reach_takeaway(found: Result) -> str:
    """How many experts nearly all languages use more than an even share, and how many none does."""
    value_le = found.value
    known_le = np.isfinite(value_le)
    shared, none = int((value_le[known_le] >= 0.9).sum()), int((value_le[known_le] == 0).sum())
    return (
        f"Of {int(known_le.sum()):,} experts, {shared:,} do significantly more than an even share "
        "in nine of ten languages, "
        f"{none:,} in none."
    )


def reach_frame(found: Result, names: Sequence[str]) -> pd.DataFrame:
    """One row for each expert that is known."""
    layer_n, expert_n = np.nonzero(np.isfinite(found.value))
    rows = {
        "layer": np.array(names, object)[layer_n],
        "expert": expert_n,
        "share_of_languages": found.value[layer_n, expert_n],
    }
    return pd.DataFrame(rows)


def exclusive_frame(found: Result, names: Sequence[str]) -> pd.DataFrame:
    """One row for each language and layer that is known."""
    group_n, layer_n = np.nonzero(np.isfinite(found.value))
    rows = {"language": np.array(found.groups, object)[group_n], "layer": np.array(names, object)[layer_n]}
    return pd.DataFrame(rows | {"share_of_experts": found.value[group_n, layer_n]})


def exclusive_takeaway(found: Result, names: Sequence[str]) -> str:
    """Which language has most experts of its own, and where."""
    value_gl = found.value
    if not np.isfinite(value_gl).any() or np.nanmax(value_gl) == 0:
        return "No expert works for 30 % more of one language's tokens than of all others'."
    g, layer = map(int, np.unravel_index(int(np.nanargmax(value_gl)), value_gl.shape))
    has_own = int((np.nan_to_num(value_gl) > 0).any(axis=1).sum())
    return (
        f"Most: {percent(float(value_gl[g, layer]))} of the experts of layer {names[layer]} for {found.groups[g]}; "
        f"{has_own} of {len(value_gl)} languages have one in some layer."
    )


def apart(groups: Groups, pinned: Pick | None) -> Figure:
    """Every two groups in one layer."""
    page, layer, by = groups.page, groups.layer, groups.by
    found = page.measure("profile_divergence", by=by)
    grid = apart_grid(found, layer)
    drawn = Matrix(
        values_rc=grid.values_gh,
        rows=list(found.groups),
        columns=list(found.groups),
        scale=grid.scale,
        pinned=pinned,
        key=f"apart-{by}",
        options={
            "row_noun": by,
            "column_noun": by,
            "faded_rc": grid.faded_gh,
            "faded_says": f"not beyond chance (q > {SURE})",
            "square": True,
        },
    )
    return Figure(
        key="apart",
        takeaway=apart_takeaway(found, layer, groups.names),
        population=page.population,
        unit="bits (Jensen-Shannon) beyond chance",
        null="0: the two labels shuffled among the documents of both give the value that is taken off",
        badge="observed",
        metric="profile_divergence",
        body=(drawn,),
        frame=lambda: apart_frame(found, layer),
        notes=found.warnings,
        at={"layer": layer},
    )


def mean_distance(groups: Groups, metric: str, axis: str) -> Figure:
    """The mean over the pairs of groups by layer. Errors: OptionError where no pair can be held against chance."""
    page = groups.page
    found = page.measure(metric, by=groups.by)
    value_l, null_l = mean_apart(found)
    if not np.isfinite(value_l).any():
        raise OptionError(
            " ".join(found.warnings).rstrip(".") or f"no two {PLURALS[groups.by]} have a null",
            expected=f"two documents and more of each {groups.by}",
            do="choose more documents",
        )
    is_bits = metric == "profile_divergence"
    return Figure(
        key=metric,
        takeaway=mean_takeaway(value_l, null_l, groups.names, "bits" if is_bits else ""),
        population=page.population if is_bits else f"N = {found.tokens:,} tokens of passages in several languages",
        unit="bits" if is_bits else "share of the largest possible divergence",
        null=f"dotted: {_NULLS[metric]}",
        badge="observed",
        metric=metric,
        body=(Chart(mean_plot(value_l, null_l, groups.names, axis)),),
        frame=lambda: mean_frame(value_l, null_l, groups.names),
        notes=() if is_bits else found.warnings,
    )


_NULLS = {
    "profile_divergence": "mean over the pairs, their labels shuffled",
    "language_divergence": "two different passages in one language",
}


def reach(groups: Groups) -> Figure:
    """In how many of the languages each expert works."""
    page, view = groups.page, groups.page.view
    found = page.measure("language_reach", by="language")
    drawn = Matrix(
        values_rc=found.value,
        rows=groups.names,
        columns=None,
        scale=Scale("languages that share it", low=0.0, high=1.0, unit="share of the languages", null=0.0),
        pinned=None if view.expert is None else Pick(view.layer, view.expert),
    )
    return Figure(
        key="reach",
        takeaway=reach_takeaway(found),
        population=page.population,
        unit="share of the languages in which the expert does significantly more than an even share",
        badge="observed",
        metric="language_reach",
        body=(drawn,),
        frame=lambda: reach_frame(found, groups.names),
    )


def exclusive(groups: Groups) -> Figure:
    """The share of each layer's experts that one language has for itself."""
    found = groups.page.measure("exclusive_experts", by="language")
    drawn = Matrix(
        values_rc=found.value,
        rows=list(found.groups),
        columns=groups.names,
        scale=Scale.of(found.value, "experts of one language", unit="share of the experts", null=0.0),
        options={"row_noun": "language", "column_noun": "layer"},
    )
    return Figure(
        key="exclusive",
        takeaway=exclusive_takeaway(found, groups.names),
        population=groups.page.population,
        unit="share of the layer's experts that work for 30 % more of the language's tokens",
        badge="observed",
        metric="exclusive_experts",
        body=(drawn,),
        frame=lambda: exclusive_frame(found, groups.names),
    )
