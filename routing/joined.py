"""Records of several runs of one model put together as one."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.record import Document, Provenance, RoutingRecord, broken
from gatescope.routing.router import RouterRule


def joined(records: Iterable[RoutingRecord], *, tokens: int = 0, any_device: bool = False) -> RoutingRecord:
    """The records of several runs of one model as one: documents one after another, nothing else changed.

    `tokens` is how many they have together, where that is known before they are read: each is then let go when it is
    copied. With `any_device` they may be of several devices, and all of these are named.
    Errors      RecordError when there are none, or when they differ in layers, provenance or the arrays they hold.
    """
    if not tokens:
        records = list(records)
        tokens = sum(record.tokens for record in records)
    columns, documents, pieces = dict[str, NDArray[Any]](), list[Document](), dict[int, str]()
    devices, start = set[str](), 0
    first: _Kind | None = None
    for record in records:
        devices.add(record.provenance.device)
        own = _Kind(
            record.layers,
            replace(record.provenance, device="") if any_device else record.provenance,
            tuple(name for name, _ in record.arrays()),
        )
        first = first or own
        _check_same(own, first)
        for name, array in record.arrays():
            shifted = array + np.int32(len(documents)) if name == "document_t" else array
            columns[name] = _put(columns.get(name), shifted, start, tokens)
        start += record.tokens
        documents += record.documents
        pieces |= record.pieces
        del record  # before the next is read
    if first is None:
        raise broken("no records to join", "at least one")
    made = replace(first.provenance, device=", ".join(sorted(devices))) if any_device else first.provenance
    whole: dict[str, Any] = {"weight_tlk": None} | {name: column[:start] for name, column in columns.items()}
    return RoutingRecord(**whole, documents=tuple(documents), layers=first.layers, provenance=made, pieces=pieces)


class _Kind(NamedTuple):
    """What records that are joined have in common."""

    layers: tuple[RouterRule, ...]
    provenance: Provenance
    arrays: tuple[str, ...]


def _check_same(one: _Kind, first: _Kind) -> None:
    for what in ("layers", "provenance"):
        if getattr(one, what) != getattr(first, what):
            raise broken(f"records of different {what}", f"the same {what} in all of them")
    if one.arrays != first.arrays:
        raise broken("records that hold different arrays", "the same arrays in all of them")


def _put(column: NDArray[Any] | None, part: NDArray[Any], start: int, tokens: int) -> NDArray[Any]:
    """A column with one record's part in its place; a column of its own where there is none yet, or too short a one."""
    kind = part.dtype if column is None else np.result_type(column, part)
    end = max(tokens, start + len(part))
    if column is None or kind != column.dtype or end > len(column):
        before = column
        column = np.empty((end, *part.shape[1:]), kind)
        column[:start] = 0 if before is None else before[:start]
    column[start : start + len(part)] = part
    return column
