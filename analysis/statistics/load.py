"""How evenly the work falls on a layer's experts: counts, shares, and how uneven chance alone would make them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.statistics.whole_numbers import kind_for
from gatescope.routing import RouterRule, RoutingRecord
from gatescope.routing.errors import OptionError


class Share(NamedTuple):
    """Shares of a layer's experts, and the value each would have under a perfectly even router.

    share_le    NaN where the layer has no such expert, and in every expert of a layer without assignments
    uniform_l   the value to draw a line at
    """

    share_le: NDArray[np.float64]
    uniform_l: NDArray[np.float64]


def expert_counts(
    record: RoutingRecord, *, rows_t: slice | NDArray[np.integer | np.bool_] | None = None
) -> np.ma.MaskedArray:
    """Assignments to each expert of each layer: how many slots of the record, or of some of its tokens, it fills.

    Shapes      (layers, experts) int64, masked beyond a layer's own number of experts (0 underneath). `rows_t` chooses
                tokens: a slice, their numbers, or one boolean per token.
    Units       Assignments (slots). An empty slot is nobody's.
    Undefined   Nothing: an expert that was never chosen has 0.
    Not this    Tokens: a layer's counts add up to k per token. Nor gate mass: every slot counts 1 whatever its weight.
    Source      Sufficient statistic of every load metric.

    >>> from gatescope.routing import *
    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=3, k=2, score="softmax")
    >>> ids_tlk = np.array([[[0, 2]], [[2, 255]]], np.uint8)
    >>> record = RoutingRecord(ids_tlk=ids_tlk, weight_tlk=None, token_t=np.zeros(2, np.int32),
    ...     document_t=np.zeros(2, np.int32), position_t=np.arange(2, dtype=np.int32), flag_t=np.zeros(2, np.uint8),
    ...     documents=(Document("a"),), layers=(rule,),
    ...     provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"))
    >>> expert_counts(record).tolist()
    [[1, 0, 2]]
    """
    ids_tlk = record.ids_tlk if rows_t is None else record.ids_tlk[rows_t]
    whose_t = np.zeros(len(ids_tlk), np.int32)
    return _present(count_by(ids_tlk, whose_t, 1, record.experts)[0], record.layers)


def counts_by_document(record: RoutingRecord) -> np.ma.MaskedArray:
    """Assignments to each expert, document by document: what every interval and permutation is computed from.

    Shapes      (documents, layers, experts) int64, masked like `expert_counts`; a document without tokens has zeros.
    Units       Assignments (slots).
    Not this    Shares: documents differ in length, and so do their rows.
    Source      Sufficient statistic of the document bootstrap.
    """
    counts_dle = count_by(record.ids_tlk, record.document_t, len(record.documents), record.experts)
    return _present(counts_dle, record.layers)


def assignment_share(counts_le: NDArray[np.number]) -> Share:
    """Share of a layer's assignments that each expert gets: rows sum to 1, a perfectly even router gives 1/E.

    Shapes      (layers, experts) counts to (layers, experts) shares and (layers,) uniform values.
    Units       1, from 0 to 1/k.
    Undefined   NaN where the layer has no such expert (masked counts) or no assignments.
    Not this    The share of tokens that use the expert, which is k times as large: `token_share`.
    Source      Expert load normalised over slots, as drawn in Mixtral of Experts, figure 7.

    >>> assignment_share(np.array([[1, 3, 0, 4]]))
    Share(share_le=array([[0.125, 0.375, 0.   , 0.5  ]]), uniform_l=array([0.25]))
    """
    counts_le = np.ma.masked_array(counts_le)
    total_l = counts_le.sum(axis=1).filled(0) if np.ma.is_masked(counts_le) else counts_le.data.sum(axis=1)
    return Share(ratio(counts_le, total_l[:, None]), 1.0 / np.ma.count(counts_le, axis=1))


def token_share(counts_le: NDArray[np.number], layers: Sequence[RouterRule], *, tokens: int) -> Share:
    """Share of the tokens that use each expert: rows sum to k, a perfectly even router gives k/E.

    Shapes      (layers, experts) counts of `tokens` tokens to (layers, experts) shares and (layers,) uniform values.
    Units       1, from 0 to 1. Rows sum to less than k where slots stayed empty.
    Undefined   NaN where the layer has no such expert (masked counts), and everywhere when there are no tokens.
    Not this    The share of assignments, which sums to 1: `assignment_share`.
    Source      OLMoE, equation 7 (there in percent).

    Of 4 tokens with 2 experts each, 1 uses the first expert and all 4 use the last.

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=4, k=2, score="softmax")
    >>> token_share(np.array([[1, 3, 0, 4]]), [rule], tokens=4)
    Share(share_le=array([[0.25, 0.75, 0.  , 1.  ]]), uniform_l=array([0.5]))
    """
    share_le = ratio(np.ma.masked_array(counts_le), np.full((len(layers), 1), tokens))
    return Share(share_le, np.array([rule.k / rule.experts for rule in layers]))


def max_violation(counts_le: NDArray[np.number]) -> NDArray[np.float64]:
    """How far the busiest expert lies above the mean load, as a multiple of it (MaxVio).

    Shapes      (layers, experts) counts to (layers,).
    Units       1. 0: all experts alike; 1: the busiest does twice the mean; at most E/k - 1.
    Undefined   NaN in a layer without assignments.
    Not this    The violation inside a batch: over a corpus it can be near 0 while every batch is lopsided.
                Compare with `max_violation_floor`: chance alone is above 0.
    Source      Wang et al. 2024 (arXiv 2408.15664), equation 4.

    >>> max_violation(np.array([[2, 2, 2, 6], [3, 3, 3, 3]])).tolist()
    [1.0, 0.0]
    """
    counts_le = np.ma.masked_array(counts_le, dtype=np.float64)
    mean_l = _mean(counts_le)
    return ratio(np.ma.filled(counts_le.max(axis=1), 0.0) - mean_l, mean_l)


def load_cv(counts_le: NDArray[np.number]) -> NDArray[np.float64]:
    """Spread of the load over a layer's experts: standard deviation over mean (coefficient of variation).

    Shapes      (layers, experts) counts to (layers,).
    Units       1. 0: all experts alike; sqrt(E - 1): everything on one expert.
    Undefined   NaN in a layer without assignments.
    Not this    CV squared, the importance loss of Shazeer et al. 2017. Compare with `load_cv_floor`.
    Source      Shazeer et al. 2017 (arXiv 1701.06538).

    >>> load_cv(np.array([[1, 3], [0, 4]])).tolist()
    [0.5, 1.0]
    """
    counts_le = np.ma.masked_array(counts_le, dtype=np.float64)
    return ratio(np.ma.filled(counts_le.std(axis=1), 0.0), _mean(counts_le))


def load_cv_floor(layers: Sequence[RouterRule], *, tokens: int) -> NDArray[np.float64]:
    """The load CV that a perfectly even router shows over so many independent tokens, by chance alone.

    Shapes      (layers,).
    Units       1, falling as 1 over the root of the number of tokens.
    Undefined   NaN for no tokens.
    Not this    The floor of real text, whose tokens are not independent: divide `tokens` by the design effect first.
    Source      Root mean square under uniform k-subsets, exact: sqrt((1 - p) / (p N)) with p = k/E.

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=64, k=8, score="softmax")
    >>> load_cv_floor([rule], tokens=1000).round(4).tolist()
    [0.0837]
    """
    if tokens < 0:
        raise OptionError(f"{tokens} tokens", expected="0 or more", do="pass the number of tokens that were counted")
    odds_l = np.array([rule.experts / rule.k - 1.0 for rule in layers])
    return np.sqrt(odds_l / tokens) if tokens else np.full(len(layers), np.nan)


def max_violation_floor(layers: Sequence[RouterRule], *, tokens: int) -> NDArray[np.float64]:
    """The MaxVio that a perfectly even router shows over so many independent tokens, by chance alone.

    Shapes      (layers,).
    Units       1, falling as 1 over the root of the number of tokens.
    Undefined   NaN for no tokens. An approximation where an expert expects fewer than about 30 tokens.
    Not this    The floor of real text, whose tokens are not independent: divide `tokens` by the design effect first.
    Source      Expected largest of E equicorrelated normals with `load_cv_floor` as deviation; Blom 1958 for the
                largest order statistic. (The often quoted sqrt(2 ln E) is its limit, 20 % too high at E = 64.)

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=64, k=8, score="softmax")
    >>> max_violation_floor([rule], tokens=1000).round(2).tolist()
    [0.2]
    """
    experts_l = np.array([rule.experts for rule in layers], dtype=np.float64)
    largest_l = ndtri((experts_l - 0.375) / (experts_l + 0.25)) * np.sqrt(experts_l / np.maximum(experts_l - 1, 1))
    floor_l: NDArray[np.float64] = load_cv_floor(layers, tokens=tokens) * largest_l
    return floor_l


def count_by(
    ids_tlk: NDArray[np.unsignedinteger], whose_t: NDArray[np.integer], groups: int, experts: int
) -> NDArray[np.int64]:
    """Assignments per group of tokens, layer and expert; `whose_t` gives each token's group."""
    counts_gle = np.zeros((groups, ids_tlk.shape[1], experts), dtype=np.int64)
    _count(np.ascontiguousarray(ids_tlk), np.ascontiguousarray(whose_t), counts_gle)
    return counts_gle


