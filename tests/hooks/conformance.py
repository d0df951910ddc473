"""What a record of routing has wrong, in words: the comparison of recorded numbers with an expected `Layer`."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tests.hooks.formulas import Layer

EMPTY = -1
TIE = 1e-6
EXCUSED = 0.01
SHOWN = 4


class Found(NamedTuple):
    """What was recorded of one layer: scores (or None where a record keeps none), chosen ids, weights, rows."""

    logits_ne: np.ndarray | None
    ids_nk: np.ndarray
    weights_nk: np.ndarray
    rows_n: np.ndarray | None = None


class Tolerance(NamedTuple):
    """Allowed relative and absolute errors; logits are compared with the largest of their row."""

    weight: float = 2e-4
    weight_least: float = 1e-6
    logit: float = 2e-4


EXACT = Tolerance()
FLOAT16 = Tolerance(weight=1e-3, weight_least=1e-6, logit=1e-3)


def differences_of_all(
    expected: Sequence[Layer], found: Sequence[Found], tolerance: Tolerance = EXACT, *, after: bool = True
) -> list[str]:
    """What is wrong with a whole record; a layer that is another one's record is named as that."""
    wrong = []
    if len(found) != len(expected):
        wrong.append(f"{len(found)} layers found, {len(expected)} expected")
    for number, (layer, record) in enumerate(zip(expected, found, strict=False)):
        own = differences(layer, *record, tolerance=tolerance, after=after)
        others = (other for other in expected if other is not layer)
        twin = next((o for o in others if own and not differences(o, *record, tolerance=tolerance, after=after)), None)
        wrong += [f"layer {number} holds what {twin.router_path} did, not {layer.router_path}"] if twin else own
    return wrong


def differences(
    expected: Layer,
    logits_ne: np.ndarray | None,
    ids_nk: np.ndarray,
    weights_nk: np.ndarray,
    rows_n: np.ndarray | None = None,
    *,
    tolerance: Tolerance = EXACT,
    after: bool = True,
) -> list[str]:
    """What is wrong with the record of one layer, one sentence each; none when it conforms.

    Slots hold ids from 0, or -1 for none. Weights are those of the block's output, or, with `after` false, those handed
    to the experts. Where a tie decided, another choice is as good; too many such rows are wrong all the same.
    """
    ids_nk, weights_nk = np.asarray(ids_nk), np.asarray(weights_nk, float)
    wrong = rows_wrong(expected, ids_nk, rows_n) or shapes_wrong(expected, logits_ne, ids_nk, weights_nk)
    if wrong:
        return named(expected, wrong)
    dense_ne = expected.dense_ne if after else expected.dense_ne / expected.after
    wrong = slots_wrong(expected, ids_nk, weights_nk)
    recorded_ne, run_ne = spread_slots(ids_nk, weights_nk, dense_ne.shape[1])
    other_n = (run_ne != (dense_ne != 0)).any(-1)
    tied_n = other_n & (expected.margin_n < TIE)
    wrong += ties_wrong(tied_n) + choices_wrong(expected, run_ne, other_n & ~tied_n)
    wrong += weights_wrong(dense_ne, recorded_ne, run_ne & ~tied_n[:, None], tolerance)
    wrong += logits_wrong(expected.logits_ne, logits_ne, tolerance)
    return named(expected, wrong)


def named(expected: Layer, wrong: Iterable[str]) -> list[str]:
    return [f"{expected.router_path}: {sentence}" for sentence in wrong]


