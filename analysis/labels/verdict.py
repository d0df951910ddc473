"""A claim about a model, the evidence it is judged by, and the verdict: the figures that it rests on travel with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.composition import Composition
from gatescope.analysis.registry import Result
from gatescope.analysis.statistics.permutation import q_values
from gatescope.routing.parameters import Parameters
from gatescope.routing.router import RouterRule

Holds = Literal["holds", "does not hold", "not enough data", "does not apply"]

LEAST_TOKENS = 200
"""Tokens below which nothing is said of experts; a page about a corpus asks for as many."""

LEAST_DOCUMENTS = 20
"""Documents below which intervals over them are too narrow (`analysis.statistics.bootstrap`)."""

Q = 0.05
"""False discoveries accepted among a model's layers, as is usual."""

SPECIALIST_BITS = 0.5**2 / (2 * np.log(2))
"""Bits that one choice tells of a group when the effect is large: w = 0.5 (Cohen 1988, chapter 7). The square of w is,
to first order, 2 ln 2 times the information in bits."""

COVERED = 0.05
"""Share of the text that must be of words which several groups have, for anything to be said of the same word."""

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


class Strength(NamedTuple):
    """What is known of a label at the same word: how much, in words, and in how many of the layers that are known."""

    word: Literal["Real and large", "Real but slight", "Not established", "Not known"]
    says: str


def strength(left: Left | None, by: str) -> Strength:
    """Whether documents of one domain (or language) are routed differently at the same word, and by how much.

    Every page that answers this says it in these words. Large: half of the layers tell `SPECIALIST_BITS` and more.

    >>> line = np.array([0.02, 0.04])
    >>> strength(Left(bits_l=line, null_l=line, p_l=np.full(2, 0.01), by_words_l=line, covered=0.3), "domain").says
    'Real but slight: at the same word, experts tell the domain in 2 of 2 layers (q ≤ 0.05), by 0.02 to 0.04 bits \
beyond chance; 0.18 bits would be a large effect.'
    """
    if left is None or not left.covered >= COVERED or not np.isfinite(left.p_l).any():
        share = 0.0 if left is None or not np.isfinite(left.covered) else left.covered
        return Strength(
            "Not known",
            f"Not known: words that two {by}s have often are {100 * share:.2g} % of the text, and {100 * COVERED:g} % "
            "are needed to say.",
        )
    sure_l = q_values(left.p_l) <= Q
    known = int(np.isfinite(left.p_l).sum())
    if not sure_l.any():
        return Strength(
            "Not established",
            f"Not established: at the same word, experts tell the {by} no more than chance does (q above {Q}).",
        )
    large_l = sure_l & (left.bits_l >= SPECIALIST_BITS)
    word: Literal["Real and large", "Real but slight"] = "Real and large" if most(large_l) else "Real but slight"
    bits = span(left.bits_l[sure_l], "{:.2g}".format)
    layers = f"{int(sure_l.sum())} of {known} layers (q ≤ {Q})"
    says = f"{word}: at the same word, experts tell the {by} in {layers}, by {bits} bits beyond chance"
    return Strength(word, f"{says}; {SPECIALIST_BITS:.2g} bits would be a large effect.")


def left_of_columns(column: Callable[[str], NDArray[np.float64]]) -> Left:
    """The same from the table of a composition, whose columns are had by name."""
    return Left(
        bits_l=column("given_words_excess_bits"),
        null_l=column("given_words_null_mean_bits"),
        p_l=column("given_words_p_value"),
        by_words_l=column("share_excess"),
        covered=float(column("covered").min()),
    )


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
