"""What the browser may say: a pick, a range, a row, an expert, a token; anything else it sends counts as nothing."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

Span = tuple[int, int]
"""A range of columns, both ends included."""


@dataclass(frozen=True)
class Pick:
    """A pinned cell; `row` is None when only a column (a token) was picked."""

    row: int | None
    column: int


Pinned = Pick | tuple[int | None, int] | None
"""What a page may hand in as the pinned cell."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Event(Generic[Value]):
    """What the reader chose, or released (None); `serial` tells later events from earlier ones."""

    value: Value | None
    serial: int


def pick_event(payload: Any, shape: tuple[int, ...]) -> Event[Pick] | None:
    """The pick the browser sent, or None when there is none or when it is not one of this matrix."""
    if not _has_serial(payload):
        return None
    row, column, serial = payload.get("row"), payload.get("column"), payload["serial"]
    if row is None and column is None:
        return Event(None, serial)
    pick = _cell(row, column, shape)
    return None if pick is None else Event(pick, serial)


def span_event(payload: Any, shape: tuple[int, ...]) -> Event[Span] | None:
    """The range the browser sent, or None as for a pick."""
    if not _has_serial(payload):
        return None
    first, last, serial = payload.get("first"), payload.get("last"), payload["serial"]
    if first is None and last is None:
        return Event(None, serial)
    span = span_inside((first, last), shape)
    return None if span is None else Event(span, serial)


def row_event(payload: Any, shape: tuple[int, ...]) -> int | None:
    """The row whose label was chosen, or None."""
    row = payload.get("row") if _has_serial(payload) else None
    return row if _is_index(row, shape[0]) else None


def expert_event(payload: Any, layers: int, experts: int) -> Event[tuple[int, int]] | None:
    """The expert the browser sent as (layer, expert), or None as for a pick."""
    if not _has_serial(payload):
        return None
    layer, expert, serial = payload.get("layer"), payload.get("expert"), payload["serial"]
    if layer is None and expert is None:
        return Event(None, serial)
    is_place = _is_index(layer, layers) and _is_index(expert, experts)
    return Event((int(layer), int(expert)), serial) if is_place else None


def token_event(payload: Any, tokens: int) -> int | None:
    """The token whose routes the browser asks for, or None."""
    token = payload.get("token") if _has_serial(payload) else None
    return token if _is_index(token, tokens) else None


def inside(pinned: Pinned, shape: tuple[int, ...]) -> Pick | None:
    """The pin of the page, if it lies in this matrix."""
    if pinned is None:
        return None
    row, column = (pinned.row, pinned.column) if isinstance(pinned, Pick) else pinned
    return _cell(row, column, shape)


def span_inside(span: Any, shape: tuple[int, ...]) -> Span | None:
    """The range of the page, if all of it lies in this matrix and it runs forwards."""
    if span is None:
        return None
    first, last = span
    is_range = _is_index(first, shape[1]) and _is_index(last, shape[1]) and first <= last
    return (int(first), int(last)) if is_range else None


def _has_serial(payload: Any) -> bool:
    """Does this look like an event at all?"""
    return isinstance(payload, dict) and _is_index(payload.get("serial"), 2**53)


def _cell(row: Any, column: Any, shape: tuple[int, ...]) -> Pick | None:
    """A cell of the matrix, or None for anything else."""
    is_cell = (row is None or _is_index(row, shape[0])) and _is_index(column, shape[1])
    return Pick(None if row is None else int(row), int(column)) if is_cell else None


def _is_index(number: Any, size: int) -> bool:
    """A whole number from 0 to size - 1; true and false are not numbers."""
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool) and bool(0 <= number < size)
