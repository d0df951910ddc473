"""What a router that prefers nothing would show: how often tokens share experts, and how uneven its counts look.

A router without preferences chooses for every token, independently, any set of k experts with equal chances; one that
is limited to groups of experts, any of those that the limit allows, by the scores it would give to noise. The same for
a router with given loads, which prefers nothing beyond them, is in `matched`.
"""

from collections.abc import Sequence
from functools import cache
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln
from scipy.stats import binom

from gatescope.analysis.statistics.jit import compiled
from gatescope.analysis.statistics.load import load_cv_floor, max_violation_floor
from gatescope.routing import RouterRule
from gatescope.routing.errors import OptionError

_TOKENS = 4000  # for the overlap of grouped routers: every pair of so many is looked at
_BLOCK = 1000
_SIMULATED_TOKENS = 20_000  # beyond so many, counts of experts are as good as normal
_NORMAL_DRAWS = 2000


class Chance(NamedTuple):
    """What two tokens, or two experts, of a router without preferences have in common, by layer.

    token_share_l     of the tokens use an expert
    slot_share_l      of the assignments are an expert's; also how often two tokens' first experts are the same
    any_shared_l      two tokens share at least one expert
    overlap_l         share of a token's experts that another token uses
    jaccard_l         experts that two tokens share, over experts that either uses
    coactivation_l    a token that uses one expert uses a certain other, averaged over all others; NaN for one expert
    truncated_gini_l  least Gini that a profile can have in which only k experts are left
    """

    token_share_l: NDArray[np.float64]
    slot_share_l: NDArray[np.float64]
    any_shared_l: NDArray[np.float64]
    overlap_l: NDArray[np.float64]
    jaccard_l: NDArray[np.float64]
    coactivation_l: NDArray[np.float64]
    truncated_gini_l: NDArray[np.float64]


class NoiseFloor(NamedTuple):
    """How uneven the counts of so many independent tokens look although the router prefers nothing, by layer.

    gini_l           expected Gini coefficient
    max_violation_l  expected MaxVio
    cv_l             coefficient of variation, root mean square
    """

    gini_l: NDArray[np.float64]
    max_violation_l: NDArray[np.float64]
    cv_l: NDArray[np.float64]


class _Geometry(NamedTuple):
    """What the nulls of a layer depend on; `best` scores of a group make its worth."""

    experts: int
    k: int
    groups: int
    kept: int
    best: int

    @property
    def is_limited(self) -> bool:
        return self.kept < self.groups


def chance(layers: Sequence[RouterRule], *, seed: int = 0) -> Chance:
    """What tokens and experts have in common under a router without preferences.

    Shapes      (layers,) each.
    Units       1, all from 0 to 1.
    Undefined   `coactivation_l` is NaN for a single expert.
    Not this    The null of a router with uneven loads, whose tokens share more: `load_matched`. Nor of two tokens of
                the same word, or of neighbours. A limit to groups leaves `overlap_l` and `coactivation_l` as they are
                on average; it makes sharing rarer and, where it happens, larger.
    Source      Counting sets of k out of E; with groups, `overlap_chances`.

    Two of 8 experts: 15 of the 28 sets avoid a given one.

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=8, k=2, score="softmax")
    >>> [round(float(share_l[0]), 4) for share_l in chance([rule])]
    [0.25, 0.125, 0.4643, 0.25, 0.1786, 0.1429, 0.75]
    """
    overlaps = [overlap_chances(rule, seed=seed) for rule in layers]
    experts_l = np.array([rule.experts for rule in layers], np.float64)
    k_l = np.array([rule.k for rule in layers], np.float64)
    return Chance(
        token_share_l=k_l / experts_l,
        slot_share_l=1 / experts_l,
        any_shared_l=np.array([1 - chance_i[0] for chance_i in overlaps]),
        overlap_l=k_l / experts_l,
        jaccard_l=np.array([jaccard_of(chance_i) for chance_i in overlaps]),
        coactivation_l=np.where(experts_l > 1, (k_l - 1) / np.maximum(experts_l - 1, 1), np.nan),
        truncated_gini_l=1 - k_l / experts_l,
    )


