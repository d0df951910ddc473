"""Any metric of the registry as a picture: which of its axes are drawn, and which the reader chooses a place on."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import AXES, METRICS, Result
from gatescope.app.charts.figure import Chart, Figure, Matrix, Part, Text
from gatescope.app.charts.page import Page
from gatescope.app.charts.plots import NULL, A, add_line, plot
from gatescope.app.components import Scale
from gatescope.studies.tables import result_frame

SIDES = ("lef", "lgh", "le", "lg", "lw", "lr", "lb", "lc", "gh", "wr")
"""Which axes become rows and columns, the first of these that a metric has: "lef" are experts by experts at a layer."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """How a metric is drawn: `chosen` axes have one place each, the others (none, one or two) are the picture's."""

    chosen: tuple[int, ...]
    rows: int | None
    columns: int | None


def drawn(axes: str, shape: tuple[int, ...]) -> Drawn:
    """The picture's axes, by their number in the metric; one that has a single place is none.

    >>> drawn("le", (6, 32)), drawn("gl", (1, 6)), drawn("lef", (6, 32, 32)).chosen
    (Drawn(chosen=(), rows=0, columns=1), Drawn(chosen=(0,), rows=None, columns=1), (0,))
    """
    own = "".join(letter for letter, size in zip(axes, shape, strict=True) if size > 1) or axes[-1:]
    rows: int | None = None
    columns = axes.index(own) if own else None
    if len(own) > 1:
        sides = next((side for side in SIDES if set(side) <= set(own)), own[-2:])[-2:]
        rows, columns = axes.index(sides[0]), axes.index(sides[1])
    chosen = tuple(number for number in range(len(axes)) if number not in (rows, columns))
    return Drawn(chosen=chosen, rows=rows, columns=columns)


def at(values: NDArray[np.float64], how: Drawn, places: tuple[int, ...]) -> NDArray[np.float64]:
    """The part of a metric's array that is drawn, rows first; `places` are those on the chosen axes."""
    picked = values[tuple(places[how.chosen.index(n)] if n in how.chosen else slice(None) for n in range(values.ndim))]
    return picked.T if how.rows is not None and how.columns is not None and how.rows > how.columns else picked


def part(result: Result, how: Drawn, places: tuple[int, ...]) -> NDArray[np.float64]:
    """The part of a result that is drawn; of one that keeps some pairs only, a layer, with NaN for the others."""
    if result.places is None:
        return at(result.value, how, places)
    return at(result.layer(places[0])[None], how, (0,))


def names(name: str, result: Result, axis: int, layers: list[str]) -> list[str]:
    """What the places of one axis are called."""
    letter, size = METRICS[name].axes[axis], result.shape[axis]
    if letter == "l" and len(layers) == size:
        return layers
    labels = result.labels.get(letter) or (result.groups if letter in "gh" else ())
    return [str(each) or "all" for each in labels] if len(labels) == size else [str(number) for number in range(size)]


def noun(name: str, axis: int) -> str:
    """What one place of an axis is."""
    return AXES[METRICS[name].axes[axis]]


def unit_after(unit: str) -> str:
    """A unit as it is said after a number.

    >>> unit_after("bits"), unit_after("1 (share of tokens)"), unit_after("1")
    (' bits', ' (share of tokens)', '')
    """
    return unit.removeprefix("1") if unit.split(" ")[0] == "1" else f" {unit}"


def summary(name: str, values: NDArray[np.float64], named: list[str] | None = None) -> str:
    """One sentence of a part that is drawn: its ends, and where the largest is if it has names."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "It is defined nowhere here."
    if known.size == 1:
        return f"It is {known[0]:.4g}{unit_after(METRICS[name].unit)}."
    where = "" if named is None else f", at {named[int(np.nanargmax(values))]}"
    return f"From {known.min():.3g} to {known.max():.3g}{where}; half of the values lie below {np.median(known):.3g}."


def any_figure(page: Page, name: str, by: str, result: Result, how: Drawn, places: tuple[int, ...]) -> Figure:
    """A metric as its axes ask: a number, a line or a matrix, at `places` on the axes that are not drawn."""
    metric, layers, shown = METRICS[name], page.layers, part(result, how, places)
    named = None if how.columns is None or how.rows is not None else names(name, result, how.columns, layers)
    body: tuple[Part, ...] = ()
    if how.columns is None:
        body = (Text(f"{float(shown):.4g}{unit_after(metric.unit)}", "large"),)
    elif how.rows is None:
        body = (Chart(_line(name, result, how, places, named or [])),)
    elif shown.size:
        body = (_matrix(name, result, how.rows, how.columns, shown, layers),)
    return Figure(
        key=f"any-{name}",
        question=f"{metric.title}{f' by {by}' if by else ''}",
        takeaway=f"{metric.meaning} {summary(name, shown, named)}",
        population=f"N = {result.tokens:,} tokens of {result.documents:,} documents",
        metric=name,
        says=tuple(("Note", warning) for warning in result.warnings),
        body=body,
        frame=lambda: result_frame(page.source.record.layers, name, result),
    )


def _line(name: str, result: Result, how: Drawn, places: tuple[int, ...], named: list[str]) -> go.Figure:
    def line(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if values is None else at(np.broadcast_to(values, result.value.shape), how, places)

    value = at(result.value, how, places)
    shown = plot(noun(name, how.columns or 0), METRICS[name].unit)
    add_line(shown, named, value, name="A", ink=A, low=line(result.low), high=line(result.high))
    if (null := line(result.null)) is not None:
        zero = np.where(np.isfinite(value), 0.0, np.nan)
        add_line(shown, named, zero if METRICS[name].is_excess else null, name="chance", ink=NULL)
    return shown


def _matrix(
    name: str, result: Result, rows: int, columns: int, shown: NDArray[np.float64], layers: list[str]
) -> Matrix:
    return Matrix(
        values_rc=shown,
        rows=names(name, result, rows, layers),
        columns=names(name, result, columns, layers),
        scale=Scale.of(shown, METRICS[name].title, unit=METRICS[name].unit),
        options={
            "row_noun": noun(name, rows),
            "column_noun": noun(name, columns),
            "attribution": "",
            "square": noun(name, rows) == noun(name, columns),
        },
    )
