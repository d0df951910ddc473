"""Whether two experts of a layer share more tokens than chance makes them, with documents as what is drawn.

Tokens of one document are alike: a topic brings the same experts again and again. So each document's tokens that a
pair shares are held against those that chance would give it, and the spread of these differences over documents says
how far their sum may be off.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import average, leaves_list, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from scipy.stats import t as student

from gatescope.analysis.metrics.pairs import expected_pairs
from gatescope.analysis.statistics.permutation import q_values
from gatescope.analysis.tally.pairs import count_pairs
from gatescope.routing import RouterRule

FEWEST = 10
"""Documents below which the spread between them is too rough to test anything."""
ORDERED = 300
FLOOR = 1 / 64


class PairTest(NamedTuple):
    """For each pair of experts of a layer, symmetric, NaN on the diagonal and where it is not known.

    z_ef     how many standard errors the shared tokens lie above chance
    p_ef     two-sided, Student's t with one degree of freedom less than documents
    q_ef     the same corrected for all pairs of the layer (Benjamini and Hochberg)
    """

    z_ef: NDArray[np.float64]
    p_ef: NDArray[np.float64]
    q_ef: NDArray[np.float64]
    documents: int


def pair_test(
    ids_tk: NDArray[np.unsignedinteger], document_t: NDArray[np.integer], expected_ef: NDArray[np.float64]
) -> PairTest:
    """Is each pair of a layer's experts together more, or less, often than chance, beyond what documents vary by?

    Shapes      ids_tk (tokens, slots) of one layer, document_t (tokens,); expected_ef (experts, experts): the tokens
                that chance gives each pair over all of them, `coactivation_support`'s null.
    Units       Standard errors and probabilities.
    Undefined   NaN with fewer than 10 documents, on the diagonal, where expected_ef is, and where no document differs.
    Not this    A test of the one cause: two experts also meet because a topic uses both, which this counts as meeting.
                The expected tokens of a document follow its own use of either expert to first order only.
    Source      Linearised variance of a total over clusters (Kish 1965, Binder 1983).
    """
    experts = len(expected_ef)
    numbers, document_t = np.unique(document_t, return_inverse=True)
    if len(numbers) < FEWEST:
        unknown = np.full((experts, experts), np.nan)
        return PairTest(unknown, unknown, unknown, len(numbers))
    count_e = np.bincount(ids_tk[ids_tk < experts], minlength=experts).astype(np.float64)
    pairs_ef, squares_ef = np.zeros((experts, experts)), np.zeros((experts, experts))
    for own_ef, size in _by_document(ids_tk, document_t, len(numbers), experts):
        pairs_ef += own_ef
        squares_ef += _beyond(own_ef, size / len(ids_tk), count_e, expected_ef) ** 2
    mean_ef = (pairs_ef - expected_ef) / len(numbers)
    spread_ef = np.clip(squares_ef - len(numbers) * mean_ef**2, 0, None)
    error_ef = np.sqrt(spread_ef * len(numbers) / (len(numbers) - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z_ef = np.where(error_ef > 0, (pairs_ef - expected_ef) / error_ef, np.nan)
    np.fill_diagonal(z_ef, np.nan)
    p_ef = 2 * student.sf(np.abs(z_ef), len(numbers) - 1)
    return PairTest(z_ef, p_ef, _corrected(p_ef), len(numbers))


def expected_of(ids_tk: NDArray[np.unsignedinteger], rule: RouterRule, experts: int) -> NDArray[np.float64]:
    """Tokens that chance gives each pair, of some tokens of one layer: (experts, experts), as `pair_test` takes it."""
    pairs_ef = count_pairs(ids_tk[:, None], np.zeros(len(ids_tk), np.intp), 1, experts)[0]
    expected_ef: NDArray[np.float64] = expected_pairs(pairs_ef, (rule,))[0][0]
    return expected_ef


def _by_document(
    ids_tk: NDArray[np.unsignedinteger], document_t: NDArray[np.integer], documents: int, experts: int
) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Tokens that every pair of experts shares in a document, and how many tokens it has."""
    order_t = np.argsort(document_t, kind="stable")
    start_d = np.searchsorted(document_t[order_t], np.arange(documents + 1))
    for start, end in pairwise(start_d.tolist()):
        ids_nk = ids_tk[order_t[start:end]]
        place_n, slot_n = np.nonzero(ids_nk < experts)
        has_ne = np.zeros((end - start, experts))
        has_ne[place_n, ids_nk[place_n, slot_n]] = 1.0
        yield has_ne.T @ has_ne, end - start


