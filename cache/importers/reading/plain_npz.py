"""The plain form in an `.npz` file: one array for each name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Report
from gatescope.cache.importers.reading.npz import Member, names_of, open_npz
from gatescope.cache.importers.reading.plain_table import (
    ABOUT,
    LABELS,
    LAYER,
    PER_TOKEN,
    Table,
    checked,
    document_of,
    layers_from,
)
from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document

ROUTES = ("ids", "weights", "logits")


def is_plain_npz(path: Path) -> bool:
    """Whether a file is an archive of arrays with ids among them. Never raises."""
    return "ids" in names_of(path)


@contextmanager
def plain_npz(path: Path, _given: Given, report: Report) -> Iterator[Table]:
    """The file as a table. TraceError where its arrays do not fit each other."""
    where = str(path)
    with open_npz(path) as members:
        tokens, layers, slots = _shape_of_ids(members["ids"])
        columns = {name: members[name] for name in (*ROUTES, *PER_TOKEN) if name in members}
        for name, member in columns.items():
            _check_shape(name, member, (tokens, layers, slots))
        fields = {name: members[f"layer_{name}"].whole() for name in LAYER if f"layer_{name}" in members}
        about = {name: _word(members[name]) for name in ABOUT if name in members}
        known = {*columns, *ABOUT, *(f"layer_{name}" for name in LAYER), *(f"document_{name}" for name in LABELS)}
        for name in sorted(members.keys() - known):
            report.leave_out("an array of no known name", f"{path}, {name}")
        scores = columns["logits"].shape[2] if "logits" in columns else 0
        if scores and "experts" not in fields:
            fields["experts"] = np.array(scores)
        labels = _documents(members, where)
        yield Table(
            names=frozenset(members),
            seen=layers_from(fields, layers, slots, where),
            about=about,
            document=labels,
            scores=scores,
            parts=lambda rows: _parts(columns, tokens, rows, len(labels), where),
        )


def _shape_of_ids(member: Member) -> tuple[int, int, int]:
    if len(member.shape) != 3 or member.dtype.kind not in "iu":
        raise TraceError(
            f"{member.where}: {member.dtype} of shape {member.shape}",
            expected="whole numbers of shape (tokens, layers, k)",
            do="save them so; for one layer, ids[:, None]",
        )
    return member.shape


def _check_shape(name: str, member: Member, shape: tuple[int, int, int]) -> None:
    """Every array has as many tokens as there are ids, and weights as many slots."""
    wanted: tuple[int, ...] = {"ids": shape, "weights": shape}.get(name, shape[:1])
    if name == "logits":
        wanted = (*shape[:2], member.shape[2] if len(member.shape) == 3 else 0)
    if member.shape != wanted or (name in ROUTES[1:] and member.dtype.kind not in "fiu"):
        raise TraceError(
            f"{member.where}: {member.dtype} of shape {member.shape}",
            expected=f"numbers of shape {wanted}, to agree with ids {shape}",
            do="save arrays of the same tokens and layers",
        )


def _word(member: Member) -> str:
    """A single text."""
    value = member.whole()
    if value.dtype.kind != "U" or value.ndim:
        raise TraceError(f"{member.where}: {value.dtype} of shape {value.shape}", expected="one text", do="save a str")
    return str(value)


def _documents(members: Mapping[str, Member], where: str) -> Mapping[int, Document]:
    """What is said of each document, by its number."""
    labels = {name: members[f"document_{name}"].whole() for name in LABELS if f"document_{name}" in members}
    for name, array in labels.items():
        if array.ndim != 1 or array.dtype.kind != "U" or len(array) != len(next(iter(labels.values()))):
            found = f"{where}, document_{name}: {array.dtype} of shape {array.shape}"
            raise TraceError(found, expected="one text for each document", do="save a text for each, or an empty one")
    columns = {name: array.tolist() for name, array in labels.items()}
    count = len(next(iter(columns.values()), []))
    return {
        number: document_of("", {name: column[number] for name, column in columns.items()}) for number in range(count)
    }


def _parts(
    columns: Mapping[str, Member], tokens: int, rows: int, labelled: int, where: str
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """So many rows at a time. TraceError where a document has no labels and others have."""
    for first in range(0, tokens, rows):
        part = {name: member.read(rows) for name, member in columns.items()}
        part |= {name: checked(name, part[name], where, first=first) for name in PER_TOKEN if name in part}
        numbers = part.get("document", np.zeros(1, np.int64))
        if labelled and numbers.dtype.kind in "iu" and numbers.max() >= labelled:
            found = f"{where}, document: {numbers.max()} in rows from {first}, and labels of {labelled} documents"
            raise TraceError(found, expected="labels of every document", do="write a label for each, or an empty one")
        yield part
