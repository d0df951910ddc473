"""Two models over their relative depth: only what does not depend on what experts are called."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import METRICS, Result
from gatescope.analysis.tally.first_choices import Shared
from gatescope.app.charts.figure import Chart, Figure, Matrix
from gatescope.app.charts.plots import NULL, A, B, add_line, faint, plot
from gatescope.app.components import Scale

REFUSAL = (
    "No difference expert by expert is shown. Expert 5 of A and expert 5 of B share nothing but a number: models "
    "number their experts by chance, and renaming the experts of one would change every such difference without "
    "changing anything that the model does. What follows stays the same under any renaming."
)

Of = Callable[[NDArray[np.float64], int], NDArray[np.float64]]


@dataclass(frozen=True)
class Sight:
    """One number per layer that two models can be compared by: the metric, and what is made of it."""

    metric: str
    question: str
    axis: str
    of: Of
    by_label: bool = False
    most: str = ""

    def python(self, experts: int) -> str:
        """Python of the scaled numbers: value, interval and null of a result `{}` over `most` of so many experts."""
        if not self.most:
            return ""
        parts = "({}.value, {}.low, {}.high, {}.null)"
        return f"{{}}_scaled = [each / {self.most.format(experts)} for each in {parts} if each is not None]"


SIGHTS = (
    Sight(
        "load_effective_experts",
        "How much of the experts is used?",
        "effective experts, share of E",
        lambda value_l, experts: value_l / experts,
        most="{}",
    ),
    Sight(
        "load_entropy",
        "How even is the load?",
        "entropy over log₂ E",
        lambda value_l, experts: value_l / np.log2(experts),
        most="np.log2({})",
    ),
    Sight(
        "mutual_information",
        "How much does a choice tell about the label?",
        "bits beyond chance",
        lambda value_l, _experts: value_l,
        by_label=True,
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """One model's line: values over relative depth, 0 the first layer, 1 the last."""

    whose: str
    value_l: NDArray[np.float64]
    low_l: NDArray[np.float64] | None = None
    high_l: NDArray[np.float64] | None = None
    null_l: NDArray[np.float64] | None = None
    q_l: NDArray[np.float64] | None = None

    @property
    def depth_l(self) -> NDArray[np.float64]:
        """Where each layer lies."""
        return np.arange(len(self.value_l)) / max(len(self.value_l) - 1, 1)


