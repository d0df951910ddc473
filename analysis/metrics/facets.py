"""Whether experts serve different kinds of token: prompt against generated, early against late, special against plain.

Load profiles are compared by total variation: the share of the work that would have to move for them to be alike.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.load_balance import interval, with_sample_size
from gatescope.analysis.registry import BOTH, MetricOptions, Result, metric
from gatescope.analysis.statistics.load import narrow_count_by
from gatescope.analysis.statistics.shares import ratio, shares
from gatescope.analysis.tally.tally import Reading, Tally, TokenRole, statistic

Pair = tuple[NDArray[np.number], NDArray[np.number]]
"""Counts of two profiles."""

STARTS = (0, 1, 4, 16, 64, 256)
PLACES = ("0", "1–3", "4–15", "16–63", "64–255", "256+", "special tokens")
SPECIAL = len(STARTS)
NOISE = "profiles of independent tokens that differ by chance alone"


@statistic(per="unit", axes="uble")
def place_loads(reading: Reading) -> NDArray[np.unsignedinteger]:
    """Slots that each expert filled, by place in the document: six stretches of positions, then special tokens."""
    record, buckets = reading.record, len(PLACES)
    bucket_t = np.searchsorted(STARTS, record.position_t, side="right") - 1
    bucket_t = np.where(reading.facet_t == TokenRole.FORMAT, SPECIAL, bucket_t)
    counted_t = reading.facet_t != TokenRole.ENCODER
    whose_t = (record.document_t.astype(np.int64) * buckets + bucket_t)[counted_t]
    ids_tlk = record.ids_tlk if counted_t.all() else record.ids_tlk[counted_t]
    count_xle = narrow_count_by(ids_tlk, whose_t, len(record.documents) * buckets, record.experts)
    return count_xle.reshape(len(record.documents), buckets, *count_xle.shape[1:])


def total_variation(one_le: NDArray[np.number], other_le: NDArray[np.number]) -> NDArray[np.float64]:
    """Half the summed difference of two load profiles, each made to sum to 1.

    Shapes      (…, experts) counts, twice, to (…).
    Units       1: 0 for equal profiles, 1 for profiles without an expert in common.
    Undefined   NaN where either has no counts.

    >>> total_variation(np.array([3, 1]), np.array([1, 1])).tolist()
    0.25
    """
    apart_l: NDArray[np.float64] = np.abs(shares(one_le) - shares(other_le)).sum(axis=-1) / 2
    return apart_l


def noise(one_le: NDArray[np.number], other_le: NDArray[np.number], k_l: NDArray[np.integer]) -> NDArray[np.float64]:
    """Expected total variation of two samples of independent tokens from the profile that they have together.

    An expert's count is binomial over tokens, its difference nearly normal: sqrt(2 / pi) times its deviation.
    """
    k_l1 = np.broadcast_to(k_l, one_le.shape[:-1])[..., None]
    rate_le = np.minimum(shares(one_le + other_le) * k_l1, 1.0)
    slots_l1 = [table.sum(axis=-1, keepdims=True).astype(np.float64) for table in (one_le, other_le)]
    per_token = sum(ratio(k_l1, slots) for slots in slots_l1)
    spread_l = (np.sqrt(rate_le * (1 - rate_le) * per_token) / k_l1).sum(axis=-1)
    expected_l: NDArray[np.float64] = np.sqrt(2 / np.pi) * spread_l / 2
    return expected_l


def _compared(
    tally: Tally,
    ask: MetricOptions,
    table_u: NDArray[np.integer],
    of: Callable[[NDArray[np.number]], Pair],
    k_l: NDArray[np.integer],
) -> Result:
    """Total variation of the two profiles that `of` makes of sums, with interval and noise.

    A layer at a time, as a table of counts by place is large: (units, places, layers, experts).
    """
    one, other = of(table_u.sum(axis=0, dtype=np.int64))
    value, null = total_variation(one, other), noise(one, other, k_l)
    if not ask.resamples:
        return Result(value=value, null=null)
    layers = (table_u[:, :, layer : layer + 1] for layer in range(table_u.shape[2]))
    ends = [interval(tally, ask, own_u, lambda sums: total_variation(*of(sums)), bounds=(0.0, 1.0)) for own_u in layers]
    low, high = (np.concatenate([end for end in each if end is not None]) for each in zip(*ends, strict=True))
    return Result(value=value, low=low, high=high, null=null)


@metric(
    title="Prompt against generated",
    unit="1 (share of the work)",
    axes="l",
    range=(0, 1),
    uniform="0",
    null=NOISE,
    needs=("assignments", "tokens"),
    source="Total variation of load profiles, bootstrap over documents",
)
def prompt_against_generated(tally: Tally, ask: MetricOptions) -> Result:
    """How differently experts are used by what was read and by what was written: work that would have to move.

    Undefined   NaN where there are no prompt or no generated tokens.
    Not this    An effect of generating alone: what is read and what is written also differ in words. The null takes
                tokens for independent; the interval does not.
    """
    table_ufle = tally.by_unit["assignments"][:, [TokenRole.PROMPT, TokenRole.GENERATED]]
    k_l = np.array([rule.k for rule in tally.layers])
    found = _compared(tally, ask, table_ufle, lambda sums: (sums[..., 0, :, :], sums[..., 1, :, :]), k_l)
    absent = bool((table_ufle.sum(axis=(0, 2, 3)) == 0).any())
    warnings = ("Undefined: there are no prompt tokens, or no generated ones.",) if absent else ()
    return with_sample_size(replace(found, warnings=warnings), tally, replace(ask, facets=BOTH))


@metric(
    title="Position in the document",
    unit="1 (share of the work)",
    axes="lb",
    range=(0, 1),
    uniform="0",
    null=NOISE,
    needs=("place_loads", "tokens", "assignments"),
    source="Total variation of load profiles, bootstrap over documents",
)
def position_distance(tally: Tally, ask: MetricOptions) -> Result:
    """How differently experts are used in one stretch of positions than in all others; special tokens apart.

    Shapes      (layers, stretches): tokens 0, 1–3, 4–15, 16–63, 64–255 and from 256 on, each against all other plain
                tokens; then special and template tokens against all plain ones. Prompt and generated tokens together.
    Undefined   NaN where no token stands there, or nowhere else.
    Not this    An effect of position alone: texts begin with other words than they go on with.
    """

    def pair(sums: NDArray[np.number]) -> Pair:
        plain_lbe = np.moveaxis(sums[..., :SPECIAL, :, :], -3, -2)
        all_l1e = plain_lbe.sum(axis=-2, keepdims=True)
        special_l1e = np.moveaxis(sums[..., SPECIAL:, :, :], -3, -2)
        own = np.concatenate([plain_lbe, special_l1e], axis=-2)
        return own, np.concatenate([all_l1e - plain_lbe, all_l1e], axis=-2)

    table_uble = tally.by_unit["place_loads"]
    found = _compared(tally, ask, table_uble, pair, np.array([[rule.k] for rule in tally.layers]))
    absent = [place for place, value_l in zip(PLACES, found.value.T, strict=True) if np.isnan(value_l).all()]
    warnings: tuple[str, ...] = (f"No tokens to compare at {', '.join(absent)}.",) if absent else ()
    if ask.facets != BOTH:
        warnings += ("Speaks of prompt, generated and special tokens, whatever facets are asked.",)
    found = replace(found, labels={"b": PLACES}, warnings=warnings)
    return with_sample_size(found, tally, replace(ask, facets=(*BOTH, TokenRole.FORMAT)))
