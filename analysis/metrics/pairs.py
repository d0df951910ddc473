"""Which experts of a layer work on the same tokens."""

import numpy as np
from numpy.typing import NDArray

from analysis.pairs import FEW, count_pairs, fits, fixed_k_chance
from analysis.registry import Ask, Result, metric
from analysis.shares import ratio
from analysis.tally import Reading, Tally, statistic
from routing import RouterRule

ENOUGH = 50
"""Tokens a pair should be expected in by chance before its lift is read."""


@statistic(per="facet", axes="glef", needs=FEW)
def coactivation(reading: Reading) -> NDArray[np.int64] | None:
    """Tokens that each pair of a layer's experts worked on together, and on the diagonal each expert's own."""
    record = reading.record
    if not fits(len(record.layers), record.experts):
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
def coactivation_share(tally: Tally, ask: Ask) -> Result:
    """Of the tokens that one expert works on, how many another one works on too.

    Shapes      (layers, experts, experts), from the second axis to the third: not symmetric.
    Units       Rows add up to k - 1 where no slot is empty.
    Undefined   NaN on the diagonal, where the first expert was never used, and beyond a layer's own experts. The null
                is NaN where sets of different sizes occur, which a choice of exactly k does not describe.
    Not this    Affinity: an expert that is busy is everyone's partner. See `coactivation_lift`.
    """
    pairs_lef = tally.pooled("coactivation", facets=ask.facets)
    count_le = np.diagonal(pairs_lef, axis1=1, axis2=2)
    expected_lef, warnings = expected_pairs(pairs_lef, tally.layers)
    value_lef = _over(pairs_lef, count_le[:, :, None], tally.layers)
    null_lef = _over(expected_lef, count_le[:, :, None], tally.layers)
    return Result(value=value_lef, null=null_lef, warnings=warnings)


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
def coactivation_lift(tally: Tally, ask: Ask) -> Result:
    """How many times as often two experts share a token as chance would make them, given how busy each is.

    Shapes      (layers, experts, experts), symmetric.
    Units       1. Below 1: they avoid each other.
    Undefined   NaN on the diagonal, where either was never used, where k is 1, and where sets of different sizes occur.
    Not this    Tokens over the product of the two shares (`product_lift`), which a random choice of k keeps below 1.
                Nor read without its support: see `coactivation_support`; the warning counts pairs with little of it.
                A router limited to groups of experts puts experts of one group together by its rule alone.
    """
    pairs_lef = tally.pooled("coactivation", facets=ask.facets)
    expected_lef, warnings = expected_pairs(pairs_lef, tally.layers)
    known = expected_lef[np.isfinite(expected_lef) & (expected_lef > 0)]
    rare = int(np.count_nonzero(known < ENOUGH)) // 2
    if rare:
        warnings += (f"{rare} pairs are expected in fewer than {ENOUGH} tokens: their lift is mostly noise.",)
    if any(rule.groups_kept < rule.groups for rule in tally.layers):
        warnings += ("The router chooses groups first: experts of one group meet by its rule alone.",)
    value_lef = _over(pairs_lef, expected_lef, tally.layers)
    null_lef = np.where(np.isfinite(value_lef), 1.0, np.nan)
    return Result(value=value_lef, null=null_lef, warnings=warnings)


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
def coactivation_support(tally: Tally, ask: Ask) -> Result:
    """How many tokens two experts worked on together, beside how many chance would give them."""
    pairs_lef = tally.pooled("coactivation", facets=ask.facets)
    expected_lef, warnings = expected_pairs(pairs_lef, tally.layers)
    value_lef = _over(pairs_lef, np.ones((1, 1, 1)), tally.layers)
    return Result(value=value_lef, null=expected_lef, warnings=warnings)


def expected_pairs(
    pairs_lef: NDArray[np.int64], layers: tuple[RouterRule, ...]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Tokens each pair would share by chance, NaN on the diagonal and where the null does not apply; and warnings."""
    expected_lef, uneven = np.full(pairs_lef.shape, np.nan), []
    for rule, pairs_ef, out_ef in zip(layers, pairs_lef, expected_lef, strict=True):
        slots, together = int(np.trace(pairs_ef)), int(pairs_ef.sum() - np.trace(pairs_ef))
        if rule.k < 2 or not slots:
            continue
        if together != (rule.k - 1) * slots:  # some sets are neither empty nor full
            uneven.append(rule.layer)
            continue
        own, tokens = slice(rule.experts), slots / rule.k
        out_ef[own, own] = fixed_k_chance(np.diagonal(pairs_ef)[own] / tokens, rule.k).pair_ef * tokens
        np.fill_diagonal(out_ef, np.nan)
    if uneven:
        return expected_lef, (f"No null in layers {uneven}: some tokens have fewer than k experts there.",)
    return expected_lef, ()


def _over(
    above_lef: NDArray[np.number], below_lef: NDArray[np.number], layers: tuple[RouterRule, ...]
) -> NDArray[np.float64]:
    """The ratio off the diagonal among a layer's own experts; NaN elsewhere and where nothing is below."""
    experts = above_lef.shape[1]
    own_le = np.arange(experts) < np.array([[rule.experts] for rule in layers])
    present_lef = own_le[:, :, None] & own_le[:, None, :] & ~np.eye(experts, dtype=bool)
    return np.where(present_lef, ratio(above_lef, below_lef), np.nan)
