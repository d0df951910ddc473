"""Every corpus-level metric, declared where it is computed: what it says, what it needs, what chance alone would give.

    @metric(
        title="Load balance (MaxVio)", unit="1", axes="l", range=(0, None), uniform="0, up to the noise floor",
        needs=("assignments",), source="Wang et al. 2024 (arXiv 2408.15664), equation 4",
    )
    def max_violation(tally: Tally, ask: MetricOptions) -> Result: ...

The catalogue in the docs, the tooltips, the command line and the property tests read `METRICS`.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.tally.tally import STATISTICS, Tally, TokenRole
from gatescope.routing.errors import OptionError

UNSAID = -1
EXCESS = "in excess of chance"
BOTH = (TokenRole.PROMPT, TokenRole.GENERATED)
AXES = {
    "l": "layer",
    "e": "expert",
    "f": "expert",  # a second expert axis
    "g": "group",
    "h": "group",  # a second group axis
    "w": "window",
    "r": "rank",
    "b": "bin",
    "c": "class",
}


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """What a metric is asked for.

    `facets` are the kinds of token that count. `by` is what groups are told by: "domain", "language" or "" (no groups).
    `resamples` are those of intervals and of nulls; 0 leaves both out. `seed` makes them repeatable.
    """

    facets: tuple[TokenRole, ...] = BOTH
    by: str = ""
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """A metric's values and what must travel with them.

    value       one number for each place of the metric's axes, NaN where it is undefined; or for each of `places`
    places      where the values stand, (values, axes), if only some places are kept, and `sizes` of the axes;
                None where all are
    low, high   95 % interval over documents; None where it has none
    null        what chance alone would give, by the metric's own null; None where there is none
    p, q        against that null, and corrected for the tests of one layer; None where not tested
    tokens      how many tokens it speaks of; documents: how many. All that were asked for, where a metric does not say
    groups      names along the group axis
    warnings    what a reader must know, in sentences
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    null: NDArray[np.float64] | None = None
    p: NDArray[np.float64] | None = None
    q: NDArray[np.float64] | None = None
    tokens: int = UNSAID
    documents: int = UNSAID
    groups: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    places: NDArray[np.integer] | None = None
    sizes: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the metric's axes, however many places are kept."""
        return self.value.shape if self.places is None else self.sizes

    def layer(self, number: int, what: str = "value") -> NDArray[np.float64]:
        """`value`, `null` … of one place of the first axis, over the others; NaN where it is left out or there is none.

        >>> kept = Result(value=np.array([0.5]), places=np.array([[1, 0, 1]]), sizes=(2, 2, 2))
        >>> kept.layer(1).tolist(), kept.layer(1, "null").shape
        ([[nan, 0.5], [nan, nan]], (2, 2))
        """
        held = getattr(self, what)
        if held is not None and self.places is None:
            whole: NDArray[np.float64] = np.broadcast_to(held, self.value.shape)[number]
            return whole
        found = np.full(self.shape[1:], np.nan)
        if held is not None and self.places is not None:
            is_here = self.places[:, 0] == number
            found[tuple(self.places[is_here, 1:].T)] = held[is_here]
        return found


Compute = Callable[[Tally, MetricOptions], Result]


class Range(NamedTuple):
    """Least and greatest value; None where it depends on the model or is unbounded."""

    least: float | None
    greatest: float | None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric and what must be known to read it."""

    name: str
    title: str
    meaning: str
    unit: str
    axes: str
    range: Range
    uniform: str
    null: str
    needs: tuple[str, ...]
    source: str
    compute: Compute
    by: tuple[str, ...] = ()

    @property
    def is_excess(self) -> bool:
        """Whether chance is taken off the values already: the null is then what was taken, nothing to hold them to."""
        return self.unit.endswith(EXCESS)

    def __call__(self, tally: Tally, ask: MetricOptions | None = None) -> Result:
        """The metric of a tally. Errors: OptionError where it lacks what is needed, or groups are asked in vain."""
        ask = ask or MetricOptions()
        held = {*tally.by_unit, *tally.by_group}
        missing = [name for name in self.needs if name not in held]
        if missing:
            needs = sorted({STATISTICS[name].needs for name in missing})
            raise OptionError(
                f"{self.name} of a tally without {', '.join(missing)}",
                expected=f"records with {'; and '.join(needs)}",
                do="capture again with those, or do without it",
            )
        if ask.by not in self.by and (ask.by or self.by):
            raise OptionError(
                f"{self.name} by {ask.by or 'nothing'}",
                expected=f"by {' or '.join(self.by) or 'nothing'}",
                do="choose one of those",
            )
        if ask.by and not any(getattr(unit, ask.by) for unit in tally.units):
            raise OptionError(
                f"{self.name} by {ask.by}, which no document states",
                expected=f"documents with a {ask.by}",
                do="label the corpus, or ask without groups",
            )
        found = self.compute(tally, ask)
        tokens = tokens_of(tally, ask) if found.tokens == UNSAID else found.tokens
        documents = tally.documents if found.documents == UNSAID else found.documents
        return replace(found, tokens=tokens, documents=documents)


def tokens_of(tally: Tally, ask: MetricOptions) -> int:
    """Tokens of the facets asked for."""
    return int(tally.table("tokens")[:, list(ask.facets)].sum())


OLD_NAMES = {
    "best_hits": "belady_hit_rate",
    "fixed_hits": "static_hit_rate",
    "group_information": "mutual_information",
    "leaning": "usage_difference",
    "lfu_hits": "lfu_hit_rate",
    "lru_hits": "lru_hit_rate",
    "predictability": "label_decoding_accuracy",
    "predictability_over_words": "decoding_gain_over_words",
    "word_predictability": "word_decoding_accuracy",
}
"""What metrics were called before. Results written under these names are read; asking by them works until 0.3."""


def current_name(name: str) -> str:
    """What a metric is called now.

    >>> current_name("lru_hits"), current_name("load_gini")
    ('lru_hit_rate', 'load_gini')
    """
    return OLD_NAMES.get(name, name)


class _Metrics(dict[str, Metric]):
    """Metrics by name; one that is asked for by its old name is given, with a warning."""

    def __missing__(self, name: str) -> Metric:
        if (new := OLD_NAMES.get(name)) is None:
            raise KeyError(name)
        warnings.warn(f"the metric {name} is now called {new}", DeprecationWarning, stacklevel=2)
        return self[new]


METRICS: dict[str, Metric] = _Metrics()


def metric(
    *,
    title: str,
    unit: str,
    axes: str,
    range: tuple[float | None, float | None],  # noqa: A002 - what every metric declares, by its field's name
    needs: Sequence[str],
    source: str,
    uniform: str = "",
    null: str = "",
    by: Sequence[str] = (),
) -> Callable[[Compute], Metric]:
    """Declare a metric: the function's name is its name, its first line its meaning.

    `uniform` says what an even router gives, `null` what the metric is held against. `by` lists the labels it may be
    asked by, where it compares groups.
    """

    def declare(compute: Compute) -> Metric:
        name: Any = compute.__name__
        meaning = (compute.__doc__ or "").partition("\n")[0]
        found = Metric(
            name=name,
            title=title,
            meaning=meaning,
            unit=unit,
            axes=axes,
            range=Range(*range),
            uniform=uniform,
            null=null,
            needs=tuple(needs),
            source=source,
            compute=compute,
            by=tuple(by),
        )
        METRICS[name] = found
        return found

    return declare
