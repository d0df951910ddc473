"""How even the load is in stretches of text: in windows from a few tokens to large batches, and by position."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import Result
from gatescope.app.charts.depth import number
from gatescope.app.charts.figure import Chart, Figure, Matrix
from gatescope.app.charts.page import Page, headline, measure_reference, population
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.app.components import Scale
from gatescope.routing.errors import OptionError


class Windowed(NamedTuple):
    """One layer's MaxVio by window size, where it is known; the null is that of an even router."""

    size_w: NDArray[np.int64]
    value_w: NDArray[np.float64]
    low_w: NDArray[np.float64]
    high_w: NDArray[np.float64]
    null_w: NDArray[np.float64]


def windowed(found: Result, layer: int) -> Windowed:
    """One layer of `window_violation`. Errors: OptionError where no window could be filled."""
    size_w = np.array([int(label) for label in found.labels["w"]])
    value_w = found.value[layer]
    known_w = np.isfinite(value_w)
    if not known_w.any() or found.null is None:
        raise OptionError(
            "no window of 8 tokens in a document, or more", expected="longer texts", do="choose more documents"
        )
    absent = np.full(value_w.shape, np.nan)
    low_w, high_w = (absent if end is None else end[layer] for end in (found.low, found.high))
    return Windowed(*(line[known_w] for line in (size_w, value_w, low_w, high_w, found.null[layer])))


def windows(page: Page, layer: int) -> Figure:
    """The balance of one layer at every window size."""
    found = page.measure("window_violation")
    lines = [("A", windowed(found, layer)), *_windows_of_b(page, layer)]
    return Figure(
        key="windows",
        takeaway=window_takeaway(lines[0][1], page.layers[layer]),
        population=population(page),
        unit="MaxVio: the busiest expert over the mean, less 1",
        null="dotted: an even router over as many independent tokens, which falls as 1/√w",
        badge="observed",
        metric="window_violation",
        body=(Chart(window_plot(lines)),),
        frame=lambda: window_frame(lines),
        notes=found.warnings,
        at={"layer": layer},
    )


def _windows_of_b(page: Page, layer: int) -> list[tuple[str, Windowed]]:
    """The same layer of B, where it has one with windows."""
    other = measure_reference(page, "window_violation")
    if other is None or layer >= len(other[1].value):
        return []
    try:
        return [(other[0].name, windowed(other[1], layer))]
    except OptionError:
        return []


def window_takeaway(line: Windowed, layer: str) -> str:
    """The shortest and the longest window, each beside an even router."""
    ends = [
        f"{number(line.value_w[at])} in windows of {line.size_w[at]:,} tokens (even router: {number(line.null_w[at])})"
        for at in dict.fromkeys((0, len(line.size_w) - 1))
    ]
    return f"MaxVio of layer {layer}: {', '.join(ends)}."


def window_plot(lines: Sequence[tuple[str, Windowed]]) -> go.Figure:
    """MaxVio over the size of the window, both in powers; A, then B, over the even router of A."""
    shown = plot("tokens in the window", "MaxVio")
    for (name, line), ink in zip(lines, (A, B), strict=False):
        if ink == A:
            add_line(shown, line.size_w, line.null_w, name="even router", ink=NULL)
        has_ends = np.isfinite(line.low_w)
        low_w, high_w = (np.where(has_ends, end, line.value_w) for end in (line.low_w, line.high_w))
        add_line(shown, line.size_w, line.value_w, name=name, ink=ink, low=low_w, high=high_w)
    shown.update_xaxes(type="log", tickvals=[8, 64, 512, 4096, 32768], ticktext=["8", "64", "512", "4,096", "32,768"])
    shown.update_layout(legend_traceorder="normal")
    ticks = [digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5)]
    shown.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return shown


def window_frame(lines: Sequence[tuple[str, Windowed]]) -> pd.DataFrame:
    """One row for each line and window size."""
    columns = ("tokens", "max_violation", "low", "high", "even_router")
    return pd.concat(
        [pd.DataFrame({"capture": name} | dict(zip(columns, line, strict=True))) for name, line in lines],
        ignore_index=True,
    )


class Places(NamedTuple):
    """Layers by stretches of position: how much work goes to other experts. Faded: not significantly above noise."""

    value_lb: NDArray[np.float64]
    faded_lb: NDArray[np.bool_]
    names: tuple[str, ...]
    scale: Scale


def places(found: Result) -> Places:
    """The matrix of `position_distance`, without stretches in which nothing stands. Errors: OptionError for none."""
    known_b: NDArray[np.bool_] = np.any(np.isfinite(found.value), axis=0)
    if not known_b.any():
        raise OptionError(
            "no two stretches of positions to compare", expected="longer texts", do="choose more documents"
        )
    value_lb = found.value[:, known_b]
    names = tuple(name for name, known in zip(found.labels["b"], known_b, strict=True) if known)
    scale = Scale("work that goes to other experts", low=0, high=1, unit="share of the layer's work")
    return Places(value_lb, _not_above(found)[:, known_b], names, scale)


def _not_above(found: Result) -> NDArray[np.bool_]:
    """Where the interval reaches down to what noise gives, or there is none."""
    if found.low is None or found.null is None:
        return np.ones(found.value.shape, bool)
    return ~(found.low > found.null)


def places_takeaway(grid: Places, layers: Sequence[str]) -> str:
    """The stretch of the text itself, and the special tokens, that are served most differently."""
    sentences = []
    plain = [at for at, name in enumerate(grid.names) if name != "special tokens"]
    for columns, of in ((plain, "positions"), ([at for at in range(len(grid.names)) if at not in plain], "")):
        if columns and np.isfinite(grid.value_lb[:, columns]).any():
            layer, at = divmod(int(np.nanargmax(grid.value_lb[:, columns])), len(columns))
            name = f"{of} {grid.names[columns[at]]}".strip()
            share = 100 * grid.value_lb[layer, columns[at]]
            sentences.append(f"{name} in layer {layers[layer]}, where {share:.0f} % of the work goes to other experts")
    return f"Served least like the rest of the text: {'; '.join(sentences)}."


def places_frame(found: Result, layers: Sequence[str]) -> pd.DataFrame:
    """One row for each layer and stretch."""
    names = found.labels["b"]
    rows: dict[str, object] = {"layer": np.repeat(layers, len(names)), "positions": np.tile(names, len(layers))}
    for column, values in (("share", found.value), ("low", found.low), ("high", found.high), ("noise", found.null)):
        if values is not None:
            rows[column] = values.ravel()
    return pd.DataFrame(rows)


def positions(page: Page) -> Figure:
    """How differently each stretch of positions is served."""
    found = page.measure("position_distance")
    names, grid = page.layers, places(found)
    drawn = Matrix(
        values_rc=grid.value_lb,
        rows=names,
        columns=grid.names,
        scale=grid.scale,
        options={
            "column_noun": "positions",
            "attribution": headline(page.source),
            "faded_rc": grid.faded_lb,
            "faded_says": "not significantly above noise",
        },
    )
    return Figure(
        key="places",
        takeaway=places_takeaway(grid, names),
        population=f"N = {found.tokens:,} tokens of {found.documents:,} documents, special ones among them",
        null="faint: the interval reaches down to what independent tokens differ by from chance alone",
        badge="observed",
        metric="position_distance",
        body=(drawn,),
        frame=lambda: places_frame(found, names),
        notes=found.warnings,
    )
