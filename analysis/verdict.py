"""A claim about a model, the evidence it is judged by, and the verdict: the figures that it rests on travel with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.composition import Composition
from analysis.registry import Result
from routing.parameters import Parameters
from routing.router import RouterRule

Holds = Literal["holds", "does not hold", "not enough data", "does not apply"]

LEAST_TOKENS = 200
"""Tokens below which nothing is said of experts; a page about a corpus asks for as many."""

LEAST_DOCUMENTS = 20
"""Documents below which intervals over them are too narrow (`analysis.statistics.bootstrap`)."""

MOST = 0.5
"""Share of its layers from which on a claim holds of a model."""


class Row(NamedTuple):
    """One number behind a verdict, of one layer; layer -1 is the whole model."""

    measure: str
    layer: int
    value: float
    low: float = np.nan
    high: float = np.nan
    null: float = np.nan
    q: float = np.nan


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a model's numbers make of a claim: figure and null are sentences."""

    holds: Holds
    figure: str
    null: str = ""
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim and what this model's numbers make of it.

    figure, null   sentences: what was found, and what it is held against
    bar            what must be found for the claim to hold, and why so much
    page           the page that shows why
    """

    name: str
    claim: str
    bar: str
    page: str
    holds: Holds
    figure: str
    null: str
    tokens: int
    documents: int
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Left:
    """What experts tell of a label at the same word, layer by layer: bits beyond chance, chance, and p.

    by_words_l   share of what they tell in all that the mix of words explains
    covered      share of the assignments that it speaks of, the least of all layers
    """

    bits_l: NDArray[np.float64]
    null_l: NDArray[np.float64]
    p_l: NDArray[np.float64]
    by_words_l: NDArray[np.float64]
    covered: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a model: its rules, results of metrics by name and label, and its weights where it is loaded."""

    layers: tuple[RouterRule, ...]
    tokens: int
    documents: int
    results: Mapping[tuple[str, str], Result] = field(default_factory=dict)
    left: Mapping[str, Left] = field(default_factory=dict)
    parameters: Parameters | None = None

    @property
    def is_enough(self) -> bool:
        """Whether there is text enough to speak of experts at all."""
        return self.tokens >= LEAST_TOKENS and self.documents >= LEAST_DOCUMENTS


Judge = Callable[[Evidence], Judgement]


def left_of(layers: tuple[Composition, ...]) -> Left:
    """A record's composition by a label as evidence."""
    given = [each.given_words for each in layers]
    return Left(
        bits_l=np.array([each.excess_bits for each in given]),
        null_l=np.array([each.null_mean_bits for each in given]),
        p_l=np.array([each.p_value for each in given]),
        by_words_l=np.array([each.share_excess for each in layers]),
        covered=min((each.covered for each in layers), default=0.0),
    )


def undecided(why: str, rows: tuple[Row, ...] = ()) -> Judgement:
    """No verdict, and why."""
    return Judgement(holds="not enough data", figure=why, rows=rows)


def decided(holds: bool, figure: str, null: str, rows: tuple[Row, ...]) -> Judgement:
    """A verdict either way."""
    return Judgement(holds="holds" if holds else "does not hold", figure=figure, null=null, rows=rows)


def most(is_so_l: NDArray[np.bool_]) -> bool:
    """Whether something is so in at least half of some layers; of none it is not."""
    return bool(is_so_l.size) and bool(is_so_l.mean() >= MOST)


def rows_of(measure: str, result: Result) -> tuple[Row, ...]:
    """A result over layers as rows; layers where it is undefined are left out."""
    nan_l = np.full(result.value.shape, np.nan)
    ends = (result.low, result.high, result.null, result.q)
    columns = [result.value, *(nan_l if each is None else each for each in ends)]
    every = (Row(measure, layer, *map(float, numbers)) for layer, numbers in enumerate(zip(*columns, strict=True)))
    return tuple(row for row in every if np.isfinite(row.value))


def ends(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of a result, the value itself where it has no interval."""

    def known(end: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return result.value if end is None else np.where(np.isfinite(end), end, result.value)

    return known(result.low), known(result.high)


def span(values: NDArray[np.float64], show: Callable[[float], str]) -> str:
    """The least and the greatest of some values in words; "unknown" of none.

    >>> span(np.array([0.2, 0.1, np.nan]), lambda value: f"{value:.0%}"), span(np.array([0.1]), str)
    ('10% to 20%', '0.1')
    """
    if not np.isfinite(values).any():
        return "unknown"
    least, greatest = show(float(np.nanmin(values))), show(float(np.nanmax(values)))
    return least if least == greatest else f"{least} to {greatest}"
