"""Dots with their intervals, one row for each thing, beside a line for chance."""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.app.charts.plots import NULL, A, plot

ROW, AROUND = 24, 110
"""Height of one row, and of the axis and the legend."""
LEAST_SPREAD = 1e-3
"""Of the largest value, how far apart values must lie for an axis of their own."""


def forest(
    names: Sequence[str],
    value_n: NDArray[np.floating],
    *,
    x: str,
    low_n: NDArray[np.floating] | None = None,
    high_n: NDArray[np.floating] | None = None,
    null: float | NDArray[np.floating] | None = None,
    null_name: str = "chance",
    is_sure_n: NDArray[np.bool_] | None = None,
    percent: bool = False,
) -> go.Figure:
    """Values from top to bottom with their 95 % intervals; what is not sure is hollow.

    `null` is one line for all, or a cross for each.
    """
    shown = plot(x, "", height=AROUND + ROW * len(names), is_legend_shown=True)
    rows = [escape(name) for name in names]
    sure_n = np.ones(len(rows), bool) if is_sure_n is None else is_sure_n
    if null is not None and np.ndim(null) == 0:
        ends = [rows[0], rows[-1]] if rows else []
        line = {"color": NULL, "dash": "dot", "width": 2}
        shown.add_scatter(x=[float(null)] * len(ends), y=ends, mode="lines", line=line, name=null_name)
    elif null is not None:
        marker = {"color": NULL, "symbol": "x-thin", "size": 9, "line": {"color": NULL, "width": 2}}
        shown.add_scatter(x=np.asarray(null, np.float32), y=rows, mode="markers", marker=marker, name=null_name)
    for name, is_kind_n in (("A", sure_n), ("A, not beyond chance", ~sure_n)):
        if is_kind_n.any():
            _dots(shown, rows, np.asarray(value_n), low_n, high_n, is_kind_n, name=name, is_hollow=name != "A")
    shown.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=rows, type="category", title=None)
    shown.update_xaxes(tickformat=".0%" if percent else None)
    if _is_one_value(*(each for each in (value_n, null, low_n, high_n) if each is not None)):
        shown.update_xaxes(rangemode="tozero")
    shown.update_layout(hovermode="closest")
    return shown


def _is_one_value(*drawn: float | NDArray[np.floating]) -> bool:
    """Whether all that is drawn lies in one place, so that an axis around it would have ticks of many digits."""
    value_n = np.concatenate([np.ravel(each) for each in drawn])
    value_n = value_n[np.isfinite(value_n)]
    return bool(value_n.size) and bool(np.ptp(value_n) <= LEAST_SPREAD * np.abs(value_n).max())


def _dots(
    shown: go.Figure,
    rows: Sequence[str],
    value_n: NDArray[np.floating],
    low_n: NDArray[np.floating] | None,
    high_n: NDArray[np.floating] | None,
    is_kind_n: NDArray[np.bool_],
    *,
    name: str,
    is_hollow: bool,
) -> None:
    at = np.flatnonzero(is_kind_n)
    bars = None
    if low_n is not None and high_n is not None:
        bars = {
            "type": "data",
            "symmetric": False,
            "array": np.asarray(high_n - value_n, np.float32)[at],
            "arrayminus": np.asarray(value_n - low_n, np.float32)[at],
            "color": A,
            "thickness": 1.5,
        }
    shown.add_scatter(
        x=np.asarray(value_n, np.float32)[at],
        y=[rows[each] for each in at.tolist()],
        mode="markers",
        name=name,
        error_x=bars,
        marker={"color": A, "size": 9, "symbol": "circle-open" if is_hollow else "circle", "line": {"color": A}},
        opacity=0.6 if is_hollow else 1.0,
    )
