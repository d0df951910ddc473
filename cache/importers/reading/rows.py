"""Rows as another engine wrote them, made into records: checked one by one, slots put in order, faults counted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Report
from gatescope.routing.record import Document, Flag, Provenance, RoutingRecord
from gatescope.routing.router import RouterRule
from gatescope.routing.slots import extremes, has_twice, is_falling

ABSENT = -1  # no expert in this slot, in the rows of a trace
CELLS = 2**22  # routes (and logits) of one record
MOST_TOKENS = 2**17

_RANGES = (("token", -1, 2**31 - 1), ("document", 0, 2**30 - 1), ("position", 0, 2**31 - 1), ("flag", 0, 255))
_Fault = tuple[str, str, Any]  # reason, what was expected, which rows


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a trace: any integer ids in any order, ABSENT where there is no expert.

    Documents are numbered over the whole trace. `place` tells where in the file a row stands, for rows with
    a fault.
    """

    ids_tlk: NDArray[np.integer]
    token_t: NDArray[np.integer]
    document_t: NDArray[np.integer]
    position_t: NDArray[np.integer]
    flag_t: NDArray[np.integer]
    place: Callable[[int], str]
    weight_tlk: NDArray[np.floating] | None = None
    logit_tle: NDArray[np.floating] | None = None

    def take(self, rows_t: NDArray[np.intp]) -> "Rows":
        """Some of the rows, at their old places."""
        arrays: dict[str, Any] = {
            item.name: value[rows_t]
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), np.ndarray)
        }
        place = self.place
        return replace(self, **arrays, place=lambda row: place(int(rows_t[row])))