def overlap_chances(rule: RouterRule, *, seed: int = 0) -> NDArray[np.float64]:
    """How likely two tokens of a router without preferences share 0, 1, … k experts.

    Shapes      (k + 1,), summing to 1.
    Units       1.
    Undefined   Nothing. Errors: OptionError where the groups cannot hold k experts.
    Not this    Exact for a router limited to groups: that is simulated with standard normal logits, 8 million pairs of
                4,000 tokens, to about three digits. Its groups count by the sum of their best two scores where these
                are sigmoids (DeepSeek-V3), and else by their best (DeepSeek-V2).
    Source      Hypergeometric distribution; DeepSeek-AI 2024 (arXiv 2412.19437) for the limit.

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=8, k=2, score="softmax")
    >>> (overlap_chances(rule) * 28).tolist()
    [15.0, 12.0, 1.0]
    """
    geometry = _geometry(rule)
    if geometry.is_limited:
        return np.array(_grouped_overlap(geometry, seed))
    experts, k = geometry.experts, geometry.k
    return np.array([comb(k, i) * comb(experts - k, k - i) / comb(experts, k) for i in range(k + 1)])


def jaccard_of(chance_i: NDArray[np.float64]) -> float:
    """Expected ratio of shared to all experts of two tokens with k each, from the chances of sharing 0 … k."""
    shared_i = np.arange(len(chance_i))
    return float((chance_i * shared_i / (2 * (len(chance_i) - 1) - shared_i)).sum())


def noise_floor(layers: Sequence[RouterRule], *, tokens: int, draws: int = 500, seed: int = 0) -> NoiseFloor:
    """How uneven a router without preferences looks over so many independent tokens: what unevenness is to be above.

    Shapes      (layers,) each.
    Units       1, falling as 1 over the root of the number of tokens.
    Undefined   NaN for no tokens.
    Not this    The floor of real text, whose tokens are not independent: pass the effective tokens of `design_effect`.
                Nor a limit that noise stays under: about half of all even routers lie above it.
    Source      Gini: exact, from the expected distance of a random walk, as two experts' counts differ by one step up,
                down or none per token. MaxVio: mean of `draws` simulated routers, to about 2 %, up to 20,000 tokens,
                `max_violation_floor` beyond; a limit to groups changes it by as much as it does for normal counts.
                CV: `load_cv_floor`, exact.

    One token that uses one of two experts is as uneven as can be.

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=2, k=1, score="softmax")
    >>> [round(float(floor_l[0]), 6) for floor_l in noise_floor([rule], tokens=1)]
    [0.5, 1.0, 1.0]
    """
    cv_l = load_cv_floor(layers, tokens=tokens)
    if draws < 1:
        raise OptionError(f"{draws} draws", expected="at least 1", do="ask for 500")
    if tokens == 0:
        return NoiseFloor(cv_l, cv_l, cv_l)
    geometries = [_geometry(rule) for rule in layers]
    return NoiseFloor(
        gini_l=np.array([_gini_floor(geometry, tokens, seed) for geometry in geometries]),
        max_violation_l=np.array([_violation_floor(geometry, tokens, draws, seed) for geometry in geometries]),
        cv_l=cv_l,
    )


