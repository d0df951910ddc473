"""Whether a choice of experts is so close that another number format may make it otherwise.

A score is rounded to its format: by half a step at most, up or down. Two scores that are less than a step apart can
change places. A step is a power of two that grows with the size of the score it belongs to.
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.routing import RouterRule, RoutingRecord

FORMATS = {"bfloat16": 7, "float16": 10}
"""Bits after the point of each format; a float32 has 23, more than a record holds."""

BELOW_ONE = 0.999
"""A score of a sigmoid: never 1, unless a bias is added."""


def step_at(size: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """The step of a number format at scores of a size; NaN where the size is not known.

    >>> step_at(np.array([1.0, 1.9, 8.0]), "bfloat16").tolist()
    [0.0078125, 0.0078125, 0.0625]
    >>> step_at(np.array([1.0]), "float16").tolist() == [2.0**-10]
    True
    """
    exponent = np.floor(np.log2(np.maximum(np.asarray(size, np.float64), 2.0**-14)))
    step: NDArray[np.float64] = np.exp2(exponent - FORMATS[name])
    return step


def score_sizes(record: RoutingRecord, rows_t: NDArray[np.integer]) -> NDArray[np.float64]:
    """How large the scores at the edge of the choice are, at most: (rows, layers).

    Read off the raw scores where they were recorded. Else, for a softmax, from the log-sum-exp and the last weight:
    the chosen experts have at least k/E of the gate together and at most all of it, and the larger size of the two is
    taken. Scores of a sigmoid are below 1, but for the bias added to them.
    Undefined   NaN where neither is known.
    """
    found_rl = np.full((len(rows_t), len(record.layers)), np.nan)
    for rule in record.layers:
        found_rl[:, rule.layer] = _sizes(record, rows_t, rule)
    return found_rl


def _sizes(record: RoutingRecord, rows_t: NDArray[np.integer], rule: RouterRule) -> NDArray[np.float64]:
    if rule.score == "sigmoid":
        return np.full(len(rows_t), 1.0 if rule.has_selection_bias else BELOW_ONE)
    size_r: NDArray[np.float64]
    if record.logit_tle is not None:
        logit_re = record.logit_tle[rows_t, rule.layer, : rule.experts].astype(np.float64)
        edge_rk = -np.sort(-logit_re, axis=1)[:, rule.k - 1 : rule.k + 1]
        size_r = np.abs(edge_rk).max(axis=1)
        return size_r
    if record.lse_tl is None or record.weight_tlk is None or rule.score != "softmax":
        return np.full(len(rows_t), np.nan)
    weight_rk = record.weight_tlk[rows_t, rule.layer, : rule.k].astype(np.float64)
    total_r, last_r = weight_rk.sum(axis=1), weight_rk[:, -1]
    share_r = np.divide(last_r, total_r, out=np.full(len(rows_t), np.nan), where=(total_r > 0) & (last_r > 0))
    most_r = record.lse_tl[rows_t, rule.layer].astype(np.float64) + np.log(share_r)
    size_r = np.maximum(np.abs(most_r), np.abs(most_r + np.log(rule.k / rule.experts)))
    return size_r


def steps(record: RoutingRecord, rows_t: NDArray[np.integer], name: str) -> NDArray[np.float64]:
    """The step of a number format at the edge of the choice of some tokens, (rows, layers): the margin that may flip.

    Where the size of the scores is not known, that of a score of 1.
    """
    size_rl = score_sizes(record, rows_t)
    return step_at(np.where(np.isfinite(size_rl), size_rl, 1.0), name)
