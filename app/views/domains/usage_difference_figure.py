"""Experts × groups of one layer, and layers × groups: which experts specialize in what."""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Figure, Matrix
from gatescope.app.charts.formatting import SURE
from gatescope.app.components import Pick, Scale
from gatescope.app.views.domains.groups_figure import (
    PLURALS,
    counts_frame,
    differences,
    specialized_counts,
    usage_difference_frame,
    usage_difference_takeaway,
)
from gatescope.app.views.domains.word_tables import Groups


def one_layer(groups: Groups, difference: Result, pinned: Pick | None) -> Figure:
    """Experts × groups of the layer that is looked at."""
    page, layer, by = groups.page, groups.layer, groups.by
    share = page.measure("token_share_of_group", by=by)
    grid = differences(difference, layer, page.source.record.layers[layer].experts)
    drawn = Matrix(
        values_rc=grid.values_eg,
        rows=None,
        columns=list(difference.groups),
        scale=grid.scale,
        pinned=pinned,
        key=f"usage-difference-{by}",
        options={
            "row_noun": "expert",
            "column_noun": by,
            "faded_rc": grid.faded_eg,
            "faded_says": f"not beyond chance (q > {SURE})",
        },
    )
    return Figure(
        key="usage-difference",
        takeaway=usage_difference_takeaway(difference, layer, groups.names, by),
        population=page.population,
        unit="share of the group's tokens that use the expert, minus the same share of all other groups",
        null="0; shuffled labels give nearly that",
        badge="observed",
        metric="usage_difference",
        body=(drawn,),
        frame=lambda: usage_difference_frame(difference, share, layer, by),
        notes=difference.warnings,
        at={"layer": layer},
    )


def all_layers(groups: Groups, difference: Result, pinned: Pick | None) -> Figure:
    """Layers × groups: what share of a layer's experts is specialized."""
    share_lg = specialized_counts(difference)
    drawn = Matrix(
        values_rc=share_lg,
        rows=groups.names,
        columns=list(difference.groups),
        scale=Scale("specialized experts", low=0.0, high=1.0, unit="share of the experts", null=0.0),
        pinned=pinned,
        key=f"usage-difference-all-{groups.by}",
        options={"column_noun": groups.by},
    )
    return Figure(
        key="usage-difference-all",
        question=f"In which layers do experts specialize in which {groups.by}?",
        takeaway=_all_takeaway(share_lg, difference, groups),
        population=groups.page.population,
        unit=f"share of the layer's experts used significantly more or less often for the {groups.by} (q ≤ {SURE})",
        null=f"at most {SURE:.0%} of what is called so is expected to be chance".replace("%", " %"),
        badge="observed",
        metric="usage_difference",
        body=(drawn,),
        frame=lambda: counts_frame(share_lg, difference, groups.names, groups.by),
        notes=difference.warnings,
    )


def _all_takeaway(share_lg: NDArray[np.float64], difference: Result, groups: Groups) -> str:
    if not np.isfinite(share_lg).any():
        return f"No {groups.by} could be tested: each has one document, or none to be shuffled with."
    layer, group = np.unravel_index(int(np.nanargmax(share_lg)), share_lg.shape)
    mean = float(np.nanmean(share_lg))
    return (
        f"Layer {groups.names[layer]} has most specialized experts for {difference.groups[group]}: "
        f"{share_lg[layer, group]:.0%}; "
        f"on average over layers and {PLURALS[groups.by]}, {mean:.0%}."
    ).replace("%", " %")
