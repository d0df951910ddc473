"""Which experts of a layer work on the same tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.kept_pairs import KEPT, Telling, left_out_words, most_telling
from gatescope.analysis.tally.pairs import FEW_COUNTED, can_count, count_pairs, fits, fixed_k_chance
from gatescope.analysis.tally.tally import Reading, Tally, statistic
from gatescope.routing import RouterRule

ENOUGH = 50
"""Tokens a pair should be expected in by chance before its lift is read."""
_Read = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A value and its null for each pair of a layer."""


@statistic(per="facet", axes="glef", needs=FEW_COUNTED)
def coactivation(reading: Reading) -> NDArray[np.unsignedinteger] | None:
    """Tokens that each pair of a layer's experts worked on together, and on the diagonal each expert's own."""
    record = reading.record
    if not can_count(len(record.layers), record.experts):
        return None
    return count_pairs(record.ids_tlk, reading.group_t, len(reading.groups), record.experts)


@metric(
    title="Co-activation",
    unit="1 (share of the first expert's tokens)",
    axes="lef",
    range=(0, 1),
    uniform="(k - 1) / (E - 1)",
    null="a random choice of exactly k experts with the observed loads (conditional Bernoulli)",
    needs=("coactivation", "tokens"),
    source="OLMoE (arXiv 2409.02060), equation 6, over all pairs of the executed set",
)
def coactivation_share(tally: Tally, ask: MetricOptions) -> Result:
    """Of the tokens that one expert works on, how many another one works on too.

    Shapes      (layers, experts, experts), from the second axis to the third: not symmetric.
    Units       Rows add up to k - 1 where no slot is empty.
    Undefined   NaN on the diagonal, where the first expert was never used, and beyond a layer's own experts. The null
                is NaN where sets of different sizes occur, which a choice of exactly k does not describe.
    Left out    Beyond 16,777,216 places, pairs nearest to chance (`most_telling`), the same ones as of the lift and the
                support; a warning says how many, and how near.
    Not this    Affinity: an expert that is busy is everyone's partner. See `coactivation_lift`.
    """

    def read(pairs_ef: NDArray[np.integer], expected_ef: NDArray[np.float64]) -> _Read:
        count_e1 = np.diagonal(pairs_ef)[:, None]
        return ratio(pairs_ef, count_e1), ratio(expected_ef, count_e1)

    return _of_pairs(tally, ask, read)[0]


@metric(
    title="Co-activation lift",
    unit="1 (1: as often as chance puts them together)",
    axes="lef",
    range=(0, None),
    uniform="1, up to noise",
    null="a random choice of exactly k experts with the observed loads (conditional Bernoulli)",
    needs=("coactivation", "tokens"),
    source="Chen, Dempster and Liu 1994 for the null",
)
def coactivation_lift(tally: Tally, ask: MetricOptions) -> Result:
    """How many times as often two experts share a token as chance would make them, given how busy each is.

    Shapes      (layers, experts, experts), symmetric.
    Units       1. Below 1: they avoid each other.
    Undefined   NaN on the diagonal, where either was never used, where k is 1, and where sets of different sizes occur.
    Not this    Tokens over the product of the two shares (`product_lift`), which a random choice of k keeps below 1.
                Nor read without its support: see `coactivation_support`; the warning counts pairs with little of it.
                A router limited to groups of experts puts experts of one group together by its rule alone.
    """

    def read(pairs_ef: NDArray[np.integer], expected_ef: NDArray[np.float64]) -> _Read:
        lift_ef = ratio(pairs_ef, expected_ef)
        return lift_ef, np.where(np.isfinite(lift_ef), 1.0, np.nan)

    found, rare = _of_pairs(tally, ask, read)
    warnings = found.warnings
    if rare:
        warnings += (f"{rare:,} pairs are expected in fewer than {ENOUGH} tokens: their lift is mostly noise.",)
    if any(rule.groups_kept < rule.groups for rule in tally.layers):
        warnings += ("The router chooses groups first: experts of one group meet by its rule alone.",)
    return replace(found, warnings=warnings)


@metric(
    title="Co-activation support",
    unit="tokens",
    axes="lef",
    range=(0, None),
    uniform="N k (k - 1) / (E (E - 1))",
    null="a random choice of exactly k experts with the observed loads (conditional Bernoulli)",
    needs=("coactivation", "tokens"),
    source="Sufficient statistic of co-activation",
)
def coactivation_support(tally: Tally, ask: MetricOptions) -> Result:
    """How many tokens two experts worked on together, beside how many chance would give them."""

    def read(pairs_ef: NDArray[np.integer], expected_ef: NDArray[np.float64]) -> _Read:
        return pairs_ef.astype(np.float64), expected_ef

    return _of_pairs(tally, ask, read)[0]