def rows_wrong(expected: Layer, ids_nk: np.ndarray, rows_n: np.ndarray | None) -> list[str]:
    """Whether there is one row for each token, and of the right tokens."""
    tokens = len(expected.dense_ne)
    if len(ids_nk) != tokens:
        parts = np.array_split(ids_nk, max(1, len(ids_nk) // tokens))
        doubled = len(ids_nk) % tokens == 0 and len(parts) > 1 and all((part == parts[0]).all() for part in parts)
        return [f"{len(ids_nk)} rows found, {tokens} tokens expected" + (", all recorded again" if doubled else "")]
    if expected.rows_n is not None and rows_n is None:
        return [] if np.array_equal(expected.rows_n, np.arange(tokens)) else ["which rows these are is not recorded"]
    should_n = np.arange(tokens) if expected.rows_n is None else expected.rows_n
    if rows_n is None or np.array_equal(rows_n, should_n):
        return []
    return [f"rows {np.asarray(rows_n).tolist()} found, {should_n.tolist()} expected"]


def shapes_wrong(
    expected: Layer, logits_ne: np.ndarray | None, ids_nk: np.ndarray, weights_nk: np.ndarray
) -> list[str]:
    wrong = []
    if ids_nk.ndim != 2 or weights_nk.shape != ids_nk.shape or ids_nk.dtype.kind != "i":
        wrong.append(f"ids {ids_nk.dtype} {ids_nk.shape} and weights {weights_nk.shape} are not whole (tokens, k)")
    elif (outside := (ids_nk < EMPTY) | (ids_nk >= expected.dense_ne.shape[1])).any():
        wrong.append(f"ids {sorted(set(ids_nk[outside]))} are none of {expected.dense_ne.shape[1]} experts")
    if logits_ne is not None and np.shape(logits_ne) != expected.logits_ne.shape:
        wrong.append(f"logits {np.shape(logits_ne)} found, {expected.logits_ne.shape} expected")
    return wrong


def slots_wrong(expected: Layer, ids_nk: np.ndarray, weights_nk: np.ndarray) -> list[str]:
    """Whether a slot that is empty carries a weight, or one expert stands in two slots of a row."""
    wrong = [
        f"token {token}: an empty slot has weight {weights_nk[token].tolist()}"
        for token in np.flatnonzero(((ids_nk == EMPTY) & (weights_nk != 0)).any(-1))
    ]
    if not expected.may_repeat:
        for token, ids_k in enumerate(ids_nk):
            used = ids_k[ids_k != EMPTY]
            if len(set(used)) < len(used):
                wrong.append(f"token {token}: an expert is named twice in {ids_k.tolist()}")
    return short(wrong)


def spread_slots(ids_nk: np.ndarray, weights_nk: np.ndarray, experts: int) -> tuple[np.ndarray, np.ndarray]:
    """The recorded weight of every expert, and whether it ran: the order of the slots plays no part."""
    recorded_ne, run_ne = np.zeros((len(ids_nk), experts)), np.zeros((len(ids_nk), experts), bool)
    for token, slot in np.argwhere(ids_nk != EMPTY):
        recorded_ne[token, ids_nk[token, slot]] += weights_nk[token, slot]
        run_ne[token, ids_nk[token, slot]] = True
    return recorded_ne, run_ne


def ties_wrong(tied_n: np.ndarray) -> list[str]:
    if tied_n.mean() <= EXCUSED:
        return []
    return [f"{tied_n.sum()} of {len(tied_n)} tokens chose otherwise at a tie, more than {EXCUSED:.0%}"]


def choices_wrong(expected: Layer, run_ne: np.ndarray, other_n: np.ndarray) -> list[str]:
    """Which tokens ran other experts, and whether the raw logits alone explain the record's choice."""
    wrong = []
    for token in np.flatnonzero(other_n):
        found, should = np.flatnonzero(run_ne[token]), np.flatnonzero(expected.dense_ne[token])
        wrong.append(f"token {token}: experts {found.tolist()} found, {should.tolist()} expected")
    if wrong and is_best_logits(expected.logits_ne, run_ne):
        wrong.insert(0, "the ids are the best logits, not what was run")
    return short(wrong)


def is_best_logits(logits_ne: np.ndarray, run_ne: np.ndarray) -> bool:
    rank_ne = (-logits_ne).argsort(-1).argsort(-1)[:, : run_ne.shape[1]]
    return bool(run_ne.any() and (run_ne == (rank_ne < run_ne.sum(-1, keepdims=True))).all())


def weights_wrong(
    dense_ne: np.ndarray, recorded_ne: np.ndarray, both_ne: np.ndarray, tolerance: Tolerance
) -> list[str]:
    """Weights of experts that ran and should have; a common factor of all is told once."""
    both_ne = both_ne & (dense_ne != 0)
    near_ne = np.abs(recorded_ne - dense_ne) <= tolerance.weight * np.abs(dense_ne) + tolerance.weight_least
    off_ne = both_ne & ~near_ne  # what is not a number is near nothing
    ratio = (recorded_ne[both_ne] / dense_ne[both_ne]) if both_ne.any() else np.ones(1)
    if off_ne.any() and np.ptp(ratio) <= 2 * tolerance.weight * np.abs(ratio).max():
        return [f"every weight is {np.median(ratio):.4g} times the expected one"]
    return short(
        f"token {token}, expert {expert}: weight {recorded_ne[token, expert]:.6g} found, "
        f"{dense_ne[token, expert]:.6g} expected ({recorded_ne[token, expert] / dense_ne[token, expert] - 1:+.2%})"
        for token, expert in np.argwhere(off_ne)
    )


def logits_wrong(expected_ne: np.ndarray, logits_ne: np.ndarray | None, tolerance: Tolerance) -> list[str]:
    if logits_ne is None:
        return []
    found_ne = np.asarray(logits_ne, float)
    least_n1 = tolerance.logit * np.abs(expected_ne).max(-1, keepdims=True)
    return short(
        f"token {token}, expert {expert}: logit {found_ne[token, expert]:.6g} found, "
        f"{expected_ne[token, expert]:.6g} expected"
        for token, expert in np.argwhere(~(np.abs(found_ne - expected_ne) <= least_n1))
    )


def short(sentences: Iterable[str]) -> list[str]:
    """The first few sentences, and how many more there are."""
    sentences = list(sentences)
    more = len(sentences) - SHOWN
    return sentences if more <= 0 else [*sentences[:SHOWN], f"and {more} more like these"]
