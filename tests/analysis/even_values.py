"""What an even router gives, worked out without the metrics: for each of them two bounds that its values lie between.

A bound is the expected value and five times its sampling error or, for measures of pure noise, a quantile with one
draw in 100,000 beyond. Errors follow from the number of tokens: a share p of N tokens has the error √(p (1 - p) / N).
Expected values are formulas in E, k and N where there are any; else they are drawn here, from normal numbers for the
gate and for loads, and from random pairs of experts for what depends on the order of tokens.
"""

from functools import cache
from math import log
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from tests.analysis.extremes import CLASS, DOCUMENTS, EXPERTS, PLAIN, SIZES, ZIPF, K

P, Z, BIT = K / EXPERTS, 5.0, 2 * log(2)
PAIR = K * (K - 1) / (EXPERTS * (EXPERTS - 1))
FREE = EXPERTS - 1
DEPENDENT = (EXPERTS - K) / (EXPERTS - 1)
"""Slots of one token exclude each other: their χ² is smaller by this factor than that of independent slots."""
ALIKE = P * (1 - P) * DEPENDENT / K
"""Variance of the share of experts that two tokens have in common (hypergeometric)."""
STRETCHES = np.array([np.nan, 3, 12, 48, 87, np.nan, 1]) / PLAIN
"""Tokens at positions 0, 1, 4, 16, 64, 256 and on, and special ones, for each plain token."""
SAMPLED = 8 * DOCUMENTS
AGAIN = (ZIPF**2).sum()
"""How often two words are the same."""


class World(NamedTuple):
    """What chance depends on: number of tokens, length of documents, spread of the raw scores, groups."""

    by: str = ""
    tokens: float = DOCUMENTS * PLAIN
    length: int = PLAIN
    sigma: float = 1.0

    @property
    def own(self) -> float:
        """Tokens of each group."""
        return self.tokens / (2 if self.by else 1)

    @property
    def slots(self) -> float:
        """Assignments of a layer."""
        return K * self.tokens


def about(centre, error):
    return centre - Z * error, centre + Z * error


def exactly(value):
    return lambda _world: (value, value)


def share(p, tokens):
    return about(p, np.sqrt(p * (1 - p) / tokens))


def bias(freedom, slots):
    """Information that independent choices seem to have, on average, in bits (Miller 1955)."""
    return freedom / (BIT * slots)


def chi_bits(freedom, slots):
    """Information of independent choices in bits: a χ² over twice their number."""
    return tuple(chi2.ppf(q, freedom) / (BIT * slots) for q in (1e-6, 1 - 1e-6))


def less(bounds, what):
    return tuple(bound - what for bound in bounds)


@cache
def deviates():
    """How far experts lie from their mean, in deviations, in many draws: (draws, experts), rising."""
    drawn = np.random.default_rng(0).normal(size=(200_000, EXPERTS))
    centred = drawn - drawn.mean(axis=1, keepdims=True)
    return np.sort(centred * np.sqrt(EXPERTS / FREE), axis=1)


SHAPES = {
    "gini": lambda u: u @ (2 * SIZES - EXPERTS - 1) / EXPERTS**2,
    "cv": lambda u: np.sqrt((u**2).mean(axis=1)),
    "mean_violation": lambda u: np.abs(u).mean(axis=1),
    "max_violation": lambda u: u[:, -1],
    "min_violation": lambda u: -u[:, 0],
}


def noise(shape, variance):
    """Bounds of a measure of unevenness, of loads that vary so much around an even one."""
    low, high = np.quantile(SHAPES[shape](deviates()), [1e-5, 1 - 1e-5])
    return low * np.sqrt(variance), high * np.sqrt(variance)


def load_variance(world):
    """Of an expert's load as a multiple of the mean."""
    return (1 - P) / (P * world.tokens)


def mass_variance(world):
    return gates(world.sigma)["mass"][0] / world.tokens


def entropy(variance, added=0.0):
    """Of shares that vary a little: log2 E less half their variance in nats, more what is added, up to log2 E."""
    low, high = (log(EXPERTS, 2) - q * variance / EXPERTS / BIT for q in chi2.ppf([1 - 1e-6, 1e-6], FREE))
    return low + added, np.minimum(high + added, log(EXPERTS, 2))


