"""What an even router gives of all that depends on the order of tokens or of layers: see `even_values`."""

from functools import cache
from math import comb

import numpy as np

from tests.analysis.even_values import AGAIN, ALIKE, FREE, P, about, bias, chi_bits, deviates, less, share
from tests.analysis.extremes import DOCUMENTS, EXPERTS, GENERATED, LAYERS, PLAIN, SIZES, K

LAGS = 2 ** np.arange(8)
INSIDE, BATCHES = np.array([8, 16, 32, 64, 128]), np.array([2, 3, 7, 14, 27])
"""Windows inside documents, and documents of 150 tokens that come nearest to 256, 512, 1024, 2048 and 4096."""
DRAWN = 9000
"""Tokens that are drawn where there is no formula."""


def pairs(world, lag):
    """Pairs of tokens so far apart within a document and facet; half of the documents have two facets."""
    in_two = sum(max(0, size - lag) for size in (PLAIN - GENERATED, GENERATED))
    return DOCUMENTS / 2 * (in_two + PLAIN - lag) * world.tokens / (DOCUMENTS * PLAIN)


def neighbours(p):
    """Every pair, pairs of different words, pairs of the same word."""
    return lambda world: share(p, pairs(world, 1) * np.array([1, 1 - AGAIN, AGAIN]))


def overlap(world):
    return about(P, np.sqrt(ALIKE / np.array([pairs(world, lag) for lag in LAGS])))


def best_fixed(tokens):
    """F1 of the best threshold, for experts that are active in a binomial number of so many tokens."""
    chance = [comb(tokens, times) * P**times * (1 - P) ** (tokens - times) for times in range(tokens + 1)]
    right = [sum(times * chance[times] for times in range(least, tokens + 1)) for least in range(1, tokens + 1)]
    said = [tokens * sum(chance[least:]) for least in range(1, tokens + 1)]
    return max(2 * hit / (all_said + right[0]) for hit, all_said in zip(right, said, strict=True))


LONG = np.array([2, 4, 8, 16])
SEGMENTS = np.array([best_fixed(tokens) for tokens in LONG])


def segments(world):
    """An expert's score in one segment lies between 0 and 1, so that its deviation is below 1/2; segments overlap."""
    return about(SEGMENTS, 0.5 / np.sqrt(world.tokens / LONG * EXPERTS))


def segments_excess(world):
    return tuple(((bound - SEGMENTS) / (1 - SEGMENTS))[:, None] for bound in segments(world))


@cache
def blind_hits(length):
    """Hits of any policy that cannot know what comes: it keeps min(C, experts seen so far), each asked for alike."""
    seen, hits = np.eye(EXPERTS + 1)[K], np.zeros(EXPERTS)
    ways = np.zeros((EXPERTS + 1, EXPERTS + 1))
    for had in range(K, EXPERTS + 1):
        for new in range(min(K, EXPERTS - had) + 1):
            ways[had, had + new] = comb(EXPERTS - had, new) * comb(had, K - new) / comb(EXPERTS, K)
    for _ in range(length):
        hits += seen @ np.minimum(SIZES, np.arange(EXPERTS + 1)[:, None]) / EXPERTS / length
        seen = seen @ ways
    return hits


def soonest(is_used):
    """The token of each expert's next use, from each token on."""
    rows = np.where(is_used, np.arange(len(is_used))[:, None], len(is_used))
    return np.minimum.accumulate(rows[::-1])[::-1]


def least_asked(is_used):
    """Less the more of the next 16 tokens use an expert, from each token on."""
    total = np.concatenate([np.zeros((1, EXPERTS), int), is_used.cumsum(axis=0)])
    return total[:-1] - total[np.minimum(np.arange(len(is_used)) + 16, len(is_used))]


@cache
def seeing_hits(length, sizes, unwanted):
    """Hits of caches that know what comes, over random pairs: what is unwanted goes, of equals the oldest."""
    generator, hits, runs = np.random.default_rng(4), np.zeros(len(sizes)), DRAWN // length
    for _ in range(runs):
        chosen = np.argsort(generator.random((length + 1, EXPERTS)), axis=1)[:, :K]
        is_used = np.zeros((*chosen.shape[:1], EXPERTS), bool)
        np.put_along_axis(is_used, chosen, True, axis=1)
        worth, chosen = unwanted(is_used).tolist(), chosen.tolist()
        for at, size in enumerate(sizes):
            kept, last = set(chosen[0]), {}
            for token in range(1, length + 1):
                last |= {e: token - rank / K for rank, e in enumerate(chosen[token - 1])}
                kept = set(sorted(kept, key=lambda e, token=token, last=last: (worth[token][e], -last[e]))[:size])
                hits[at] += len(kept & set(chosen[token]))
                kept |= set(chosen[token])
    return hits / (runs * length * K)


