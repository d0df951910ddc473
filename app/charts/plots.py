"""Plotly charts in one manner: few inks, A blue and solid, B orange and dashed, the null a dotted grey line."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

A, B, NULL = "#2b7bba", "#d55e00", "#8a8f98"
"""Ink of capture A, of capture B, and of chance; each has its own dash too, so that colour is never alone."""

DASH = {A: "solid", B: "dash", NULL: "dot"}
HEIGHT = 300
MOST_MARKED = 100
"""Points of a line up to which each has a mark that is seen; marks of more would run into one thick band."""


def plot(x: str, y: str, *, height: int = HEIGHT, is_legend_shown: bool = True) -> go.Figure:
    """An empty chart with its two axes named."""
    found = go.Figure()
    found.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=is_legend_shown,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
    )
    found.update_xaxes(title=escape(x), automargin=True, zeroline=False)
    found.update_yaxes(title=escape(y), automargin=True, zeroline=False)
    return found


def add_line(
    found: go.Figure,
    x: Sequence[object] | NDArray[Any],
    y: NDArray[np.floating],
    *,
    name: str,
    ink: str = A,
    low: NDArray[np.floating] | None = None,
    high: NDArray[np.floating] | None = None,
) -> None:
    """A line with a mark at each point and, where they are known, its 95 % interval as a band.

    Nothing where no point is known: a legend names only what is drawn.
    """
    if not np.isfinite(np.asarray(y, np.float64)).any():
        return
    if low is not None and high is not None:
        band = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        found.add_scatter(y=np.asarray(high, np.float32), **band)
        found.add_scatter(y=np.asarray(low, np.float32), fill="tonexty", fillcolor=faint(ink), **band)
    found.add_scatter(
        x=x,
        y=np.asarray(y, np.float32),
        name=escape(name),
        mode="lines" if ink == NULL else "lines+markers",
        line={"color": ink, "dash": DASH.get(ink, "solid"), "width": 2},
        marker=mark(ink, len(y), "diamond" if ink == B else "circle"),
    )


def mark(ink: str, points: int, symbol: str) -> dict[str, object]:
    """The mark at each of so many points of a line; where they are many it can be pointed at, and is not seen."""
    return {"color": ink, "size": 6, "symbol": symbol} | ({} if points <= MOST_MARKED else {"opacity": 0})


def faint(ink: str) -> str:
    """An ink so thin that what lies under it can be read.

    >>> faint("#2b7bba")
    'rgba(43, 123, 186, 0.18)'
    """
    red, green, blue = (int(ink[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.18)"
