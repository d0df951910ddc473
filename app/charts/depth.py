"""One number per layer, by depth: a line of A, one of B, what chance gives, a sentence and a table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import METRICS, Result
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.page import Page, measure_reference, population
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names

HEIGHT = 240
MOST_NAMED = 12
MOST_IN_FULL = 1e12
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
CAPTURE_AGAIN = "choose other tokens in the sidebar, or capture again with the router's raw scores"


@dataclass(frozen=True, kw_only=True, eq=False)
class ByLayer:
    """A metric's values by layer, beside the names of these layers; `whose` is what the line is called."""

    names: tuple[str, ...]
    value_l: NDArray[np.float64]
    low_l: NDArray[np.float64] | None = None
    high_l: NDArray[np.float64] | None = None
    null_l: NDArray[np.float64] | None = None
    whose: str = "A"


def by_layer(
    found: Result, names: Sequence[str], *, whose: str = "A", at: int | None = None, do: str = CAPTURE_AGAIN
) -> ByLayer:
    """One number per layer of a result, of its only group where it has a group axis; `at` picks from a last axis.

    Errors: OptionError where no layer has a value, with what the metric said about it, and what to do.
    """

    def line(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (values if at is None else values[..., at]).reshape(len(names))

    if not np.isfinite(line(found.value)).any():
        raise OptionError(
            next(iter(found.warnings), "no layer has a value").rstrip("."),
            expected="a capture and a choice of tokens that hold it",
            do=do,
        )
    ends = {
        name: None if (values := getattr(found, end)) is None else line(values)
        for name, end in (("low_l", "low"), ("high_l", "high"), ("null_l", "null"))
    }
    return ByLayer(names=tuple(names), value_l=line(found.value), whose=whose, **ends)


def over_zero(line: ByLayer) -> ByLayer:
    """A line of values that chance is taken off already: the null is 0 wherever there is a value."""
    return replace(line, null_l=np.where(np.isfinite(line.value_l), 0.0, np.nan))


def number(value: float) -> str:
    """A value as a sentence says it: three digits that count; of a very large one two, and its power of ten.

    >>> number(31.5580), number(0.00042), number(14999.6), number(0.0), number(1.0272e197)
    ('31.6', '0.00042', '15,000', '0', '1.0 × 10¹⁹⁷')
    """
    if MOST_IN_FULL <= abs(value) < np.inf:
        digits, _, power = f"{value:.1e}".partition("e+")
        return f"{digits} × 10{power.translate(RAISED)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def depth_takeaway(lines: Sequence[ByLayer], unit: str) -> str:
    """The least and the largest value of each line, where they are, and how many layers lie outside of chance.

    A unit that begins with % is one of shares, told in hundredths.
    """
    return " ".join(_said(line, unit) for line in lines)


def _said(line: ByLayer, unit: str) -> str:
    least, most = int(np.nanargmin(line.value_l)), int(np.nanargmax(line.value_l))
    whose = "" if line.whose == "A" else f"{line.whose}: "
    few, many = (number(100 * line.value_l[at] if unit.startswith("%") else line.value_l[at]) for at in (least, most))
    if few == many:
        return f"{whose}{many} {unit} in every layer.{_chance(line)}"
    start = f"{whose}from" if whose else "From"
    return f"{start} {few} {unit} in layer {line.names[least]} to {many} in layer {line.names[most]}.{_chance(line)}"


def _chance(line: ByLayer) -> str:
    """In how many layers the whole interval lies to one side of the null; nothing where either is missing."""
    if line.null_l is None or line.low_l is None or line.high_l is None:
        return ""
    known_l = np.isfinite(line.low_l) & np.isfinite(line.high_l) & np.isfinite(line.null_l)
    if not known_l.any():
        return ""
    outside = int(np.count_nonzero(known_l & ((line.low_l > line.null_l) | (line.high_l < line.null_l))))
    return f" The interval leaves out the dotted value in {outside} of {int(known_l.sum())} layers."


def null_words(lines: Sequence[ByLayer], how: str) -> str:
    """The dotted line in words: its values and how it was made; nothing where there is none."""
    null_l = next((line.null_l for line in lines if line.null_l is not None), None)
    if null_l is None or not np.isfinite(null_l).any():
        return ""
    least, most = number(float(np.nanmin(null_l))), number(float(np.nanmax(null_l)))
    return f"dotted: {how}, {least if least == most else f'{least} to {most}'}"


def depth_frame(lines: Sequence[ByLayer], value: str) -> pd.DataFrame:
    """One row for each line and layer."""
    return pd.concat([_rows(line, value) for line in lines], ignore_index=True)


def _rows(line: ByLayer, value: str) -> pd.DataFrame:
    rows: dict[str, object] = {"capture": line.whose, "layer": line.names, value: line.value_l}
    around = {"low": line.low_l, "high": line.high_l, "null": line.null_l}
    return pd.DataFrame(rows | {name: values for name, values in around.items() if values is not None})


def depth_plot(lines: Sequence[ByLayer], y: str, *, height: int = HEIGHT) -> go.Figure:
    """The lines over the layers, counted from 0; the null of each line that has one of its own."""
    shown = plot("layer", y, height=height)
    drawn: list[list[float]] = []
    for line, ink in zip(lines, (A, B), strict=False):
        x = np.arange(len(line.names))
        levels = [] if line.null_l is None else sorted({*line.null_l[np.isfinite(line.null_l)].tolist()})
        if line.null_l is not None and levels not in drawn:
            whose = f" ({line.whose})" if drawn else ""
            add_line(shown, x, line.null_l, name=f"chance{whose}", ink=NULL)
            drawn.append(levels)
        add_line(shown, x, line.value_l, name=line.whose, ink=ink, low=line.low_l, high=line.high_l)
    shown.update_layout(legend_traceorder="normal")
    names = lines[0].names
    if len(lines) == 1 and len(names) <= MOST_NAMED:
        shown.update_xaxes(tickvals=list(range(len(names))), ticktext=[name.partition(" ")[0] for name in names])
    else:
        most = max(len(line.names) for line in lines)
        shown.update_xaxes(tick0=0, dtick=max(1, -(-most // MOST_NAMED)))
    return shown


@dataclass(frozen=True)
class Depth:
    """One small chart by depth: the metric, its question, the name of its axis, and what its sentence counts in.

    `at` picks from a last axis of the metric; `is_excess`: what chance gives is taken off the values already; `do`:
    what helps where no layer has a value.
    """

    metric: str
    question: str
    axis: str
    unit: str
    at: int | None = None
    is_excess: bool = False
    do: str = CAPTURE_AGAIN

    @property
    def null(self) -> str:
        """How the metric's null was made."""
        return METRICS[self.metric].null


DEPTHS = (
    Depth("load_effective_experts", "How many experts is the work worth?", "effective experts", "experts"),
    Depth("load_max_violation", "How far is the busiest above the mean?", "MaxVio", "times the mean"),
    Depth("gate_entropy", "How undecided is the gate?", "gate entropy (bits)", "bits"),
    Depth("first_share", "What weight has the first expert?", "share of the executed weight", "% of the weight"),
    Depth("near_ties", "How often is it nearly a tie?", "share of tokens", "% of the tokens", at=2),
    Depth("log_sum_exp", "How large are the raw scores?", "log-sum-exp (nats)", "nats"),
    Depth("kept_share", "How much of the gate is kept?", "share of the gate", "% of the gate"),
)
"""The small charts by depth. Near ties: margins below a step of bfloat16 for scores of size 1."""


def depth(page: Page, shown: Depth) -> Figure:
    """One small chart by depth: A and, where it has such numbers, B. Errors: OptionError where A has none."""
    found = page.measure(shown.metric)
    lines = [by_layer(found, page.layers, at=shown.at, do=shown.do)]
    if (other := measure_reference(page, shown.metric)) is not None:
        try:
            names = layer_names(other[0].source.record.layers)
            lines.append(by_layer(other[1], names, whose=other[0].name, at=shown.at))
        except OptionError:
            pass  # B has none: the line is absent, as its legend shows
    lines = [over_zero(line) for line in lines] if shown.is_excess else lines
    return Figure(
        key=shown.metric,
        takeaway=depth_takeaway(lines, shown.unit),
        population=population(page),
        null="dotted: 0; what chance tells is taken off" if shown.is_excess else null_words(lines, shown.null),
        badge="observed",
        metric=shown.metric,
        body=(Chart(depth_plot(lines, shown.axis)),),
        frame=lambda: depth_frame(lines, shown.metric),
        notes=found.warnings,
    )