def _geometry(rule: RouterRule) -> _Geometry:
    experts, k, groups, kept = rule.experts, rule.k, rule.groups, rule.groups_kept
    if groups > 1 and (experts % groups or not 1 <= kept <= groups or kept * (experts // groups) < k):
        raise OptionError(
            f"{experts} experts in {groups} groups, of which {kept} are kept for {k} experts a token",
            expected="groups of one size, enough of them kept for k experts",
            do="check the model's config: its groups were misread",
        )
    best = min(2, experts // groups) if rule.score == "sigmoid" else 1
    return _Geometry(experts, k, groups, kept, best) if kept < groups else _Geometry(experts, k, 1, 1, 1)


@cache
def _grouped_overlap(geometry: _Geometry, seed: int) -> tuple[float, ...]:
    """Chances of sharing 0 … k experts, over every pair of simulated tokens."""
    chosen_te = _grouped_sets(geometry, seed).astype(np.float32)
    pairs_i = np.zeros(geometry.k + 1)
    for start in range(0, _TOKENS, _BLOCK):
        shared = (chosen_te[start : start + _BLOCK] @ chosen_te.T).astype(np.intp)
        pairs_i += np.bincount(shared.ravel(), minlength=geometry.k + 1)
    pairs_i[geometry.k] -= _TOKENS  # a token and itself
    return tuple((pairs_i / pairs_i.sum()).tolist())


@cache
def _together(geometry: _Geometry, seed: int) -> tuple[float, float]:
    """Chance that a token uses two certain experts: of one group, and of two."""
    experts, k, per_group = geometry.experts, geometry.k, geometry.experts // geometry.groups
    if not geometry.is_limited:
        both = k * (k - 1) / max(experts * (experts - 1), 1)
        return both, both
    used_tg = _grouped_sets(geometry, seed).reshape(_TOKENS, geometry.groups, per_group).sum(axis=2)
    pairs = (used_tg * (used_tg - 1)).sum(axis=1).mean()
    same = pairs / (experts * max(per_group - 1, 1))
    return float(same), float((k * (k - 1) - pairs) / (experts * (experts - per_group)))


def _grouped_sets(geometry: _Geometry, seed: int) -> NDArray[np.bool_]:
    """Sets that a router limited to groups gives to noise, (tokens, experts)."""
    score_te = expit(np.random.default_rng(seed).standard_normal((_TOKENS, geometry.experts)))
    score_tgm = score_te.reshape(_TOKENS, geometry.groups, -1)
    worth_tg = np.sort(score_tgm, axis=2)[:, :, -geometry.best :].sum(axis=2)
    lost_tg = np.argsort(worth_tg, axis=1)[:, : geometry.groups - geometry.kept]
    np.put_along_axis(score_tgm, lost_tg[:, :, None], -1.0, axis=1)
    chosen_te = np.zeros(score_te.shape, bool)
    np.put_along_axis(chosen_te, np.argpartition(score_te, -geometry.k, axis=1)[:, -geometry.k :], True, axis=1)
    return chosen_te


def _gini_floor(geometry: _Geometry, tokens: int, seed: int) -> float:
    """Mean distance of two experts' counts over twice their mean, averaged over pairs of one group and of two."""
    experts, k, per_group = geometry.experts, geometry.k, geometry.experts // geometry.groups
    if k == experts:
        return 0.0
    same, apart = (_walk(2 * max(k / experts - both, 0.0), tokens) for both in _together(geometry, seed))
    return ((per_group - 1) * same + (experts - per_group) * apart) / (2 * tokens * k)


def _walk(moves: float, tokens: int) -> float:
    """Mean distance from its start of a walk that moves one up or one down, as likely, at a share of the tokens."""
    spread = 10 * np.sqrt(tokens * moves) + 40
    steps = np.arange(max(0, int(tokens * moves - spread)), min(tokens, int(tokens * moves + spread)) + 1)
    half = np.maximum((steps + 1) // 2, 1)  # an odd number of steps leads as far as one more
    distance = 2 * half * np.exp(gammaln(2 * half + 1) - 2 * gammaln(half + 1) - 2 * half * np.log(2))
    return float((binom.pmf(steps, tokens, moves) * distance * (steps > 0)).sum())


@cache
def _violation_floor(geometry: _Geometry, tokens: int, draws: int, seed: int) -> float:
    if geometry.is_limited:
        free = _Geometry(geometry.experts, geometry.k, 1, 1, 1)
        return (
            _violation_floor(free, tokens, draws, seed) * _normal_largest(geometry, seed) / _normal_largest(free, seed)
        )
    if tokens > _SIMULATED_TOKENS:
        rule = RouterRule(layer=0, block=0, module="", experts=geometry.experts, k=geometry.k, score="unknown")
        return float(max_violation_floor([rule], tokens=tokens)[0])
    largest = _largest_counts(geometry.experts, geometry.k, tokens, draws, np.random.default_rng(seed))
    return float(largest.mean()) * geometry.experts / (tokens * geometry.k) - 1


@cache
def _normal_largest(geometry: _Geometry, seed: int) -> float:
    """Expected largest of normal counts with the covariances of the router's, up to a factor.

    Each is a term of its group and one of its own, less the mean of all.
    """
    generator = np.random.default_rng(seed)
    rate, (same, apart) = geometry.k / geometry.experts, _together(geometry, seed)
    own_ne = generator.standard_normal((_NORMAL_DRAWS, geometry.experts)) * np.sqrt(rate - same)
    group_ng = generator.standard_normal((_NORMAL_DRAWS, geometry.groups)) * np.sqrt(max(same - apart, 0.0))
    count_ne = own_ne + np.repeat(group_ng, geometry.experts // geometry.groups, axis=1)
    return float((count_ne.max(axis=1) - count_ne.mean(axis=1)).mean())


@compiled
def _largest_counts(
    experts: int, k: int, tokens: int, draws: int, generator: np.random.Generator
) -> NDArray[np.int64]:  # pragma: no cover
    """The busiest expert's count in each draw: k cards from a pack that need not be put back in order."""
    largest = np.zeros(draws, np.int64)
    pack = np.arange(experts)
    for draw in range(draws):
        count_e = np.zeros(experts, np.int64)
        for _ in range(tokens):
            for slot in range(k):
                other = slot + int(generator.random() * (experts - slot))
                pack[slot], pack[other] = pack[other], pack[slot]
                count_e[pack[slot]] += 1
        largest[draw] = count_e.max()
    return largest
