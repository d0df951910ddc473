"""Ways to choose experts by score, as papers publish them, in numpy and without a model.

Shapes: n tokens, e experts, k chosen ones, g groups of m experts, b sequences of s tokens.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Routed(NamedTuple):
    """Where n tokens go: a score of every expert, the weight of every expert, and how clear the choice was.

    The margin is the gap of the selection scores at the edge of the choice: at 0 a tie decided.
    """

    logits_ne: np.ndarray
    dense_ne: np.ndarray
    margin_n: np.ndarray


def softmax(z: np.ndarray) -> np.ndarray:
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -z))


def sqrt_softplus(z: np.ndarray) -> np.ndarray:
    return np.sqrt(np.logaddexp(0, z))


def normed(x: np.ndarray, epsilon: float) -> np.ndarray:
    """Divided by its root mean square."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


SCORES = {"softmax": softmax, "sigmoid": sigmoid, "sqrtsoftplus": sqrt_softplus}


def best(selection_ne: np.ndarray, k: int) -> np.ndarray:
    """Ids of the k largest, the largest first."""
    return np.argsort(-selection_ne, axis=-1, kind="stable")[..., :k]


def gap(selection_ne: np.ndarray, k: int) -> np.ndarray:
    """How far the k-th largest lies above the next one; infinite where there is no next one."""
    falling_ne = -np.sort(-selection_ne, axis=-1)
    if k >= falling_ne.shape[-1]:
        return np.full(falling_ne.shape[:-1], np.inf)
    last, next_one = falling_ne[..., k - 1], falling_ne[..., k]
    return np.where(np.isneginf(next_one), np.inf, last - np.where(np.isneginf(next_one), 0, next_one))


def spread(ids_nk: np.ndarray, weights_nk: np.ndarray, experts: int) -> np.ndarray:
    """The weight of every expert, 0 where it is not chosen; weights of one expert named twice add up."""
    dense_ne = np.zeros((len(ids_nk), experts))
    np.add.at(dense_ne, (np.arange(len(ids_nk))[:, None], ids_nk), weights_nk)
    return dense_ne


def best_of_group(grouped_ngm: np.ndarray) -> np.ndarray:
    return grouped_ngm.max(-1)


def best_pair_of_group(grouped_ngm: np.ndarray) -> np.ndarray:
    return np.sort(grouped_ngm, -1)[..., -2:].sum(-1)