def model_line(found: Result, sight: Sight, experts: int, *, whose: str) -> Model:
    """A metric of one model, made comparable."""

    def made(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if values is None else sight.of(values, experts)

    null = np.zeros(len(found.value)) if sight.by_label else made(found.null)
    return Model(
        whose=whose,
        value_l=sight.of(found.value, experts),
        low_l=made(found.low),
        high_l=made(found.high),
        null_l=null,
        q_l=found.q,
    )


def sight_figure(lines: list[Model], sight: Sight, *, population: str, by: str) -> Figure:
    """Both models' means, and where each is highest."""
    sentences = [
        f"{line.whose}: {np.nanmean(line.value_l):.3g} on average, most {_place(line)} ({np.nanmax(line.value_l):.3g})"
        for line in lines
        if np.isfinite(line.value_l).any()
    ]
    beyond = [line.q_l is not None and bool((line.q_l <= 0.05).any()) for line in lines]
    null = METRICS[sight.metric].null
    return Figure(
        key=f"sight-{sight.metric}",
        question=sight.question.replace("the label", f"the {by}"),
        takeaway=f"{'; '.join(sentences) or 'It is defined nowhere: no token counts'}.",
        population=population,
        unit=sight.axis,
        null=f"dotted: 0; taken off already: {null}" if sight.by_label else f"dotted: {null}" if null else "",
        badge="beyond null" if sight.by_label and all(beyond) else "observed",
        metric=sight.metric,
        says=(("Depth", "layers are placed by their share of the MoE layers, 0 the first, 1 the last"),),
        body=(Chart(sight_plot(lines, sight)),),
        frame=lambda: sight_frame(lines),
    )


def _place(line: Model) -> str:
    depth = line.depth_l[int(np.nanargmax(line.value_l))]
    return f"at depth {depth:.2f}"


def sight_frame(lines: list[Model]) -> pd.DataFrame:
    """A row for each capture and layer."""
    frames = []
    for line in lines:
        rows: dict[str, object] = {
            "capture": line.whose,
            "layer": np.arange(len(line.value_l)),
            "depth": line.depth_l,
            "value": line.value_l,
        }
        parts = ("low", line.low_l), ("high", line.high_l), ("null", line.null_l), ("q", line.q_l)
        frames.append(pd.DataFrame(rows | {name: values for name, values in parts if values is not None}))
    return pd.concat(frames, ignore_index=True)


def sight_plot(lines: list[Model], sight: Sight) -> go.Figure:
    """Both models over relative depth."""
    shown = plot("relative depth", sight.axis, height=260)
    shown.update_layout(hovermode="closest")
    for line, ink in zip(lines, (A, B), strict=False):
        if line.null_l is not None:
            add_line(shown, line.depth_l, line.null_l, name=f"chance ({line.whose})", ink=NULL)
        add_line(shown, line.depth_l, line.value_l, name=line.whose, ink=ink, low=line.low_l, high=line.high_l)
    return shown


@dataclass(frozen=True, eq=False)
class Shape:
    """The Lorenz curve of one layer of one model."""

    whose: str
    layer: int
    value_r: NDArray[np.float64]
    low_r: NDArray[np.float64] | None
    high_r: NDArray[np.float64] | None

    @property
    def place_r(self) -> NDArray[np.float64]:
        """Share of the layer's experts, from the least used."""
        return np.arange(len(self.value_r)) / (len(self.value_r) - 1)

    @property
    def of_the_busiest(self) -> float:
        """Share of the work that the busiest tenth of the experts do."""
        return 1 - float(np.interp(0.9, self.place_r, self.value_r))


def shape_of(found: Result, layer: int, experts: int, *, whose: str) -> Shape:
    """One layer's sorted load."""
    low, high = (None if ends is None else ends[layer, : experts + 1] for ends in (found.low, found.high))
    return Shape(whose, layer, found.value[layer, : experts + 1], low, high)


def layer_at(depth: float, layers: int) -> int:
    """The layer nearest to a relative depth.

    >>> layer_at(0.5, 5), layer_at(1.0, 6)
    (2, 5)
    """
    return round(depth * (layers - 1))


def shape_figure(shapes: list[Shape], *, population: str) -> Figure:
    """What the busiest tenth does in each."""
    sentences = [
        f"{each.whose} (layer {each.layer}) {each.of_the_busiest:.0%}"
        for each in shapes
        if np.isfinite(each.of_the_busiest)
    ]
    return Figure(
        key="shape",
        takeaway=f"The busiest tenth of the experts do: {', '.join(sentences)} of the work; an even router's, 10%."
        if sentences
        else "It is defined nowhere: no token counts.",
        population=population,
        unit="share of the layer's assignments",
        null="dotted: an even router, without chance",
        badge="observed",
        metric="load_lorenz",
        body=(Chart(shape_plot(shapes)),),
        frame=lambda: shape_frame(shapes),
    )


def shape_frame(shapes: list[Shape]) -> pd.DataFrame:
    """A row for each capture and number of experts."""
    frames = []
    for each in shapes:
        rows: dict[str, object] = {
            "capture": each.whose,
            "layer": each.layer,
            "experts": np.arange(len(each.value_r)),
            "share_of_experts": each.place_r,
            "share_of_work": each.value_r,
        }
        parts = ("low", each.low_r), ("high", each.high_r)
        frames.append(pd.DataFrame(rows | {name: values for name, values in parts if values is not None}))
    return pd.concat(frames, ignore_index=True)


def shape_plot(shapes: list[Shape]) -> go.Figure:
    """Lorenz curves over the share of experts."""
    shown = plot("share of experts, least used first", "share of the work they do", height=320)
    shown.update_layout(hovermode="closest")
    add_line(shown, np.array([0.0, 1.0]), np.array([0.0, 1.0]), name="even", ink=NULL)
    for each, ink in zip(shapes, (A, B), strict=False):
        band = {"x": each.place_r, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        if each.low_r is not None and each.high_r is not None:
            shown.add_scatter(y=each.high_r.astype(np.float32), **band)
            shown.add_scatter(y=each.low_r.astype(np.float32), fill="tonexty", fillcolor=faint(ink), **band)
        look = {"color": ink, "width": 2, "dash": "solid" if ink == A else "dash"}
        name = f"{each.whose}, layer {each.layer}"
        shown.add_scatter(x=each.place_r, y=each.value_r.astype(np.float32), mode="lines", name=name, line=look)
    return shown


def shared_figure(found: Shared, names: list[str], other: list[str], *, population: str) -> Figure:
    """Which two layers share most, and how many pairs share more than chance."""
    row, column = np.unravel_index(int(np.nanargmax(found.value_lm)), found.value_lm.shape)
    beyond = int((found.q_lm <= 0.05).sum())
    bits, null = found.bits_lm[row, column], found.null_lm[row, column]
    return Figure(
        key="shared",
        takeaway=(
            f"{beyond} of {found.q_lm.size} pairs of layers share more than chance; most in layer {names[row]} of A "
            f"and {other[column]} of B: {found.value_lm[row, column]:.0%} of what could be shared "
            f"({bits:.2f} bits, chance {null:.2f})."
        ),
        population=population,
        unit="share of the smaller entropy of first choices, beyond chance",
        null="0: tokens shuffled within their documents",
        badge="beyond null" if found.q_lm[row, column] <= 0.05 else "observed",
        says=(
            (
                "Shared",
                "mutual information of each token's first expert in A and in B, less chance, over the most it could be",
            ),
            ("Not this", "that experts do the same work: two routers that only know the word share all that it tells"),
        ),
        body=(
            Matrix(
                values_rc=found.value_lm,
                rows=names,
                columns=other,
                scale=shared_scale(found),
                options={
                    "row_noun": "layer of A",
                    "column_noun": "layer of B",
                    "faded_rc": ~(found.q_lm <= 0.05),
                    "faded_says": "no more than chance",
                    "attribution": "",
                    "square": True,
                },
            ),
        ),
        frame=lambda: shared_frame(found, names, other),
    )


def shared_frame(found: Shared, names: list[str], other: list[str]) -> pd.DataFrame:
    """A row for each pair of layers."""
    rows, columns = np.indices(found.value_lm.shape).reshape(2, -1)
    numbers = {name: getattr(found, f"{name}_lm").ravel() for name in ("value", "bits", "null", "p", "q")}
    return pd.DataFrame(
        {"layer_a": np.array(names, object)[rows], "layer_b": np.array(other, object)[columns], **numbers}
    )


def shared_scale(found: Shared) -> Scale:
    """Colours from what chance gives."""
    high = max(float(np.nanmax(found.value_lm, initial=0.0)), 0.01)
    return Scale("shared beyond chance", low=0.0, high=high, unit="share", null=0.0)
