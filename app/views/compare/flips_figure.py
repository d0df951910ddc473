"""Flips of two captures of the same tokens: by how close the choice was, and by depth."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.compare import FEWEST, Cascade, Flips
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.lines import named_layer_axis
from gatescope.app.charts.plots import NULL, A, B, add_line, plot


def margin_figure(found: Flips, *, population: str, whose: str) -> Figure:
    """How much more often the closest choices flip than the firmest."""
    return Figure(
        key="margins",
        takeaway=_flips_said(found),
        population=population,
        unit="share of choices whose set of experts differs",
        null=f"dotted: {found.overall:.1%}, the rate of all: what each tenth had if margins said nothing",
        badge="observed",
        says=(
            ("Margin", f"of {whose}, by its rank among its layer's: the first tenth are the closest choices"),
            ("Interval", "95 %, over documents drawn anew"),
            ("Not this", "a cause: tokens whose router is undecided differ in more than their margin"),
        ),
        body=(Chart(margin_plot(found)),),
        frame=lambda: margin_frame(found),
    )


def _flips_said(found: Flips) -> str:
    if not found.overall > 0:
        return "Nothing flips, near ties neither."
    filled = np.flatnonzero(found.tokens_b)
    if len(filled) < 2:
        return f"Cannot be told: all choices are equally close; {found.overall:.1%} of them flip."
    close, firm = found.rate_b[filled[0]], found.rate_b[filled[-1]]
    return (
        f"{_answer(found)}: of the closest tenth of the choices {close:.1%} flip, of the "
        f"firmest {firm:.1%}; of all, {found.overall:.1%}."
    )


SATURATED = 0.995
"""Rate of all choices above which none is left that could flip less."""


def _answer(found: Flips) -> str:
    """Whether the closest tenth flips more than all and than the firmest, beyond the intervals of both."""
    if found.overall > SATURATED:
        return "Cannot be told, since nearly every choice flips"
    firmest = found.high_b[np.flatnonzero(found.tokens_b)[-1]]
    if found.low_b[0] > found.overall and not found.low_b[0] <= firmest:
        return "Yes"
    return "No" if found.high_b[0] < found.overall else "Not beyond doubt"


def margin_frame(found: Flips) -> pd.DataFrame:
    """A row for each tenth of the margins."""
    return pd.DataFrame(
        {
            "tenth": np.arange(1, len(found.rate_b) + 1),
            "margin": found.margin_b,
            "choices": found.tokens_b,
            "flips": found.rate_b,
            "low": found.low_b,
            "high": found.high_b,
            "null": found.overall,
        }
    )


def margin_plot(found: Flips) -> go.Figure:
    """Flip rate by tenth of the margin."""
    shown = plot("margin, from the closest tenth to the firmest (middle of each)", "share of choices that flip")
    names = [f"{margin:.2g}" if np.isfinite(margin) else "–" for margin in found.margin_b]
    x = np.arange(len(names))
    add_line(shown, x, np.full(len(names), found.overall), name="if margins said nothing", ink=NULL)
    add_line(shown, x, found.rate_b, name="flips", ink=A, low=found.low_b, high=found.high_b)
    shown.update_xaxes(tickvals=x.tolist(), ticktext=names)
    shown.update_yaxes(rangemode="tozero", tickformat=".0%")
    return shown


def cascade_figure(found: Cascade, names: list[str], *, population: str) -> Figure:
    """Where flips begin, and how much more often they follow one another."""
    later = slice(1, None)
    after, other = _mean(found.after_l[later]), _mean(found.else_l[later])
    first = int(np.argmax(found.first_l))
    if not np.nansum(found.rate_l):
        sentence = "No set of experts changed in any layer"
    else:
        sentence = f"Most change first in layer {names[first]} ({found.first_l[first]:.1%} of the tokens)"
        sentence += _carried_on(found, after, other)
    return Figure(
        key="cascade",
        takeaway=f"{sentence}.",
        population=population,
        unit="share of tokens whose set of experts differs",
        null="if one layer's change did not matter to the next, both lines would lie on each other",
        badge="observed",
        says=(("Not this", "a cause: what makes a token change in two layers may be the token"),),
        body=(Chart(cascade_plot(found, names)),),
        frame=lambda: cascade_frame(found, names),
    )


def _carried_on(found: Cascade, after: float, other: float) -> str:
    """What a change in the layer before does; that it cannot be told where (nearly) all changed, or none did."""
    if not (np.isfinite(after) and np.isfinite(other)):
        which = "had not" if np.isfinite(after) else "had"
        return (
            f". Whether changes carry on cannot be told: in no layer are there {FEWEST} tokens that {which} changed in "
            "the layer before"
            if len(found.rate_l) > 1
            else ""
        )
    known_l = np.isfinite(found.after_low_l) & np.isfinite(found.else_l)
    apart = int((found.after_low_l[known_l] > found.else_l[known_l]).sum())
    beyond = f", apart beyond the interval in {apart} of {int(known_l.sum())} layers" if known_l.any() else ""
    return f"; after a change {after:.1%} change in the next layer too, after none {other:.1%}{beyond}"


def _mean(values: NDArray[np.floating]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def cascade_frame(found: Cascade, names: list[str]) -> pd.DataFrame:
    """A row for each layer."""
    return pd.DataFrame(
        {
            "layer": names,
            "flips": found.rate_l,
            "after_a_flip": found.after_l,
            "low": found.after_low_l,
            "high": found.after_high_l,
            "after_none": found.else_l,
            "first_flips": found.first_l,
        }
    )


def cascade_plot(found: Cascade, names: list[str]) -> go.Figure:
    """Flips after a flip and after none, and where a token's first flip is."""
    shown = plot("layer", "share of tokens")
    add_line(shown, names, found.after_l, name="after a change", ink=A, low=found.after_low_l, high=found.after_high_l)
    add_line(shown, names, found.else_l, name="after none", ink=B)
    add_line(shown, names, found.first_l, name="first change here", ink=NULL)
    named_layer_axis(shown, names)
    shown.update_yaxes(rangemode="tozero", tickformat=".0%")
    return shown
