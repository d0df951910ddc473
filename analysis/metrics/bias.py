"""What else the router could have chosen: near ties, choices that only its selection bias made, its raw scores.

Records hold raw scores as half floats. Rounding keeps their order, so that an expert which is strictly behind was
behind; two that became equal count as neither.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.confidence import (
    BY,
    QUANTITIES,
    counted,
    declare,
    gate_shares,
)
from gatescope.analysis.metrics.load_balance import interval, with_sample_size
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.shares import entropy_bits, ratio, shares
from gatescope.analysis.tally.quantities import ROWS, Quantity, Rows, Take
from gatescope.analysis.tally.tally import FIXED, Reading, Tally, TokenRole, statistic
from gatescope.analysis.tally.token_values import BINS, bin_of
from gatescope.routing import RouterRule, RoutingRecord

CLOSE = {
    "a tie, to 2⁻¹⁸": 2.0**-18,
    "a float16 step at 1": 2.0**-10,
    "a bfloat16 step at 1": 2.0**-7,
    "a bfloat16 step at 8": 2.0**-4,
}
MARGIN = next(quantity for quantity in QUANTITIES if quantity.name == "selection_margin")


def _scores(of: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Take:
    """From the raw scores of a layer's experts."""

    def take(some: Rows) -> NDArray[np.float64] | None:
        logit_tle = some.record.logit_tle
        if logit_tle is None:
            return None
        logit_te = logit_tle[some.rows, some.rule.layer, : some.rule.experts].astype(np.float64)
        return of(np.where(np.isfinite(logit_te), logit_te, np.nan))

    return take


def _centred(logit_te: NDArray[np.float64]) -> NDArray[np.float64]:
    lse_t: NDArray[np.float64] = np.logaddexp.reduce(logit_te - logit_te.mean(axis=1, keepdims=True), axis=1)
    return lse_t


SCORES = (
    Quantity(
        "centred_log_sum_exp",
        "Log-sum-exp of the centred scores",
        "nats",
        "How far the best raw scores stand out, whatever constant is added to all: ln E when all are alike.",
        _scores(_centred),
        "scores",
        even=lambda rule: float(np.log(rule.experts)),
        uniform="ln E",
        source="Zoph et al. 2022 (ST-MoE), of scores less their mean",
    ),
    Quantity(
        "score_spread",
        "Spread of the raw scores",
        "units of the raw score",
        "Standard deviation of a token's raw scores over experts.",
        _scores(lambda logit_te: logit_te.std(axis=1)),
        "scores",
        even=lambda _rule: 0.0,
        uniform="0",
        source="Deviation over experts, blind to a constant added to all",
    ),
    Quantity(
        "score_peak",
        "Largest raw score",
        "units of the raw score",
        "Largest absolute raw score of a token: where it grows, half floats lose the differences.",
        _scores(lambda logit_te: np.abs(logit_te).max(axis=1)),
        "scores",
        source="Zoph et al. 2022 (ST-MoE)",
    ),
)
for _quantity in SCORES:
    declare(_quantity)