def miller(world):
    """What Miller's correction adds."""
    return bias(FREE, world.slots)


def lorenz(world):
    """Shares of the least busy, whose loads are the expected order statistics of normal numbers."""
    rising, least = np.concatenate([[0], deviates().mean(axis=0).cumsum()]), np.arange(EXPERTS + 1)
    variance = load_variance(world)
    error = np.sqrt(variance * least * (EXPERTS - least) / FREE) / EXPERTS
    return about((least + np.sqrt(variance) * rising) / EXPERTS, error)


@cache
def gates(sigma):
    """Every quantity of a gate, of many gates with normal scores."""
    z = -np.sort(-sigma * np.random.default_rng(9).normal(size=(200_000, EXPERTS)), axis=1)
    gate = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    chosen = gate[:, :K] / gate[:, :K].sum(axis=1, keepdims=True)
    kept, total = gate[:, :K].sum(axis=1), np.log(np.exp(z).sum(axis=1))
    nats, mean = -(gate * np.log(gate)).sum(axis=1), kept.mean() / EXPERTS
    mass = (gate[:, :K] ** 2).sum(axis=1) / EXPERTS - (kept / EXPERTS) ** 2
    return {
        "gate_entropy": nats / log(2),
        "gate_effective_experts": np.exp(nats),
        "chosen_entropy": -(chosen * np.log2(chosen)).sum(axis=1),
        "first_share": chosen[:, 0],
        "first_lead": chosen[:, 0] - chosen[:, 1],
        "kept_share": kept,
        "selection_margin": z[:, K - 1] - z[:, K],
        "log_sum_exp": total,
        "z_loss": total**2,
        "centred_log_sum_exp": total - z.mean(axis=1),
        "score_spread": z.std(axis=1),
        "score_peak": np.abs(z).max(axis=1),
        "mass": np.array([mass.mean() / mean**2]),
    }


GATE = tuple(gates(0.0))[:-1]


def gate_mean(name):
    def bounds(world):
        drawn = gates(world.sigma)[name]
        low, high = about(drawn.mean(), drawn.std() * np.sqrt(1 / world.own + 1 / len(drawn)))
        return low - abs(low) / 1024, high + abs(high) / 1024  # half floats

    return bounds


def gate_quantiles(name):
    """Quantiles as far off as so many tokens make them, and a bin of a sixteenth wider."""

    def bounds(world):
        q = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
        error = Z * np.sqrt(q * (1 - q) / world.own)
        ends = (np.quantile(gates(world.sigma)[name], np.clip(at, 0, 1)) for at in (q - error, q + error))
        low, high = ends
        return low * 15 / 16, high * 17 / 16 + 2.0**-18

    return bounds


def near_ties(world):
    """Below small steps there are as many margins as their density at 0 makes them."""
    step = np.array([2.0**-18, 2.0**-10, 2.0**-7, 2.0**-4])
    margin = gates(world.sigma)["selection_margin"]
    below = np.where(step < 0.01, step * (margin < 0.05).mean() / 0.05, (margin < step[3]).mean())
    below = below if world.sigma else np.ones(4)
    return about(below, np.sqrt(np.maximum(below * (1 - below), 1 / world.own) / world.own))


def soft_information(world):
    """All experts are alike on average; a token's own gate is as undecided as its entropy says."""
    drawn = gates(world.sigma)["gate_entropy"]
    return about(log(EXPERTS, 2) - drawn.mean(), drawn.std() * np.sqrt(1 / world.tokens + 1 / len(drawn)))


def class_load(world):
    tokens = np.full(19, np.nan)
    tokens[CLASS] = ZIPF * world.tokens
    return tuple(bound[:, None, None] for bound in about(1, np.sqrt((1 - P) / P / tokens)))


CLASSES = (len(ZIPF) - 1) * FREE


def class_information(world):
    """Less the bias of independent slots, which is more than slots that exclude each other show."""
    return less((DEPENDENT * bits for bits in chi_bits(CLASSES, world.slots)), bias(CLASSES, world.slots))


