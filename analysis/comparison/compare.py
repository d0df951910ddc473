"""Two captures side by side: what may be compared at all, and what differs beyond noise.

Which numbers mean the same in both decides everything. The same model with another text: expert by expert, at tokens
that both texts have. The same tokens through layers of the same shape: token by token. Two models: nothing that
depends on what experts are called.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.load import count_by
from gatescope.analysis.statistics.permutation import q_values
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.prefixes import without_repeats
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError

Kind = Literal["text", "weights", "models"]
_TIE = 1e-9
FEWEST = 10
"""Tokens that a rate is of at least."""


class Relation(NamedTuple):
    """How two captures relate.

    kind            "text": the same model, other tokens; "weights": the same tokens through layers of one shape;
                    "models": anything else
    is_same_model   whether both are of the same weights, as their fingerprint says
    is_same_shape   whether both have the same layers with the same numbers of experts
    pairs           numbers of documents that hold the same tokens, in the first and in the second
    """

    kind: Kind
    is_same_model: bool
    is_same_shape: bool
    pairs: tuple[tuple[int, int], ...]


def relation(first: RoutingRecord, second: RoutingRecord) -> Relation:
    """How two captures relate: by fingerprints, layers and tokens, never by names."""
    made, other = first.provenance, second.provenance
    is_same_model = bool(made.fingerprint) and made.fingerprint == other.fingerprint
    shapes = [[(rule.experts, rule.k, rule.stack) for rule in each.layers] for each in (first, second)]
    is_same_shape = shapes[0] == shapes[1]
    pairs = same_documents(first, second)
    kind: Kind = "models"
    if is_same_shape and pairs:
        kind = "weights"
    elif is_same_shape and is_same_model:
        kind = "text"
    return Relation(kind, is_same_model, is_same_shape, pairs)


def same_documents(first: RoutingRecord, second: RoutingRecord) -> tuple[tuple[int, int], ...]:
    """Documents that hold the same tokens, in the order of the first; each is paired once."""
    waiting: dict[bytes, list[int]] = {}
    for number, tokens in enumerate(_texts(second)):
        waiting.setdefault(tokens, []).append(number)
    return tuple((number, waiting[tokens].pop(0)) for number, tokens in enumerate(_texts(first)) if waiting.get(tokens))


def paired(
    first: RoutingRecord, second: RoutingRecord, pairs: tuple[tuple[int, int], ...]
) -> tuple[RoutingRecord, RoutingRecord]:
    """Both captures of the documents they share, token under token."""
    return _of(first, [one for one, _ in pairs]), _of(second, [other for _, other in pairs])


def _of(record: RoutingRecord, numbers: list[int]) -> RoutingRecord:
    return record if numbers == list(range(len(record.documents))) else record.of_documents(numbers)


def _texts(record: RoutingRecord) -> list[bytes]:
    """The tokens of each document as bytes."""
    start_d = np.searchsorted(record.document_t, np.arange(len(record.documents) + 1))
    return [record.token_t[a:b].tobytes() for a, b in pairwise(start_d)]


def overlap(first: RoutingRecord, second: RoutingRecord) -> NDArray[np.float32]:
    """Which share of a token's experts two captures have in common, token by token: the larger set counts as whole.

    Shapes      Records of as many tokens and layers to (tokens, layers).
    Undefined   NaN where neither has an expert.
    Not this    Agreement of weights: the order of experts does not matter.

    >>> from gatescope.routing import *
    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=8, k=2, score="softmax")
    >>> def record(*routes):
    ...     return RoutingRecord(ids_tlk=np.array(routes, np.uint8)[:, None], weight_tlk=None,
    ...         token_t=np.array([5, 6], np.int32), document_t=np.zeros(2, np.int32),
    ...         position_t=np.arange(2, dtype=np.int32), flag_t=np.zeros(2, np.uint8), documents=(Document("a"),),
    ...         layers=(rule,), provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"))
    >>> overlap(record([0, 1], [2, 3]), record([7, 1], [3, 2])).ravel().tolist()
    [0.5, 1.0]
    """
    return overlap_of_rows(first, second, np.arange(first.tokens), np.arange(second.tokens))


def overlap_of_rows(
    first: RoutingRecord, second: RoutingRecord, first_n: NDArray[np.intp], second_n: NDArray[np.intp]
) -> NDArray[np.float32]:
    """`overlap` of pairs of tokens, in any order and as often as they come: (pairs, layers)."""
    one_tlk, two_tlk = first.ids_tlk[first_n], second.ids_tlk[second_n]
    filled_tlk, other_tlk = one_tlk != first.empty, two_tlk != second.empty
    common_tl = np.zeros(one_tlk.shape[:2], np.int32)
    for slot in range(two_tlk.shape[2]):
        same_tlk = (one_tlk == two_tlk[:, :, slot, None]) & filled_tlk & other_tlk[:, :, slot, None]
        common_tl += same_tlk.any(axis=2)
    most_tl = np.maximum(filled_tlk.sum(axis=2), other_tlk.sum(axis=2))
    return ratio(common_tl, most_tl).astype(np.float32)


class Flips(NamedTuple):
    """How often a token's set of experts changed, in bins of one of two captures' margins.

    rate_b, low_b, high_b   share of the bin's tokens whose set changed, and its 95 % interval over documents
    margin_b                middle margin of the bin
    tokens_b                tokens (of all layers) in it
    overall                 the rate of all: what every bin would have if margins said nothing
    """

    rate_b: NDArray[np.float64]
    low_b: NDArray[np.float64]
    high_b: NDArray[np.float64]
    margin_b: NDArray[np.float64]
    tokens_b: NDArray[np.int64]
    overall: float


def flips_by_margin(
    first: RoutingRecord, second: RoutingRecord, *, bins: int = 10, resamples: int = 1000, seed: int = 0
) -> Flips:
    """Do near ties flip first? Tokens in bins of their margin's rank within the layer, from the closest to the firmest.

    Shapes      Records of the same tokens and layers; margins of the first, or, where it has none, of the second.
    Undefined   NaN in a bin without tokens. Tokens whose whole past an earlier document had too are left out, as in
                `load_shift`. Errors: OptionError where neither has margins.
    Not this    A cause: tokens whose router is undecided differ in more than their margin.
    """
    first, second = without_repeats(first, second)
    margin_tl = first.margin_tl if first.margin_tl is not None else second.margin_tl
    if margin_tl is None:
        raise OptionError(
            "captures without margins", expected="margins in one of them", do="capture one again, with its margins"
        )
    share_tl = overlap(first, second)
    known_tl = np.isfinite(margin_tl) & np.isfinite(share_tl)
    bin_tl = _rank_bins(margin_tl.astype(np.float64), known_tl, bins)
    table_dbn = _by_document(first, bin_tl, share_tl < 1 - _TIE, bins)
    found = bootstrap(
        (table_dbn[..., 1], table_dbn[..., 0]),
        lambda flipped, every: ratio(flipped, every),
        resamples=resamples,
        seed=seed,
        bounds=(0.0, 1.0),
    )
    margin_b = np.array([_middle(margin_tl[bin_tl == at]) for at in range(bins)])
    every_b, flipped_b = table_dbn.sum(axis=0).T
    overall = float(flipped_b.sum() / every_b.sum()) if every_b.sum() else float("nan")
    return Flips(found.value, found.low, found.high, margin_b, every_b, overall)


def _middle(margin_x: NDArray[np.floating]) -> float:
    return float(np.median(margin_x)) if len(margin_x) else float("nan")


def _rank_bins(margin_tl: NDArray[np.float64], known_tl: NDArray[np.bool_], bins: int) -> NDArray[np.intp]:
    """The bin of each token's margin among its layer's, -1 where there is none; equal margins share a bin."""
    bin_tl = np.full(margin_tl.shape, -1, np.intp)
    for layer in range(margin_tl.shape[1]):
        rows = np.flatnonzero(known_tl[:, layer])
        own = margin_tl[rows, layer]
        rank = np.searchsorted(np.sort(own), own, side="left")
        bin_tl[rows, layer] = np.minimum(rank * bins // max(len(rows), 1), bins - 1)
    return bin_tl


def _by_document(
    record: RoutingRecord, bin_tl: NDArray[np.intp], flipped_tl: NDArray[np.bool_], bins: int
) -> NDArray[np.int64]:
    """Tokens and flips of each document and bin: (documents, bins, 2)."""
    place_tl = record.document_t[:, None].astype(np.intp) * bins + bin_tl
    size, known_tl = len(record.documents) * bins, bin_tl >= 0
    every = np.bincount(place_tl[known_tl], minlength=size)
    flipped = np.bincount(place_tl[known_tl & flipped_tl], minlength=size)
    return np.stack([every, flipped], axis=-1).reshape(len(record.documents), bins, 2).astype(np.int64)


class Cascade(NamedTuple):
    """Flips by depth, each by layer: what a flip in the layer before does.

    rate_l                          share of tokens whose set changed
    after_l, after_low_l, …high_l   the same of tokens that had changed in the layer before; NaN in the first layer
    else_l                          the same of tokens that had not
    first_l                         share of tokens that change here for the first time
    """

    rate_l: NDArray[np.float64]
    after_l: NDArray[np.float64]
    after_low_l: NDArray[np.float64]
    after_high_l: NDArray[np.float64]
    else_l: NDArray[np.float64]
    first_l: NDArray[np.float64]


def cascade(first: RoutingRecord, second: RoutingRecord, *, resamples: int = 1000, seed: int = 0) -> Cascade:
    """Where do changes begin, and does one layer's change bring about the next one's?

    Shapes      Records of the same tokens and layers, to one number for each layer.
    Undefined   NaN where fewer than FEWEST tokens are in question; intervals over documents, for fewer than two. Tokens
                whose whole past an earlier document had too are left out, as in `load_shift`.
    Not this    A cause: what makes a token change in two layers may be the token.
    """
    first, second = without_repeats(first, second)
    share_tl = overlap(first, second)
    known_tl, flipped_tl = np.isfinite(share_tl), share_tl < 1 - _TIE
    before_tl = np.zeros_like(flipped_tl)
    before_tl[:, 1:] = flipped_tl[:, :-1]
    counted_tl = known_tl.copy()
    counted_tl[:, 0] = False
    parts = (counted_tl & before_tl, counted_tl & before_tl & flipped_tl)
    tables = tuple(_per_document(first, part_tl) for part_tl in parts)
    found = bootstrap(
        (tables[1], tables[0]), lambda flipped, every: ratio(flipped, every), resamples=resamples, seed=seed
    )
    calm_tl = counted_tl & ~before_tl
    calm_l, is_told_l = calm_tl.sum(axis=0), tables[0].sum(axis=0) >= FEWEST
    earlier_tl = np.cumsum(flipped_tl, axis=1) - flipped_tl > 0
    return Cascade(
        rate_l=ratio((flipped_tl & known_tl).sum(axis=0), known_tl.sum(axis=0)),
        after_l=np.where(is_told_l, found.value, np.nan),
        after_low_l=np.where(is_told_l, found.low, np.nan),
        after_high_l=np.where(is_told_l, found.high, np.nan),
        else_l=ratio(
            np.where(calm_l >= FEWEST, (calm_tl & flipped_tl).sum(axis=0), 0), np.where(calm_l >= FEWEST, calm_l, 0)
        ),
        first_l=ratio((flipped_tl & ~earlier_tl).sum(axis=0), known_tl.sum(axis=0)),
    )


def _per_document(record: RoutingRecord, part_tl: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many tokens of each document are in question: (documents, layers)."""
    count_dl = np.zeros((len(record.documents), part_tl.shape[1]), np.int64)
    np.add.at(count_dl, record.document_t, part_tl.astype(np.int64))
    return count_dl


class Shift(NamedTuple):
    """What share of tokens use each expert in the first, less the same in the second, by layer.

    value_le, low_le, high_le   and the 95 % interval over documents
    p_le, q_le                  against captures swapped within documents at random; q over the experts of a layer
    """

    value_le: NDArray[np.float64]
    low_le: NDArray[np.float64]
    high_le: NDArray[np.float64]
    p_le: NDArray[np.float64]
    q_le: NDArray[np.float64]


def load_shift(first: RoutingRecord, second: RoutingRecord, *, resamples: int = 1000, seed: int = 0) -> Shift:
    """Which experts have more work in the first capture than in the second, of the same tokens?

    Shapes      Records of the same tokens and layers, to (layers, experts).
    Undefined   NaN beyond a layer's experts; p, q and interval for fewer than two documents. Tokens whose whole past an
                earlier document had too are left out: they are no further observation (`analysis.prefixes`).
    Not this    A count of tokens that moved: as many may come as go.
    Source      Sign flips of paired documents, Fisher 1935; p as Phipson and Smyth 2010; q, Benjamini and Hochberg.
    """
    first, second = without_repeats(first, second)
    one_dle, two_dle = _counts(first), _counts(second)
    tokens_d = np.bincount(first.document_t, minlength=len(first.documents)).astype(np.int64)
    moved_dle = one_dle - two_dle
    found = bootstrap(
        (moved_dle, tokens_d),
        lambda moved, tokens: ratio(moved, tokens[:, None, None]),
        resamples=resamples,
        seed=seed,
    )
    absent_le = np.arange(first.experts) >= np.array([rule.experts for rule in first.layers])[:, None]
    value_le = np.where(absent_le, np.nan, moved_dle.sum(axis=0) / max(int(tokens_d.sum()), 1))
    if len(first.documents) < 2:
        nan_le = np.full(value_le.shape, np.nan)
        return Shift(value_le, nan_le, nan_le, nan_le, nan_le)
    p_le = np.where(absent_le, np.nan, _sign_flipped(moved_dle, resamples, seed))
    low_le, high_le = (np.where(absent_le, np.nan, end) for end in (found.low, found.high))
    return Shift(value_le, low_le, high_le, p_le, np.array([q_values(p_e) for p_e in p_le]))


def _counts(record: RoutingRecord) -> NDArray[np.int64]:
    return count_by(record.ids_tlk, record.document_t, len(record.documents), record.experts)


def _sign_flipped(moved_dle: NDArray[np.int64], flips: int, seed: int) -> NDArray[np.float64]:
    """Share of random swaps within documents that move as much work, the true one included."""
    generator = np.random.default_rng([seed, 1])
    sign_bd = generator.choice([-1.0, 1.0], size=(flips, len(moved_dle)))
    moved_dx = moved_dle.reshape(len(moved_dle), -1).astype(np.float64)
    as_far_x = (np.abs(sign_bd @ moved_dx) >= np.abs(moved_dx.sum(axis=0)) - _TIE).sum(axis=0)
    share_x: NDArray[np.float64] = (1 + as_far_x) / (1 + flips)
    return share_x.reshape(moved_dle.shape[1:])


STEPS = {"float32": 2.0**-18, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""A step of each number format for scores of size 1, with room for a few roundings in float32."""


def near_tie_step(first: RoutingRecord, second: RoutingRecord) -> float:
    """The step of the coarser of two captures' number formats; that of bfloat16 for formats without a name here.

    >>> STEPS["bfloat16"] > STEPS["float32"]
    True
    """
    return max(STEPS.get(each.provenance.dtype, STEPS["bfloat16"]) for each in (first, second))


def near_ties(first: RoutingRecord, second: RoutingRecord) -> NDArray[np.bool_] | None:
    """Where a margin of either is below `near_tie_step`, so that rounding alone may flip it; None without margins.

    Shapes      Records of as many tokens and layers to (tokens, layers).
    Not this    All that rounding flips, nor a bound of it: noise that comes with the hidden state grows with depth and
                is larger than a step.
    """
    margins = [each.margin_tl for each in (first, second) if each.margin_tl is not None]
    if not margins:
        return None
    step = near_tie_step(first, second)
    near_tl: NDArray[np.bool_] = np.logical_or.reduce([np.abs(each.astype(np.float64)) < step for each in margins])
    return near_tl