def expected_pairs(
    pairs_lef: NDArray[np.integer], layers: tuple[RouterRule, ...]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Tokens each pair would share by chance, NaN on the diagonal and where the null does not apply; and warnings."""
    each = list(zip(pairs_lef, layers, strict=True))
    uneven = [rule.layer for pairs_ef, rule in each if _is_uneven(pairs_ef, rule)]
    return np.stack([_expected(pairs_ef, rule) for pairs_ef, rule in each]), _uneven_words(uneven)


def _expected(pairs_ef: NDArray[np.integer], rule: RouterRule) -> NDArray[np.float64]:
    """The same of one layer."""
    expected_ef, slots = np.full(pairs_ef.shape, np.nan), int(np.trace(pairs_ef))
    if rule.k < 2 or not slots or _is_uneven(pairs_ef, rule):
        return expected_ef
    own, tokens = slice(rule.experts), slots / rule.k
    expected_ef[own, own] = fixed_k_chance(np.diagonal(pairs_ef)[own] / tokens, rule.k).pair_ef * tokens
    np.fill_diagonal(expected_ef, np.nan)
    return expected_ef


def _is_uneven(pairs_ef: NDArray[np.integer], rule: RouterRule) -> bool:
    """Whether some sets are neither empty nor full."""
    slots = int(np.trace(pairs_ef))
    return rule.k >= 2 and int(pairs_ef.sum()) - slots != (rule.k - 1) * slots


def _uneven_words(layers: Sequence[int]) -> tuple[str, ...]:
    return (f"No null in layers {layers}: some tokens have fewer than k experts there.",) if layers else ()


def _of_pairs(
    tally: Tally, ask: MetricOptions, read: Callable[[NDArray[np.integer], NDArray[np.float64]], _Read]
) -> tuple[Result, int]:
    """What is read of every pair, or where those are too many of the ones furthest from chance; and the rare pairs."""
    layers = tally.layers
    kept, told, uneven, rare = _Kept(), list[Telling](), list[int](), 0
    for rule, pairs_ef in zip(layers, tally.pooled_by_layer("coactivation", facets=ask.facets), strict=True):
        expected_ef = _expected(pairs_ef, rule)
        value_ef, null_ef = (_own(part_ef, rule) for part_ef in read(pairs_ef, expected_ef))
        rare += int(np.count_nonzero((expected_ef > 0) & (expected_ef < ENOUGH))) // 2
        uneven += [rule.layer] * _is_uneven(pairs_ef, rule)
        if fits(len(layers), len(pairs_ef)):
            kept.add(value_ef, null_ef)
        else:
            told.append(most_telling(pairs_ef, expected_ef, rule.experts, KEPT // len(layers)))
            kept.add_some(value_ef, null_ef, told[-1].places)
    return kept.result(_uneven_words(uneven) + left_out_words(told)), rare


@dataclass(eq=False)
class _Kept:
    """Values and their null, layer after layer: all of a layer, or some."""

    values: list[NDArray[np.float64]] = field(default_factory=list)
    nulls: list[NDArray[np.float64]] = field(default_factory=list)
    places: list[NDArray[np.int32]] = field(default_factory=list)
    experts: int = 0

    def add(self, value_ef: NDArray[np.float64], null_ef: NDArray[np.float64]) -> None:
        self.values.append(value_ef)
        self.nulls.append(null_ef)

    def add_some(
        self, value_ef: NDArray[np.float64], null_ef: NDArray[np.float64], places: NDArray[np.integer]
    ) -> None:
        one_p, two_p = places.T
        self.experts = len(value_ef)
        self.add(value_ef[one_p, two_p], null_ef[one_p, two_p])
        layer_p = np.full(len(places), len(self.places))
        self.places.append(np.stack([layer_p, one_p, two_p], axis=1).astype(np.int32))

    def result(self, warnings: tuple[str, ...]) -> Result:
        if not self.places:
            return Result(value=np.stack(self.values), null=np.stack(self.nulls), warnings=warnings)
        return Result(
            value=np.concatenate(self.values),
            null=np.concatenate(self.nulls),
            places=np.concatenate(self.places),
            sizes=(len(self.places), self.experts, self.experts),
            warnings=warnings,
        )


def _own(read_ef: NDArray[np.float64], rule: RouterRule) -> NDArray[np.float64]:
    """What is off the diagonal among a layer's own experts; NaN elsewhere."""
    is_own_e = np.arange(len(read_ef)) < rule.experts
    is_pair_ef = is_own_e[:, None] & is_own_e & ~np.eye(len(read_ef), dtype=bool)
    return np.where(is_pair_ef, read_ef, np.nan)
