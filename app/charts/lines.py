"""Further marks of charts by layer or by size: lines of other kinds, stacked bars, words at the line itself."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.app.charts.plots import faint, mark

WORDS, OTHER = "#8250a6", "#1a7f5a"
"""Inks of what a text's words alone give, and of a further line; each has a dash of its own."""

MOST_NAMED = 12


def layer_axis(found: go.Figure, names: Sequence[str]) -> None:
    """Name the layers, drawn at 0, 1, 2 …, where there is room for their names."""
    if len(names) <= MOST_NAMED:
        found.update_xaxes(tickvals=list(range(len(names))), ticktext=[name.partition(" ")[0] for name in names])
    else:
        found.update_xaxes(tickformat="d", nticks=MOST_NAMED)


def named_layer_axis(found: go.Figure, names: Sequence[str]) -> None:
    """Of layers that are drawn at their names, give the numbers of as many as have room."""
    shown = names[:: max(1, -(-len(names) // MOST_NAMED))]
    found.update_xaxes(
        type="category", tickangle=0, tickvals=list(shown), ticktext=[name.partition(" ")[0] for name in shown]
    )


def add_stroke(
    found: go.Figure,
    x: Sequence[object] | NDArray[Any],
    y: NDArray[np.floating],
    *,
    name: str,
    ink: str,
    dash: str = "solid",
    symbol: str = "circle",
    **more: Any,
) -> None:
    """A line with marks in an ink and a dash of its own."""
    found.add_scatter(
        x=x,
        y=np.asarray(y, np.float32),
        name=escape(name),
        mode="lines+markers",
        line={"color": ink, "dash": dash, "width": 2},
        marker=mark(ink, len(y), symbol),
        **more,
    )


def add_band(
    found: go.Figure,
    x: Sequence[object] | NDArray[Any],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    ink: str,
) -> None:
    """What lies between two lines, faintly."""
    band = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    found.add_scatter(y=np.asarray(high, np.float32), **band)
    found.add_scatter(y=np.asarray(low, np.float32), fill="tonexty", fillcolor=faint(ink), **band)


def add_bars(found: go.Figure, y: NDArray[np.floating], *, name: str, ink: str, is_hatched: bool = False) -> None:
    """A bar for each layer, on those drawn before; hatched ones are told apart without colour."""
    pattern = {"shape": "/", "fgcolor": ink, "bgcolor": "rgba(128, 128, 128, 0.12)"} if is_hatched else {}
    found.add_bar(
        x=np.arange(len(y)),
        y=np.asarray(y, np.float32),
        name=escape(name),
        marker={"color": ink, "pattern": pattern, "line": {"color": ink, "width": 1}},
    )
    found.update_layout(barmode="relative", bargap=0.35)


def label_at(found: go.Figure, x: float, y: float, text: str, ink: str, *, right: int = 0, down: int = -16) -> None:
    """Say near a point of a line, so many pixels from it, which line it is; the text is in the page's own colour."""
    if np.isfinite(y):
        found.add_annotation(
            x=x,
            y=float(y),
            text=escape(text),
            font={"size": 12},
            ax=right,
            ay=down,
            arrowcolor=ink,
            arrowwidth=1,
            arrowhead=0,
        )