def tokens_at_once(layers: int, cells: int) -> int:
    """How many tokens make a record of bounded size, with so many numbers for each token and layer.

    >>> tokens_at_once(24, 4), tokens_at_once(61, 8 + 256), tokens_at_once(10_000, 1000)
    (43690, 260, 1)
    """
    return min(MOST_TOKENS, max(1, CELLS // max(1, layers * cells)))


class Trace:
    """A trace while it is read: what its rows must fit, and what became of them."""

    def __init__(self, layers: tuple[RouterRule, ...], provenance: Provenance, given: Given, report: Report) -> None:
        self.layers, self.provenance, self.given, self.report = layers, provenance, given, report
        self._last_place = -1
        self._last_document = -1

    def records(
        self, rows: Rows, documents: Callable[[int], Document], pieces: Mapping[int, str] | None = None
    ) -> Iterator[RoutingRecord]:
        """The rows without a fault as a record; none where all have one. Errors: TraceError at a fault, if told so."""
        rows = self._without_faults(rows)
        if not len(rows.ids_tlk):
            return
        numbers, document_t = np.unique(rows.document_t, return_inverse=True)
        self.report.documents += len(numbers) - (int(numbers[0]) == self._last_document)
        self.report.tokens += len(rows.ids_tlk)
        self._last_document = int(numbers[-1])
        ids_tlk, weight_tlk = _in_order(rows.ids_tlk, rows.weight_tlk)
        slots = max(rule.k for rule in self.layers)
        known = pieces or {}
        yield RoutingRecord(
            ids_tlk=_narrow(ids_tlk[..., :slots], self.layers),
            weight_tlk=None if weight_tlk is None else weight_tlk[..., :slots],
            logit_tle=None if rows.logit_tle is None else _logits(rows.logit_tle, self.layers),
            token_t=rows.token_t.astype(np.int32),
            document_t=document_t.astype(np.int32),
            position_t=rows.position_t.astype(np.int32),
            flag_t=rows.flag_t.astype(np.uint8),
            documents=tuple(documents(int(number)) for number in numbers),
            layers=self.layers,
            provenance=self.provenance,
            pieces={token: known[token] for token in np.unique(rows.token_t).tolist() if token in known},
        )

    def _without_faults(self, rows: Rows) -> Rows:
        """The rows that can be read; the others are counted, or stopped at."""
        rows = self._dropped(rows, _faults(rows, self.layers))
        rows = self._dropped(rows, [self._out_of_order(rows)])
        if len(rows.ids_tlk):
            self._last_place = int(_places(rows)[-1])
        return rows

    def _dropped(self, rows: Rows, faults: Iterable[_Fault]) -> Rows:
        """The rows without one of these faults; each row is counted once."""
        bad_t = np.zeros(len(rows.ids_tlk), bool)
        for reason, expected, at_t in faults:
            for row in np.flatnonzero(at_t & ~bad_t):
                self.report.fault(self.given, reason, rows.place(int(row)), expected=expected)
            bad_t |= at_t
        return rows.take(np.flatnonzero(~bad_t)) if bad_t.any() else rows

    def _out_of_order(self, rows: Rows) -> _Fault:
        place_t = _places(rows)
        before_t = np.maximum.accumulate(np.concatenate([[self._last_place], place_t]))[:-1]
        return (
            "a place that does not rise",
            "documents one after another, positions rising in each",
            place_t <= before_t,
        )


def _places(rows: Rows) -> NDArray[np.int64]:
    """One number for each row that rises over documents, over what an encoder read and then the decoder, positions."""
    decoder_t = (rows.flag_t.astype(np.int64) & Flag.ENCODER) == 0
    side_t = rows.document_t.astype(np.int64) * 2 + decoder_t
    place_t: NDArray[np.int64] = (side_t << 31) + rows.position_t.astype(np.int64)
    return place_t


def _faults(rows: Rows, layers: Sequence[RouterRule]) -> Iterator[_Fault]:
    """Every way in which a single row can be wrong."""
    yield from _faults_of_ids(rows.ids_tlk, layers)
    if rows.weight_tlk is not None and not _fits_half(rows.weight_tlk).all():
        wrong_tlk = (rows.ids_tlk != ABSENT) & ~_fits_half(rows.weight_tlk)
        yield "a weight that is no number", "finite numbers below 65,504", wrong_tlk.any((1, 2))
    if rows.logit_tle is not None:
        own_le = np.arange(rows.logit_tle.shape[2]) < np.array([rule.experts for rule in layers])[:, None]
        yield "a score that is no number", "finite numbers", (own_le & ~_fits_half(rows.logit_tle)).any((1, 2))
    for name, least, most in _RANGES:
        value_t = getattr(rows, f"{name}_t")
        wrong_t = (value_t < least) | (value_t > most)
        yield f"a {name} out of range", f"{least} to {most}", wrong_t


def _faults_of_ids(ids_tlk: NDArray[np.integer], layers: Sequence[RouterRule]) -> Iterator[_Fault]:
    """Every way in which a row's ids can be wrong; nothing is gone through twice where the whole is right."""
    experts_l, k_l = (np.array([getattr(rule, name) for rule in layers]) for name in ("experts", "k"))
    least_l, greatest_l = extremes(ids_tlk)
    if (least_l < ABSENT).any() or (greatest_l >= experts_l).any():
        outside_tlk = (ids_tlk < ABSENT) | (ids_tlk >= experts_l[:, None])
        yield "an id that is no expert of its layer", f"ids below {_spoken(experts_l)}", outside_tlk.any((1, 2))
    if (k_l < ids_tlk.shape[2]).any():
        filled_tlk = ids_tlk != ABSENT
        yield "more experts than a layer keeps", f"at most {_spoken(k_l)}", (filled_tlk.sum(2) > k_l).any(1)
    if has_twice(ids_tlk):
        sorted_tlk = np.sort(ids_tlk, axis=2)
        twice_tlk = (sorted_tlk[..., 1:] == sorted_tlk[..., :-1]) & (sorted_tlk[..., 1:] != ABSENT)
        yield "one expert twice in a layer", "each expert at most once", twice_tlk.any((1, 2))


def _spoken(number_l: NDArray[np.integer]) -> str:
    """One number, or one for each layer."""
    return str(number_l[0]) if (number_l == number_l[0]).all() else str(number_l.tolist())


def _fits_half(number_tlx: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where a number is finite also in half precision; NaN is not."""
    fits_tlx: NDArray[np.bool_]
    if number_tlx.dtype == np.float16:  # by its exponent: arithmetic with half floats is slow
        fits_tlx = (number_tlx.view(np.uint16) & 0x7C00) != 0x7C00
    else:
        fits_tlx = np.abs(number_tlx) < np.float32(65_520)
    return fits_tlx


def _in_order(
    ids_tlk: NDArray[np.integer], weight_tlk: NDArray[np.floating] | None
) -> tuple[NDArray[np.integer], NDArray[np.float16] | None]:
    """Slots by decreasing weight (as they stand where weights are equal or unknown), empty ones last."""
    is_full = (extremes(ids_tlk).least_l > ABSENT).all()
    if is_full and weight_tlk is None:
        return ids_tlk, None
    if is_full and weight_tlk is not None and is_falling(as_they_stand := weight_tlk.astype(np.float16, copy=False)):
        return ids_tlk, as_they_stand
    empty_tlk = ids_tlk == ABSENT
    half_tlk = None if weight_tlk is None else np.where(empty_tlk, 0, weight_tlk).astype(np.float16)
    rank_tlk = empty_tlk if half_tlk is None else np.where(empty_tlk, np.float16(np.inf), -half_tlk)
    order_tlk = _order(rank_tlk)
    sorted_tlk = None if half_tlk is None else np.take_along_axis(half_tlk, order_tlk, 2)
    return np.take_along_axis(ids_tlk, order_tlk, 2), sorted_tlk


def _order(rank_tlk: NDArray[np.float16 | np.bool_]) -> NDArray[np.intp]:
    """The slots of each token and layer by rising rank, those of equal rank as they stand: sorted as whole numbers.

    The upper half of each number is its rank, the lower its slot.
    """
    unsigned_zeros_tlk = rank_tlk.astype(np.float16) + np.float16(0)
    bits_tlk = unsigned_zeros_tlk.view(np.int16)
    rising_tlk = (bits_tlk ^ (bits_tlk >> 15 & 0x7FFF)).astype(np.int32)  # as the half floats do, below 0 too
    key_tlk = (rising_tlk << 16) | np.arange(rank_tlk.shape[2], dtype=np.int32)
    key_tlk.sort(axis=2)
    order_tlk: NDArray[np.intp] = (key_tlk & 0xFFFF).astype(np.intp)
    return order_tlk


def _narrow(ids_tlk: NDArray[np.integer], layers: Sequence[RouterRule]) -> NDArray[np.unsignedinteger]:
    """Ids in the narrowest type that also has room for an empty slot."""
    kind = np.uint8 if max(rule.experts for rule in layers) <= 255 else np.uint16
    if (extremes(ids_tlk).least_l > ABSENT).all():
        return ids_tlk.astype(kind)
    return np.where(ids_tlk == ABSENT, np.iinfo(kind).max, ids_tlk).astype(kind)


def _logits(logit_tle: NDArray[np.floating], layers: Sequence[RouterRule]) -> NDArray[np.float16]:
    """In half precision; no number beyond a layer's own experts."""
    with np.errstate(over="ignore"):
        half_tle = logit_tle.astype(np.float16)
    for rule in layers:
        half_tle[:, rule.layer, rule.experts :] = np.nan
    return half_tle