def hits_of(p, tokens):
    """Hits of so many tokens' requests, the two of a token counted as one."""
    return about(p, np.sqrt(p * (1 - p) / tokens))


def best(world):
    p = seeing_hits(world.length, tuple(SIZES.tolist()), soonest)
    return hits_of(p, 1 / (1 / world.tokens + 1 / DRAWN))


def segment_hits(world):
    p = seeing_hits(world.length, (K, 2 * K, 3 * K), least_asked)
    return hits_of(p, 1 / (1 / world.tokens + 1 / DRAWN))


def segment_excess(world):
    p = seeing_hits(world.length, (K, 2 * K, 3 * K), least_asked)
    return about(0, np.sqrt(2 * p * (1 - p) / world.tokens) / (1 - p))


def efficiency(world):
    """With room for all experts every policy is the best."""
    (low, high), (least, most) = best(world), hits_of(blind_hits(world.length), world.tokens)
    all_kept = SIZES == EXPERTS
    return np.where(all_kept, 1, least / high)[:, None], np.where(all_kept, 1, most / low)[:, None]


def but_last(bounds):
    """Undefined in the last layer, which nothing follows."""

    def of(world):
        return tuple(
            np.where(np.arange(LAYERS).reshape(-1, *[1] * np.ndim(bound)) < LAYERS - 1, bound, np.nan)
            for bound in bounds(world)
        )

    return of


def transitions(p):
    """Tokens of one expert, a share p of all, that go to one of the next layer, of which tokens have the same share."""
    return but_last(lambda world: tuple(np.full((EXPERTS, EXPERTS), bound) for bound in share(p, p * world.tokens)))


def transition_bits(groups, tokens):
    freedom = groups * FREE**2
    return less(chi_bits(freedom, tokens), bias(freedom, tokens))


DEPTHS = EXPERTS ** np.array([1, 2, 3])


@cache
def taken(tokens):
    """Even draws of tokens over the possible paths of each depth: their shares, rarest last."""
    generator = np.random.default_rng(6)
    return [-np.sort(-generator.multinomial(int(tokens), np.full(m, 1 / m), 300)) / tokens for m in DEPTHS]


def path_count(_world):
    """Of 512 paths, 0.005 are expected to be missing."""
    return DEPTHS - np.array([0, 0, 2]), DEPTHS


def path_coverage(world):
    """The most frequent 1, 10, 100 and 1000 paths, as drawn."""
    drawn = np.stack(
        [[share_bm[:, :rank].sum(axis=1) for rank in (1, 10, 100, 1000)] for share_bm in taken(world.tokens)]
    )
    return about(drawn.mean(axis=2), drawn.std(axis=2))


def path_entropy(world):
    drawn = [-(share_bm * np.log2(np.maximum(share_bm, 1e-300))).sum(axis=1) for share_bm in taken(world.tokens)]
    return about(np.mean(drawn, axis=1), np.std(drawn, axis=1))


def same_path(world):
    return about(1 / DEPTHS, np.sqrt(2 / DEPTHS) / world.tokens)


def windows(shape, spread):
    """Noise of so many tokens, over as many windows as there are; batches of documents come near their window."""

    def bounds(world):
        tokens = np.concatenate([INSIDE, PLAIN * BATCHES])
        number = np.maximum(1, world.tokens / tokens * np.where(tokens == 128, 0.4, 0.6))
        mean = even_windows(shape)
        return tuple(np.append(bound, np.full(4, np.nan)) for bound in about(mean, spread * mean / np.sqrt(number)))

    return bounds


@cache
def even_windows(shape):
    """Mean (of the CV, root mean square) over windows of an even router: counted for short ones, normal for others."""
    generator, found = np.random.default_rng(7), []
    for tokens in INSIDE:
        chosen = np.argsort(generator.random((4000, tokens, EXPERTS), np.float32), axis=2) < K
        found.append(measured(shape, chosen.sum(axis=1) / (tokens * P) - 1))
    return np.array([*found, *(measured(shape, deviates() * np.sqrt((1 - P) / P / n)) for n in PLAIN * BATCHES)])


def measured(shape, off):
    return off.max(axis=1).mean() if shape == "max_violation" else np.sqrt((off**2).mean())
