"""What one expert works on, by domain or language, by place in the document, by class of token."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.expert_flow import PlaceLoad, place_load
from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.forest import forest
from gatescope.app.charts.page import Page
from gatescope.app.views.expert.profile_figure import Chosen
from gatescope.routing.errors import OptionError
from gatescope.server.measures import call
from gatescope.server.sources import select_routes

SURE = 0.05


def groups_question(by: str) -> str:
    """The question of the bars by domain or language."""
    return f"Does it work more on some {by}s?"


def groups_frame(share: Result, difference: Result, layer: int, expert: int) -> pd.DataFrame:
    """A row for each group, the one that uses the expert most first."""
    frame = pd.DataFrame(
        {
            "group": share.groups,
            "share_of_tokens": share.value[:, layer, expert],
            "low": _column(share.low, layer, expert, len(share.groups)),
            "high": _column(share.high, layer, expert, len(share.groups)),
            "usage_difference": difference.value[:, layer, expert],
            "q": _column(difference.q, layer, expert, len(share.groups)),
        }
    )
    return frame[np.isfinite(frame["share_of_tokens"])].sort_values(
        "share_of_tokens", ascending=False, ignore_index=True
    )


def _column(table: NDArray[np.float64] | None, layer: int, expert: int, size: int) -> NDArray[np.float64]:
    return np.full(size, np.nan) if table is None else table[:, layer, expert]


def groups_figure(frame: pd.DataFrame, by: str, whole: float, population: str) -> Figure:
    """What is said around the bars; `whole` is the share of all tokens. Errors: OptionError where no group has any."""
    if frame.empty:
        raise OptionError(f"no {by} with tokens", expected="labelled documents", do="choose other tokens")
    sure = frame[(frame["q"] <= SURE) & (frame["usage_difference"] > 0)]
    away = frame[(frame["q"] <= SURE) & (frame["usage_difference"] < 0)]
    if sure.empty and away.empty:
        told = f"No {by} is beyond what shuffled labels give (q ≤ 0.05)"
    else:
        told = f"More than chance in {_named(sure)}, less in {_named(away)} (q ≤ 0.05)"
    most = frame.iloc[0]
    return Figure(
        key="groups",
        takeaway=(
            f"{told}. Most: {most['group']}, where {most['share_of_tokens']:.0%} of tokens use it, of all {whole:.0%}."
        ),
        population=population,
        unit="share of tokens that use it, 95 % interval over documents",
        null=f"{whole:.0%}: share of all tokens, what a router gives that does not see the {by}; q: labels shuffled",
        badge="observed" if sure.empty and away.empty else "beyond null",
        metric="token_share_of_group",
        says=(
            (
                "Hollow",
                "its usage difference to all other documents is not significant against shuffled labels, q > 0.05.",
            ),
        ),
        body=(Chart(groups_plot(frame, whole)),),
        frame=lambda: frame,
    )


def _named(frame: pd.DataFrame, most: int = 4) -> str:
    names = frame["group"].tolist()
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"


def groups_plot(frame: pd.DataFrame, whole: float) -> go.Figure:
    """The bars."""
    return forest(
        frame["group"].tolist(),
        frame["share_of_tokens"].to_numpy(),
        x="share of tokens that use it",
        low_n=frame["low"].to_numpy(),
        high_n=frame["high"].to_numpy(),
        null=whole,
        null_name="all tokens",
        is_sure_n=(frame["q"] <= SURE).to_numpy(),
        percent=True,
    )


PLACE = "Does it work more at some places of a document?"


def places_frame(found: PlaceLoad) -> pd.DataFrame:
    """A row for each stretch of positions."""
    frame = pd.DataFrame(
        {"positions": found.places, "relative_load": found.value_b, "low": found.low_b, "high": found.high_b}
    )
    return frame[np.isfinite(frame["relative_load"])].reset_index(drop=True)


def places_figure(frame: pd.DataFrame, found: PlaceLoad, population: str) -> Figure:
    """What is said around the places. Errors: OptionError where no token has one."""
    if frame.empty:
        raise OptionError("no tokens", expected="tokens that count", do="choose other tokens in the sidebar")
    most, least = (frame.loc[at] for at in (frame["relative_load"].idxmax(), frame["relative_load"].idxmin()))
    apart = np.isfinite(most["low"]) and np.isfinite(least["high"]) and most["low"] > least["high"]
    return Figure(
        key="places",
        takeaway=(
            f"From {least['relative_load']:.2f} times its even share at positions {least['positions']} to "
            f"{most['relative_load']:.2f} at {most['positions']}; "
            f"the two intervals {'lie apart' if apart else 'do not lie apart'}."
        ),
        population=population,
        unit="multiple of an even share of the work there, 95 % interval over documents",
        null=f"{found.whole:.2f}: its load over all positions",
        badge="observed",
        says=(("Not this", "an effect of position alone: texts begin with other words than they go on with."),),
        body=(Chart(places_plot(frame, found)),),
        frame=lambda: frame,
    )


def places_plot(frame: pd.DataFrame, found: PlaceLoad) -> go.Figure:
    """The places."""
    return forest(
        frame["positions"].tolist(),
        frame["relative_load"].to_numpy(),
        x="load over an even share",
        low_n=frame["low"].to_numpy(),
        high_n=frame["high"].to_numpy(),
        null=found.whole,
        null_name="all positions",
    )


CLASS = "Which kinds of token does it take?"
SHOWN = 12


def classes_frame(found: Result, layer: int, expert: int) -> pd.DataFrame:
    """A row for each class of token that occurs, the largest load first."""
    null = np.full(len(found.labels["c"]), np.nan) if found.null is None else found.null[:, layer, expert]
    frame = pd.DataFrame(
        {"class": found.labels["c"], "relative_load": found.value[:, layer, expert], "over_all_tokens": null}
    )
    return frame[np.isfinite(frame["relative_load"])].sort_values("relative_load", ascending=False, ignore_index=True)


def classes_figure(frame: pd.DataFrame, population: str) -> Figure:
    """What is said around the classes. Errors: OptionError where there are none."""
    if frame.empty:
        raise OptionError("no token whose text is known", expected="tokens with their texts", do="capture again")
    first, last, whole = frame.iloc[0], frame.iloc[-1], frame["over_all_tokens"].iloc[0]
    return Figure(
        key="classes",
        takeaway=(
            f"Most of all {first['class']}: {first['relative_load']:.1f} times an even share of their work, where it "
            f"has {whole:.1f} of all; least {last['class']}, {last['relative_load']:.1f} times."
        ),
        population=population,
        unit="multiple of an even share of the work on such tokens",
        null=f"{whole:.2f}: its load over all tokens, what a router gives that does not see the class",
        badge="observed",
        metric="class_load",
        body=(Chart(classes_plot(frame)),),
        frame=lambda: frame,
    )


def classes_plot(frame: pd.DataFrame) -> go.Figure:
    """The classes; those in between are left to the table where there are many."""
    shown = frame if len(frame) <= SHOWN else pd.concat([frame.head(SHOWN - 3), frame.tail(3)])
    return forest(
        shown["class"].tolist(),
        shown["relative_load"].to_numpy(),
        x="load over an even share",
        null=float(frame["over_all_tokens"].iloc[0]),
        null_name="all tokens",
    )


def groups(page: Page, chosen: Chosen) -> Figure:
    """The domains or languages that use the expert most. Errors: OptionError where no document has such a label."""
    by = page.view.by
    if not any(getattr(document, by) for document in select_routes(page.source, page.scope).documents):
        raise OptionError(
            f"no document says its {by}",
            expected=f"texts labelled with a {by}",
            do="choose such a corpus as A above, such as the probe set",
        )
    share = page.measure("token_share_of_group", by=by)
    difference = page.measure("usage_difference", by=by)
    frame = groups_frame(share, difference, chosen.layer, chosen.expert)
    rule = page.source.record.layers[chosen.layer]
    load = page.measure("relative_load").value[chosen.layer, chosen.expert]
    whole = float(load) * rule.k / rule.experts
    return replace(groups_figure(frame, by, whole, page.population), at=chosen.place)


def places(page: Page, chosen: Chosen) -> Figure:
    """The places of a document where the expert works more."""
    found = call(page.source, page.scope, place_load, chosen.layer, chosen.expert)
    frame = places_frame(found)
    return replace(places_figure(frame, found, page.population), at=chosen.place)


def classes(page: Page, chosen: Chosen) -> Figure:
    """The classes of token that the expert takes."""
    frame = classes_frame(page.measure("class_load"), chosen.layer, chosen.expert)
    return replace(classes_figure(frame, page.population), at=chosen.place)