def _beyond(
    own_ef: NDArray[np.float64], size: float, count_e: NDArray[np.float64], expected_ef: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What one document adds to the difference from chance.

    To first order the expected tokens of a pair are proportional to the use of either expert, over all tokens.
    """
    use_e = np.divide(np.diagonal(own_ef), count_e, out=np.zeros(len(count_e)), where=count_e > 0)
    return own_ef - expected_ef * (use_e[:, None] + use_e - size)


def _corrected(p_ef: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each pair is one test, though it stands in two places."""
    above = np.triu_indices(len(p_ef), 1)
    q_ef = np.full(p_ef.shape, np.nan)
    q_ef[above] = q_values(p_ef[above])
    return np.where(np.isnan(q_ef), q_ef.T, q_ef)


def excess_share(pairs_lef: NDArray[np.float64], expected_lef: NDArray[np.float64]) -> NDArray[np.float64]:
    """What share of a layer's shared tokens would have to move to other pairs for chance alone to have made them.

    Shapes      (layers, experts, experts) twice to (layers,).
    Units       1: 0 where every pair is as frequent as by chance.
    Undefined   NaN where no pair has an expectation.

    >>> pairs = np.array([[[np.nan, 6.0], [6.0, np.nan]]])
    >>> excess_share(pairs, pairs).tolist()
    [0.0]
    """
    known_lef = np.isfinite(pairs_lef) & np.isfinite(expected_lef)
    above_l = np.where(known_lef, np.clip(pairs_lef - expected_lef, 0, None), 0.0).sum(axis=(1, 2))
    total_l = np.where(known_lef, pairs_lef, 0.0).sum(axis=(1, 2))
    share_l = np.full(len(total_l), np.nan)
    np.divide(above_l, total_l, out=share_l, where=total_l > 0)
    return share_l


def cluster_order(lift_ef: NDArray[np.float64]) -> NDArray[np.intp]:
    """Experts in an order in which those that meet more often than chance are neighbours.

    The leaves of a tree by average linkage, where two experts are the nearer the larger the logarithm of their lift
    (taken between 1/64 and 64); turned so that neighbours are as near as the tree allows, up to 300 experts. Experts
    without any known lift come last.

    >>> order = cluster_order(np.where(np.add.outer(np.arange(4), np.arange(4)) % 2 == 0, 8.0, 0.25)).tolist()
    >>> sorted(map(sorted, (order[:2], order[2:])))
    [[0, 2], [1, 3]]
    """
    known_ef = np.isfinite(lift_ef) & ~np.eye(len(lift_ef), dtype=bool)
    own = np.flatnonzero(known_ef.any(axis=1))
    if len(own) < 3:
        return np.concatenate([own, np.setdiff1d(np.arange(len(lift_ef)), own)])
    lift = np.where(known_ef, lift_ef, 1.0)[np.ix_(own, own)]
    apart = -np.log2(np.clip((lift + lift.T) / 2, FLOOR, 1 / FLOOR)) - np.log2(FLOOR)
    np.fill_diagonal(apart, 0.0)
    distances = squareform(apart, checks=False)
    tree = average(distances)
    if len(own) <= ORDERED:
        tree = optimal_leaf_ordering(tree, distances)
    return np.concatenate([own[leaves_list(tree)], np.setdiff1d(np.arange(len(lift_ef)), own)])