def narrow_count_by(
    ids_tlk: NDArray[np.unsignedinteger], whose_t: NDArray[np.integer], groups: int, experts: int
) -> NDArray[np.unsignedinteger]:
    """The same in as few bytes as hold the number of tokens: for large tables that are kept, not computed with."""
    counts_gle = np.zeros((groups, ids_tlk.shape[1], experts), kind_for(len(ids_tlk)))
    _count(np.ascontiguousarray(ids_tlk), np.ascontiguousarray(whose_t), counts_gle)
    return counts_gle


@jit
def _count(
    ids_tlk: NDArray[np.unsignedinteger], whose_t: NDArray[np.integer], counts_gle: NDArray[np.integer]
) -> None:  # pragma: no cover
    """One pass; an id that is no expert (the empty slot) is passed over."""
    tokens, layers, slots = ids_tlk.shape
    experts = counts_gle.shape[2]
    for token in range(tokens):
        counts_le = counts_gle[whose_t[token]]
        for layer in range(layers):
            for slot in range(slots):
                expert = ids_tlk[token, layer, slot]
                if expert < experts:
                    counts_le[layer, expert] += 1


def _present(counts: NDArray[np.int64], layers: Sequence[RouterRule]) -> np.ma.MaskedArray:
    """Counts with the experts that a layer does not have masked."""
    beyond_le = np.arange(counts.shape[-1]) >= np.array([rule.experts for rule in layers])[:, None]
    mask = np.broadcast_to(beyond_le, counts.shape) if beyond_le.any() else np.ma.nomask
    return np.ma.MaskedArray(counts, mask=mask)


def _mean(counts_le: np.ma.MaskedArray) -> NDArray[np.float64]:
    return np.ma.filled(counts_le.mean(axis=1), 0.0)
