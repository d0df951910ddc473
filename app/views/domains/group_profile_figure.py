"""One domain or language: which experts it uses more and less than all others, and which group routes most like it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Chart, Figure, Text
from gatescope.app.charts.forest import forest
from gatescope.app.charts.formatting import SURE, percent
from gatescope.app.views.domains.divergence_figure import beyond_chance
from gatescope.app.views.domains.word_tables import Groups
from gatescope.routing.errors import OptionError

SHOWN = 12
"""Experts drawn: those whose usage differs most."""


class Measured(NamedTuple):
    """What a profile is made of: shares of tokens, their differences to all others, distances of every two groups."""

    share: Result
    difference: Result
    distance: Result | None


def group_profile(groups: Groups, found: Measured, name: str) -> Figure:
    """What is special about the routing of one group. Errors: OptionError where nothing of it can be compared."""
    frame = profile_frame(found, groups.names, name, groups.by)
    if frame.empty:
        raise OptionError(
            f"nothing of {name} can be compared", expected="documents of it and of others", do="choose another group"
        )
    sure = frame[frame["q"] <= SURE]
    return Figure(
        key="profile",
        takeaway=takeaway(frame, name),
        population=groups.page.population,
        unit="share of its tokens that use the expert, minus that of all others; 95 % interval over documents",
        null="0; q: labels shuffled among documents",
        badge="observed" if sure.empty else "beyond null",
        metric="usage_difference",
        says=(("Hollow", f"not significant against shuffled labels, q > {SURE}."),),
        body=(Chart(_bars(frame)), *_nearest(found.distance, name)),
        frame=lambda: frame,
        notes=found.difference.warnings,
    )


def profile_frame(found: Measured, layers: list[str], name: str, by: str) -> pd.DataFrame:
    """A row for each layer and expert of one group, the one whose usage differs most first."""
    g = found.difference.groups.index(name)
    value_le = found.difference.value[g]
    layer_n, expert_n = np.nonzero(np.isfinite(value_le))

    def column(values_gle: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return np.full(len(layer_n), np.nan) if values_gle is None else values_gle[g, layer_n, expert_n]

    frame = pd.DataFrame(
        {
            by: name,
            "layer": np.array(layers, object)[layer_n],
            "expert": expert_n,
            "share": column(found.share.value),
            "share_low": column(found.share.low),
            "share_high": column(found.share.high),
            "usage_difference": column(found.difference.value),
            "low": column(found.difference.low),
            "high": column(found.difference.high),
            "p": column(found.difference.p),
            "q": column(found.difference.q),
        }
    )
    return frame.sort_values("usage_difference", key=np.abs, ascending=False, ignore_index=True)


def takeaway(frame: pd.DataFrame, name: str) -> str:
    """The expert used most above and most below all others, and how many differ."""
    sure = frame[frame["q"] <= SURE]
    if sure.empty:
        return f"{name}: no expert is used significantly more or less than for all others (q ≤ {SURE})."
    more, less = sure[sure["usage_difference"] > 0], sure[sure["usage_difference"] < 0]
    facts = [f"{name}: {len(sure):,} of {len(frame):,} experts differ significantly (q ≤ {SURE})"]
    facts += [
        f"{which} is {_expert(part.iloc[0])}"
        for which, part in (("most above", more), ("most below", less))
        if len(part)
    ]
    return "; ".join(facts) + "."


def _expert(row: pd.Series) -> str:
    points = 100 * row["usage_difference"]
    within = f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})" if np.isfinite(row["low"]) else ""
    share, against = percent(row["share"]), f"{points:+.1f} points{within} against all others".replace("-", "−")
    return f"expert {row['expert']} of layer {row['layer']}, which takes {share} of its tokens, {against}"


def _bars(frame: pd.DataFrame) -> go.Figure:
    shown = frame.head(SHOWN)
    return forest(
        [f"layer {layer} · {expert}" for layer, expert in zip(shown["layer"], shown["expert"], strict=True)],
        shown["usage_difference"].to_numpy(),
        x="share of its tokens, minus that of all others",
        low_n=shown["low"].to_numpy(),
        high_n=shown["high"].to_numpy(),
        null=0.0,
        null_name="as all others",
        is_sure_n=(shown["q"] <= SURE).to_numpy(),
        percent=True,
    )


def _nearest(distance: Result | None, name: str) -> tuple[Text, ...]:
    """Which group routes most like it and which least, over all layers; nothing where that is not known."""
    if distance is None or name not in distance.groups:
        return ()
    g = distance.groups.index(name)
    beyond_lh = beyond_chance(distance)[:, g]
    known_h = np.isfinite(beyond_lh).all(axis=0) & (np.arange(beyond_lh.shape[1]) != g)
    mean_h = np.where(known_h, np.where(known_h, beyond_lh, 0).mean(axis=0), np.nan)
    if np.isfinite(mean_h).sum() < 2:
        return ()
    near, far = int(np.nanargmin(mean_h)), int(np.nanargmax(mean_h))
    return (
        Text(
            f"Routes most like {distance.groups[near]} ({mean_h[near]:.3f} bits apart beyond chance, mean over layers) "
            f"and least like {distance.groups[far]} ({mean_h[far]:.3f} bits)."
        ),
    )