def class_association(world):
    """φ² of independent choices, less its mean, over E - 1: V is its root, or 0."""
    above = DEPENDENT * chi2.ppf(1 - 1e-6, CLASSES) - CLASSES
    return 0.0, np.sqrt(above / world.slots / FREE)


def in_common(same):
    """Pairs of sampled tokens; half as many as expected, to be safe."""
    return lambda world: about(P, np.sqrt(ALIKE / (sampled(world) ** 2 / 4 * (AGAIN if same else 1 - AGAIN))))


def sampled(world):
    return SAMPLED * world.tokens / (DOCUMENTS * PLAIN)


def context_share(world):
    low, high = in_common(True)(world)
    return 1 - (high - P) / (1 - P), 1 - (low - P) / (1 - P)


@cache
def largest_share(most):
    """Mean and deviation of the commonest expert's share of 1 … `most` random pairs."""
    chosen = np.argsort(np.random.default_rng(5).random((1500, most, EXPERTS), np.float32), axis=2) < K
    share_rn = chosen.cumsum(axis=1).max(axis=2) / np.arange(1, most + 1)
    return share_rn.mean(axis=0), share_rn.std(axis=0)


def vocabulary(is_by_token):
    """Words of three sampled tokens or more, each as far above chance as chance makes it."""

    def bounds(world):
        tokens = np.rint(sampled(world) * ZIPF).astype(int).clip(3, 400)
        chance, deviation = (part[tokens - 1] for part in largest_share(400))
        weight = tokens / tokens.sum() if is_by_token else 1 / len(tokens)
        error = np.sqrt(((weight * deviation / (1 - chance)) ** 2).sum())
        return about(0, error * np.sqrt(SAMPLED / sampled(world)))

    return bounds


def across(matrix, diagonal):
    """The same for every pair, another for the pair of one with itself; as a table (pairs, pairs)."""
    return lambda size: tuple(np.where(np.eye(size, dtype=bool), diagonal, bound) for bound in matrix)


def group_information(world):
    """Less the mean of 40 shuffles, which errs as well."""
    bits = [DEPENDENT * bound for bound in chi_bits(FREE, world.slots)]
    mean = DEPENDENT * bias(FREE, world.slots)
    return bits[0] - 1.5 * mean, bits[1] - 0.5 * mean


def divergence(world):
    return across([DEPENDENT * bound for bound in chi_bits(FREE, world.slots)], 0)(2)


def of_difference(one, other):
    """Deviation of the difference of an expert's shares of the assignments of so many tokens."""
    return np.sqrt(P * (1 - P) * (1 / one + 1 / other)) / K


def moved(one, other):
    """Total variation of two even profiles of so many tokens: E / 2 times the mean deviation of a difference."""
    return tuple(EXPERTS / 2 * of_difference(one, other) * bound for bound in noise("mean_violation", 1.0))


def expected_move(one, other):
    """Its mean: a normal number is √(2 / π) deviations from 0."""
    return EXPERTS / 2 * of_difference(one, other) * np.sqrt(2 / np.pi)


def others(world):
    """What each stretch of positions is held against: all other plain tokens, and special ones against all plain."""
    return np.where(np.arange(7) == 6, 1, 1 - STRETCHES) * world.tokens


def positions(world):
    return moved(STRETCHES * world.tokens, others(world))


def language_divergence(_world):
    """The noise of two profiles apart, over the noise of both together: one half, however long texts are.

    With deviations d and d′ it is |d - d′|² over 2 (|d|² + |d′|²), whose mean is 1/2 and deviation below 1/2 √(E - 1).
    """
    return across(about(0.5, 0.5 / np.sqrt(FREE * DOCUMENTS / 2)), 0)(2)


def of_pairs(bounds):
    return lambda world: across(bounds(world), np.nan)(EXPERTS)


def lift(world):
    return about(1, np.sqrt((1 - PAIR) / (PAIR * world.tokens)))


def support(world):
    return about(world.tokens * PAIR, np.sqrt(world.tokens * PAIR * (1 - PAIR)))
