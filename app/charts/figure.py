"""A figure as data: one computed sentence, what its numbers stand on, what is drawn, and the table behind it.

A page's figures are functions that return a `Figure`; `app.shell.figure.show` draws what they return.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.registry import METRICS, Metric
from gatescope.app.charts.folding import fold_layers
from gatescope.app.components import Pick, Scale
from gatescope.app.components.heatmap.component import Options
from gatescope.server.sources import Source

BADGES: dict[str, tuple[Literal["gray", "green", "violet", "orange"], str]] = {
    "": ("gray", ""),
    "observed": ("gray", "What was counted here; no null was tried."),
    "beyond null": ("green", "More than chance alone gives, by the null named under the figure."),
    "replicated": ("violet", "Beyond chance, and again in documents it was not made from."),
    "causal": ("orange", "The model's output changes when it is taken away."),
}
"""How far a claim goes: its colour, and what the word promises."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A Plotly chart, and which points can be chosen in it; its widget's key where that is not the figure's."""

    plot: go.Figure
    selects: tuple[Literal["points", "box", "lasso"], ...] = ()
    key: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """What `app.components.matrix` draws, under the text of its tokens where it has `pieces` and their `flags`.

    Unless the options say otherwise, the figure's sentence describes it, and its foot stands under a saved picture.
    """

    values_rc: NDArray[np.floating]
    scale: Scale
    rows: Sequence[str] | None
    columns: Sequence[str] | None
    pinned: Pick | None = None
    key: str = ""
    options: Options = field(default_factory=Options)
    pieces: Sequence[str] | None = None
    flags: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Html:
    """HTML of our own, every foreign text in it escaped; with a key, its links are followed within the session."""

    text: str
    key: str = ""


@dataclass(frozen=True)
class Text:
    """Words between or under the pictures, in small print unless `style` says otherwise; nothing in it is markup."""

    text: str
    style: Literal["small", "plain", "strong", "large"] = "small"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that are the figure or a part of it; `columns` are labels and number formats, `folded` what unfolds it."""

    frame: pd.DataFrame
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    folded: str = ""


@dataclass(frozen=True)
class Columns:
    """Parts side by side; one under another where the window is narrow."""

    parts: tuple[Html, ...]


Part = Chart | Matrix | Html | Text | Table | Columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """All that a figure shows. Plain text: nothing in it is taken for markup; lists of layers are folded into ranges.

    key         of its widgets and its files
    question    the title, where it is not the question that `show` asks
    takeaway    one sentence computed from the data
    population  what was counted: "N = 111,104 tokens of 552 documents"
    unit, null  of the numbers; what chance alone would give, and how it was made: the metric's own where left out
    badge       one of `BADGES`
    metric      a name of the registry: its definition is shown under About
    says        further lines there: a word and its text
    body        what is drawn, from top to bottom
    frame       makes its table when it is asked for
    notes       what a reader must know of the numbers
    at          its layer and expert, where it is of one
    of          the source, where it is not the page's
    code        Python of a figure that reads no source; that of any other is written from what was read
    beyond      a sentence about numbers that this Python does not give
    """

    key: str
    takeaway: str
    question: str = ""
    population: str = ""
    unit: str | None = None
    null: str | None = None
    badge: str = ""
    metric: str = ""
    says: tuple[tuple[str, str], ...] = ()
    body: tuple[Part, ...] = ()
    frame: Callable[[], pd.DataFrame] | None = None
    notes: Sequence[str] = ()
    at: Mapping[str, object] = field(default_factory=dict)
    of: Source | None = None
    code: str = ""
    beyond: str = ""

    def __post_init__(self) -> None:
        metric = METRICS.get(self.metric)
        if self.unit is None:
            object.__setattr__(self, "unit", metric.unit if metric else "")
        if self.null is None:
            object.__setattr__(self, "null", chance_words(metric) if metric else "")
        object.__setattr__(self, "notes", tuple(map(fold_layers, self.notes)))
        object.__setattr__(self, "says", tuple((name, fold_layers(text)) for name, text in self.says))

    @property
    def foot(self) -> str:
        """The line under the figure."""
        return " · ".join(filter(None, (self.population, f"unit: {self.unit}" if self.unit else "", self.null)))

    @property
    def alt(self) -> str:
        """What is said to who does not see the figure."""
        return " ".join(filter(None, (self.question, self.takeaway, self.foot)))


def chance_words(metric: Metric) -> str:
    """What chance gives of a metric, as its registry entry has it."""
    if metric.is_excess:
        return f"chance: 0, for it is taken off ({metric.null})"
    return f"chance: {metric.null}" if metric.null else ""