class Groups(NamedTuple):
    """Only experts of the best `kept` of `count` groups may be chosen; the others' selection scores become `others`."""

    count: int
    kept: int
    worth: Callable[[np.ndarray], np.ndarray]
    others: float = -np.inf

    def limit(self, selection_ne: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The selection scores within the best groups, and the gap between the groups."""
        grouped_ngm = selection_ne.reshape(len(selection_ne), self.count, -1)
        worth_ng = self.worth(grouped_ngm)
        allowed_ng = spread(best(worth_ng, self.kept), np.ones((1, 1)), self.count) > 0
        limited_ne = np.where(allowed_ng[..., None], grouped_ngm, self.others).reshape(selection_ne.shape)
        return limited_ne, gap(worth_ng, self.kept)


def gated(
    z_ne: np.ndarray,
    k: int,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    bias_e: np.ndarray | float = 0.0,
    by_logit: bool = False,
    groups: Groups | None = None,
    norm: float | None = 1,
    least: float = 0.0,
    scale: np.ndarray | float = 1.0,
) -> Routed:
    """The k best by score plus bias; their scores are the weights, made 1 in the norm of that order, and scaled.

    The bias serves the choice alone. With `by_logit` it is added to the logit instead of to the score. A norm below
    `least` counts as `least`; None leaves the scores as they are.
    """
    scores_ne = score(z_ne)
    selection_ne = (z_ne if by_logit else scores_ne) + bias_e
    margin_n = np.full(len(z_ne), np.inf)
    if groups is not None:
        selection_ne, margin_n = groups.limit(selection_ne)
    ids_nk = best(selection_ne, k)
    weights_nk = np.take_along_axis(scores_ne, ids_nk, 1)
    if norm is not None:
        weights_nk = weights_nk / np.maximum((weights_nk**norm).sum(-1, keepdims=True) ** (1 / norm), least)
    dense_ne = spread(ids_nk, weights_nk, z_ne.shape[1]) * scale
    return Routed(z_ne, dense_ne, np.minimum(margin_n, gap(selection_ne, k)))


def softmax_of_best(z_ne: np.ndarray, k: int) -> Routed:
    """The k best logits, and a softmax over these alone."""
    ids_nk = best(z_ne, k)
    return Routed(z_ne, spread(ids_nk, softmax(np.take_along_axis(z_ne, ids_nk, 1)), z_ne.shape[1]), gap(z_ne, k))


def looked_up(z_ne: np.ndarray, ids_nk: np.ndarray, score: Callable[[np.ndarray], np.ndarray], scale: float) -> Routed:
    """The experts a table names for the token; only their shares follow from the scores."""
    weights_nk = np.take_along_axis(score(z_ne), ids_nk, 1)
    weights_nk = weights_nk / weights_nk.sum(-1, keepdims=True) * scale
    return Routed(z_ne, spread(ids_nk, weights_nk, z_ne.shape[1]), np.full(len(z_ne), np.inf))


def joint_with_shared(z_nx: np.ndarray, k: int, shared: int, bias_e: np.ndarray, scale: float) -> Routed:
    """Sigmoids that sum to `scale` over the chosen experts and the last `shared` columns, which always run."""
    scores_nx, z_ne = sigmoid(z_nx), z_nx[:, :-shared]
    selection_ne = scores_nx[:, :-shared] + bias_e
    ids_nk = best(selection_ne, k)
    weights_nk = np.take_along_axis(scores_nx, ids_nk, 1)
    total_n1 = weights_nk.sum(-1, keepdims=True) + scores_nx[:, -shared:].sum(-1, keepdims=True)
    return Routed(z_ne, spread(ids_nk, weights_nk / total_n1 * scale, z_ne.shape[1]), gap(selection_ne, k))


def sparse_mixer(z_ne: np.ndarray, jitter: float) -> Routed:
    """Two experts, each by a softmax of its own over the logits near the best; the second without the first."""
    rows, left_ne, dense_ne = np.arange(len(z_ne)), z_ne.copy(), np.zeros(z_ne.shape)
    for _ in range(2):
        top_n1 = left_ne.max(-1, keepdims=True)
        far_ne = (top_n1 - z_ne) / np.maximum(np.abs(z_ne), top_n1) > 2 * jitter
        id_n = left_ne.argmax(-1)
        dense_ne[rows, id_n] = softmax(np.where(far_ne, -np.inf, left_ne))[rows, id_n]
        left_ne[rows, id_n] = -np.inf
    return Routed(z_ne, dense_ne, np.minimum(gap(z_ne, 1), gap(z_ne, 2)))


def first_within_capacity(z_bse: np.ndarray, capacity: int) -> Routed:
    """Each token's best expert, unless `capacity` earlier tokens of its sequence have filled it."""
    share_bse = softmax(z_bse)
    first_bse = np.eye(z_bse.shape[-1])[share_bse.argmax(-1)]
    served_bse = first_bse * (first_bse.cumsum(1) <= capacity)
    experts = z_bse.shape[-1]
    return Routed(
        z_bse.reshape(-1, experts), (served_bse * share_bse).reshape(-1, experts), gap(share_bse, 1).reshape(-1)
    )


def two_within_capacity(
    z_ne: np.ndarray, capacity: int, *, real_n: np.ndarray, norm_first: bool, by_importance: bool
) -> Routed:
    """Each token's two best experts, shared in proportion; an expert serves every first choice before any second one.

    Tokens queue in order, or the surest first. Padding is not served. Weights are normalised before tokens are dropped
    (`norm_first`) or after.
    """
    share_ne, experts = softmax(z_ne), z_ne.shape[1]
    ids_n2 = best(z_ne, 2)
    queue_n = np.argsort(-share_ne.max(-1), kind="stable") if by_importance else np.arange(len(z_ne))
    load_e, served_n2 = np.zeros(experts, int), np.zeros(ids_n2.shape, bool)
    for choice in (0, 1):
        for n in queue_n[real_n[queue_n]]:
            served_n2[n, choice] = load_e[ids_n2[n, choice]] < capacity
            load_e[ids_n2[n, choice]] += 1
    weights_n2 = np.take_along_axis(share_ne, ids_n2, 1)
    total_n1 = (weights_n2 if norm_first else weights_n2 * served_n2).sum(-1, keepdims=True)
    weights_n2 = np.where(served_n2, weights_n2 / np.maximum(total_n1, np.finfo(np.float32).eps), 0)
    return Routed(z_ne, spread(ids_n2, weights_n2, experts), np.minimum(gap(z_ne, 1), gap(z_ne, 2)))


def product_keys(halves_nq: np.ndarray, k: int) -> Routed:
    """Experts on a square of row and column keys, an expert's logit the sum of its two; a softmax over the k best.

    The keys are read as the published code lays them out: all numbers of the batch in a row, cut in half. So token n
    takes its keys from rows n // 2 and (tokens + n) // 2.
    """
    first_nq, second_nq = halves_nq.reshape(2, len(halves_nq), -1)
    return softmax_of_best((first_nq[:, :, None] + second_nq[:, None, :]).reshape(len(halves_nq), -1), k)