@metric(
    title="Near ties",
    unit="1 (share of tokens)",
    axes="glc",
    range=(0, 1),
    uniform="",
    needs=("selection_margin_bins", "assignments", "tokens"),
    source="Share of margins below a step of the number format, for scores of size 1 or 8",
    by=BY,
)
def near_ties(tally: Tally, ask: MetricOptions) -> Result:
    """How often the last chosen expert is ahead by less than a step of the number format: what may flip elsewhere.

    Shapes      (groups, layers, classes): margins below 2⁻¹⁸, 2⁻¹⁰, 2⁻⁷ and 2⁻⁴.
    Not this    Flips that were seen. A step grows with the score it belongs to: compare the class with the size of the
                scores.
    """
    names, bins_glb = counted(tally, ask, MARGIN)
    below_glc = np.stack(
        [bins_glb[..., : bin_of(np.array(step)) - BINS // 2].sum(axis=-1) for step in CLOSE.values()], -1
    )
    value_glc = ratio(below_glc, bins_glb.sum(axis=-1, keepdims=True))
    found = Result(value=value_glc, groups=names, labels={"c": tuple(CLOSE)})
    return with_sample_size(found, tally, replace(ask, resamples=0))


@statistic(per="unit", axes="ufln", needs="all router scores (logits)")
def score_choices(reading: Reading) -> NDArray[np.int64] | None:
    """Slots, those whose expert the raw scores alone would have left out, and the gate they could and did choose."""
    record = reading.record
    if record.logit_tle is None:
        return None
    sums_xln = np.zeros((len(record.documents) * len(TokenRole), len(record.layers), 4), np.int64)
    place_t = record.document_t.astype(np.int64) * len(TokenRole) + reading.facet_t
    for rule, rows, share_te in _gates(record):
        score_te, allowed_te = _unbiased(record.logit_tle[rows, rule.layer], rule, share_te)
        ids_tk = record.ids_tlk[rows, rule.layer]
        is_there_tk = (ids_tk < rule.experts) & np.isfinite(share_te).all(axis=1, keepdims=True)
        at_tk = np.where(is_there_tk, ids_tk, 0).astype(np.intp)
        best_tk = -np.sort(-np.where(allowed_te, score_te, -np.inf), axis=1)[:, : rule.k]
        allowed_tk = np.take_along_axis(allowed_te, at_tk, axis=1)
        behind_tk = np.take_along_axis(score_te, at_tk, axis=1) < best_tk[:, -1:]
        flips_tk = is_there_tk & (behind_tk | ~allowed_tk)
        whole_t: NDArray[np.bool_] = np.all(is_there_tk[:, : rule.k], axis=1)
        had_t = np.where(is_there_tk, np.take_along_axis(share_te, at_tk, axis=1), 0.0).sum(axis=1)
        could_t = _best_share(share_te, np.where(allowed_te, score_te, -np.inf), rule.k)
        parts = (is_there_tk.sum(axis=1), flips_tk.sum(axis=1), _fixed(could_t, whole_t), _fixed(had_t, whole_t))
        for column, part_t in enumerate(parts):
            np.add.at(sums_xln[:, rule.layer, column], place_t[rows], part_t)
    return sums_xln.reshape(len(record.documents), len(TokenRole), *sums_xln.shape[1:])


@statistic(per="unit", axes="ufln", needs="all router scores (logits)")
def gate_sums(reading: Reading) -> NDArray[np.int64] | None:
    """The gate's shares of every expert added up, then its entropies in bits and its tokens, by document and facet."""
    record = reading.record
    if record.logit_tle is None:
        return None
    sums_xln = np.zeros((len(record.documents) * len(TokenRole), len(record.layers), record.experts + 2), np.int64)
    place_t = record.document_t.astype(np.int64) * len(TokenRole) + reading.facet_t
    for rule, rows, share_te in _gates(record):
        is_routed_t = np.any(record.ids_tlk[rows, rule.layer] != record.empty, axis=1)
        known_t: NDArray[np.bool_] = np.isfinite(share_te).all(axis=1) & is_routed_t
        whole_te = _fixed(share_te, known_t[:, None])
        np.add.at(sums_xln[:, rule.layer, : rule.experts], place_t[rows], whole_te)
        np.add.at(sums_xln[:, rule.layer, -2], place_t[rows], _fixed(entropy_bits(share_te), known_t))
        np.add.at(sums_xln[:, rule.layer, -1], place_t[rows], known_t)
    return sums_xln.reshape(len(record.documents), len(TokenRole), *sums_xln.shape[1:])


def _gates(record: RoutingRecord) -> Iterator[tuple[RouterRule, slice, NDArray[np.float64]]]:
    """The gate over all experts of some tokens of a layer at a time."""
    if record.logit_tle is None:
        return
    for rule in record.layers:
        for start in range(0, record.tokens, ROWS):
            rows = slice(start, min(start + ROWS, record.tokens))
            yield rule, rows, gate_shares(record.logit_tle[rows, rule.layer], rule)


def _fixed(value: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.rint(np.where(known, value, 0.0) * FIXED).astype(np.int64)


def _unbiased(
    logit_te: NDArray[np.float16], rule: RouterRule, share_te: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Raw scores, and which experts the best groups hold: by the sum of their best two gates where there is a bias."""
    score_te = logit_te[:, : rule.experts].astype(np.float64)
    if rule.groups == 1 or rule.experts % rule.groups:
        return score_te, np.ones(score_te.shape, bool)
    grouped_tgm = np.sort(share_te.reshape(len(share_te), rule.groups, -1), axis=2)
    worth_tg = grouped_tgm[..., -2:].sum(axis=2) if rule.has_selection_bias else grouped_tgm[..., -1]
    least_t1 = -np.sort(-worth_tg, axis=1)[:, rule.groups_kept - 1 : rule.groups_kept]
    return score_te, np.repeat(worth_tg >= least_t1, rule.experts // rule.groups, axis=1)


def _best_share(share_te: NDArray[np.float64], score_te: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The gate's share of the k best scores, whatever the order of equals: equal scores have equal shares."""
    order_tk = np.argsort(-score_te, axis=1, kind="stable")[:, :k]
    share_t: NDArray[np.float64] = np.take_along_axis(share_te, order_tk, axis=1).sum(axis=1)
    return share_t


def _flips(sums_ln: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(sums_ln[..., 1], sums_ln[..., 0])


def _lost(sums_ln: NDArray[np.number]) -> NDArray[np.float64]:
    return np.maximum(ratio(sums_ln[..., 2] - sums_ln[..., 3], sums_ln[..., 2]), 0.0)


def _layered(
    tally: Tally,
    ask: MetricOptions,
    name: str,
    of: Callable[[NDArray[np.number]], NDArray[np.float64]],
    most: float = np.inf,
) -> Result:
    table_uln = tally.summed(name, ask.facets)
    low, high = interval(tally, ask, table_uln, of, bounds=(0.0, most), corrected=of is _soft)
    value_l = of(table_uln.sum(axis=0, keepdims=True))[0]
    absent = [str(layer) for layer in np.flatnonzero(np.isnan(value_l)).tolist()]
    warnings = (
        (f"Not known in layers {', '.join(absent)}: no raw scores, or not what is made of them.",) if absent else ()
    )
    return with_sample_size(Result(value=value_l, low=low, high=high, warnings=warnings), tally, ask)


@metric(
    title="Choices that the raw scores alone would not have made",
    unit="1 (share of filled slots)",
    axes="l",
    range=(0, 1),
    uniform="0 without a selection bias",
    needs=("score_choices", "assignments", "tokens"),
    source="Share of the executed set outside the best k raw scores (of the best groups, where there are groups)",
)
def selection_flips(tally: Tally, ask: MetricOptions) -> Result:
    """How often an expert was chosen that the raw scores alone would have left out: by a balancing bias, or a table.

    Undefined   NaN where no raw scores are recorded, or what the gate makes of them is not known.
    Not this    The size of the bias, which records do not hold. Scores that are equal as half floats count as no flip.
                Where a fixed table of token ids picks the experts, each is compared with scores that had no say.
    Source      Wang et al. 2024 (arXiv 2408.15664): the bias is added for the choice only.
    """
    found = _layered(tally, ask, "score_choices", _flips, 1.0)
    tables = [str(rule.layer) for rule in tally.layers if rule.by_token_id]
    warnings = (f"In layers {', '.join(tables)} a table of token ids chose, not scores.",) if tables else ()
    return replace(found, warnings=(*found.warnings, *warnings))


@metric(
    title="Gate given up to the selection bias",
    unit="1 (share of the best gate)",
    axes="l",
    range=(0, 1),
    uniform="0 without a selection bias",
    needs=("score_choices", "assignments", "tokens"),
    source="Gate of the executed set beside that of the best raw scores",
)
def selection_loss(tally: Tally, ask: MetricOptions) -> Result:
    """How much of the gate that the best raw scores would have kept is lost by what was chosen instead.

    Undefined   As `selection_flips`; tokens with an empty slot are left out.
    """
    return _layered(tally, ask, "score_choices", _lost, 1.0)


def _soft(sums_ln: NDArray[np.number]) -> NDArray[np.float64]:
    """Entropy of the mean gate less the mean entropy of the gate, in bits."""
    tokens = sums_ln[..., -1].astype(np.float64)
    return np.maximum(entropy_bits(shares(sums_ln[..., :-2])) - ratio(sums_ln[..., -2] / FIXED, tokens), 0.0)


@metric(
    title="Soft information of the gate",
    unit="bits",
    axes="l",
    range=(0, None),
    uniform="0",
    needs=("gate_sums", "assignments", "tokens"),
    source="Entropy of the mean gate less the mean entropy (as the local and global losses of LIMoE)",
)
def soft_information(tally: Tally, ask: MetricOptions) -> Result:
    """How much the gate over all experts tells about which token it saw: 0 when it says the same of every token.

    Units       Bits, up to log2 E: every token sure of an expert, and all experts alike often.
    Undefined   NaN where no raw scores are recorded, or what the gate makes of them is not known.
    Not this    What the executed choice tells: the gate before anything is dropped.
    """
    return _layered(tally, ask, "gate_sums", _soft)
