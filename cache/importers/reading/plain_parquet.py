"""The plain form in a Parquet file: one row for each token, one column of lists for each layer."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Report
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
from gatescope.cache.importers.reading.rows import ABSENT
from gatescope.cache.importers.reading.vocabulary import Vocabulary
from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document
from gatescope.routing.row_counts import read_fault, row_fault

KEY = b"trace"
UNREADABLE = ABSENT - 1  # an id that stands for a missing value: no expert, and not an empty slot either

_LAYER = re.compile(r"(ids|weights|logits)_layer(0|[1-9]\d{0,5})")
_BROKEN = (pa.ArrowException, OSError, ValueError)


def is_plain_parquet(path: Path) -> bool:
    """Whether a file is Parquet with lists of ids for at least one layer. Never raises."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"PAR1":
                return False
        schema = pq.read_schema(path)
    except _BROKEN:
        return False
    return any(_is_list(field.type) for field in schema if field.name.startswith("ids_layer"))


@contextmanager
def plain_parquet(path: Path, given: Given, report: Report) -> Iterator[Table]:
    """The file as a table. TraceError where its columns do not fit each other."""
    labels = [f"document_{name}" for name in LABELS]
    try:
        repeated = [name for name in pq.read_schema(path).names if name in labels]
        file = pq.ParquetFile(path, read_dictionary=repeated, pre_buffer=False, buffer_size=2**16)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    with file:
        if fault := row_fault(file.metadata):
            raise _unreadable(path, fault)
        schema = file.schema_arrow
        known = [name for name in schema.names if name in (*PER_TOKEN, *labels) or _LAYER.fullmatch(name)]
        for name in sorted(set(schema.names) - set(known)):
            report.leave_out("a column of no known name", f"{path}, {name}")
        yield _table(file, known, _said(schema, path), given, path)


def _table(file: pq.ParquetFile, known: Sequence[str], header: Mapping[str, Any], given: Given, path: Path) -> Table:
    """The columns of known names, and what the file says of them."""
    blocks = sorted(int(name.removeprefix("ids_layer")) for name in known if name.startswith("ids_layer"))
    widths = {name: _width(file, name, path) for name in known if _LAYER.fullmatch(name)}
    layer = {name: header[f"layer_{name}"] for name in LAYER if f"layer_{name}" in header} | {"block": blocks}
    layer.setdefault("k", _kept(given, [widths[f"ids_layer{block}"] for block in blocks], path))
    scores = max((width for name, width in widths.items() if name.startswith("logits")), default=0)
    if scores:
        layer.setdefault("experts", [widths.get(f"logits_layer{block}", scores) for block in blocks])
    seen = layers_from(layer, len(blocks), 0, str(path))
    columns = _Columns(path, blocks, max(seen.k), scores)
    return Table(
        names=columns.check(frozenset(known)),
        seen=replace(seen, slots=max(seen.k)),
        about={name: str(header[name]) for name in ABOUT if name in header},
        document=columns.document,
        scores=scores,
        parts=lambda rows: columns.parts(file, known, rows),
    )


def _kept(given: Given, widths: Sequence[int], path: Path) -> list[int]:
    """How many experts each layer keeps, where the file does not say: as given, or as many as the lists are long."""
    if len(given.layers) == len(widths):
        return [rule.k for rule in given.layers]
    if not (given.k or all(widths)):
        raise TraceError(
            f"{path}: the first row has lists without an expert, and nothing says how many a layer keeps",
            expected="lists of one length, or their largest length in words",
            do="write layer_k into the metadata 'trace', or lists of a fixed size",
        )
    return [given.k or width for width in widths]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _said(schema: pa.Schema, path: Path) -> dict[str, Any]:
    """What the file's metadata says of layers and model."""
    try:
        header = json.loads((schema.metadata or {}).get(KEY, b"{}"))
    except ValueError as error:
        raise TraceError(
            f"{path}: metadata 'trace' that is not JSON ({error})", expected="an object", do="write json.dumps(…)"
        ) from error
    names = {*ABOUT, *(f"layer_{name}" for name in LAYER if name != "block")}
    if not isinstance(header, dict) or header.keys() - names:
        found = sorted(header.keys() - names) if isinstance(header, dict) else type(header).__name__
        raise TraceError(
            f"{path}: metadata 'trace' with {found}",
            expected=f"an object of {', '.join(sorted(names))}",
            do="rename it",
        )
    return header


def _width(file: pq.ParquetFile, name: str, path: Path) -> int:
    """How many values the lists of a column have: by their type, or as many as the first row's."""
    kind = file.schema_arrow.field(name).type
    is_whole = _is_list(kind) and pa.types.is_integer(kind.value_type)
    if not is_whole and (name.startswith("ids") or not _is_list(kind) or not pa.types.is_floating(kind.value_type)):
        whole = "whole " * name.startswith("ids")
        raise TraceError(f"{path}, {name}: {kind}", expected=f"lists of {whole}numbers", do="write one for each token")
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    try:
        first = next(file.iter_batches(batch_size=1, columns=[name]), None)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    return len(first.column(0)[0].as_py() or ()) if first is not None and first.num_rows else 0


def _unreadable(path: Path, error: Exception | str) -> TraceError:
    return TraceError(f"{path}: {error}", expected="a whole Parquet file", do="write or copy it again")


class _Columns:
    """The columns of one file as arrays, part by part, and the documents met so far."""

    def __init__(self, path: Path, blocks: Sequence[int], slots: int, scores: int) -> None:
        self.path, self.blocks, self.slots, self.scores = path, blocks, slots, scores
        self.document: dict[int, Document] = {}
        self._names = Vocabulary()
        self._row = 0

    def check(self, names: frozenset[str]) -> frozenset[str]:
        """The names of the form that the columns make up; weights or scores of some layers only are refused."""
        found = names
        for what in ("ids", "weights", "logits"):
            held = {int(name.rpartition("layer")[2]) for name in names if name.startswith(f"{what}_layer")}
            if held and held != set(self.blocks):
                raise TraceError(
                    f"{self.path}: {what} of layers {sorted(held)}, ids of layers {list(self.blocks)}",
                    expected="the same layers",
                    do=f"write {what} for all of them, or for none",
                )
            found |= {what} if held else set()
        return found

    def parts(self, file: pq.ParquetFile, names: Sequence[str], rows: int) -> Iterator[Mapping[str, NDArray[Any]]]:
        """So many rows at a time."""
        try:
            for batch in file.iter_batches(batch_size=rows, columns=list(names)):
                yield self._part(batch, names)
                self._row += batch.num_rows
            if fault := read_fault(file.metadata, self._row):
                raise _unreadable(self.path, fault)
        except _BROKEN as error:
            raise _unreadable(self.path, error) from error

    def _part(self, batch: pa.RecordBatch, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        part = {name: self._scalars(name, batch.column(name)) for name in PER_TOKEN if name in names}
        part["ids"] = self._lists(batch, "ids", self.slots, UNREADABLE)
        if "weights_layer" + str(self.blocks[0]) in names:
            part["weights"] = self._lists(batch, "weights", part["ids"].shape[2], np.nan)
        if self.scores:
            part["logits"] = self._lists(batch, "logits", self.scores, np.nan)
        document = part.get("document", np.zeros(batch.num_rows, np.int64))
        if document.dtype.kind == "O":
            part["document"] = document = self._names.numbers(document.tolist())
        self._label(batch, document)
        return part

    def _scalars(self, name: str, column: pa.Array) -> NDArray[Any]:
        """Numbers or texts; a missing token or text is -1 or empty, nothing else may be missing."""
        if column.null_count and name in ("token", "piece"):
            column = pc.fill_null(column, -1 if name == "token" else "")
        if column.null_count:
            row = self._row + column.is_null().to_numpy(zero_copy_only=False).argmax()
            raise TraceError(f"{self.path}, {name}: nothing in row {row}", expected="a value", do="write one")
        array = column.to_numpy(zero_copy_only=False)
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if array.dtype.kind == "O" and not is_text:
            raise TraceError(f"{self.path}, {name}: {column.type}", expected="numbers or texts", do="convert it")
        return checked(name, array, str(self.path), first=self._row)

    def _lists(self, batch: pa.RecordBatch, what: str, width: int, absent: float) -> NDArray[Any]:
        """The lists of every layer side by side. One that is too long is cut behind one value too many."""
        parts = [
            self._matrix(batch.column(f"{what}_layer{block}"), width + (what == "ids"), absent) for block in self.blocks
        ]
        whole = np.stack(parts, axis=1)
        return whole[..., :width] if what == "ids" and (whole[..., width:] == ABSENT).all() else whole

    def _matrix(self, column: pa.Array, width: int, absent: float) -> NDArray[Any]:
        """One list for each row, filled up with ABSENT for ids; `absent` for what is missing."""
        is_ids = absent == UNREADABLE
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        values = column.drop_null().flatten()
        values = pc.fill_null(values, int(absent) if is_ids else absent) if values.null_count else values
        flat = values.to_numpy(zero_copy_only=False)
        flat = np.minimum(flat, 2**62) if flat.dtype == np.uint64 else flat
        out = np.full((len(column), width), ABSENT if is_ids else absent, np.int64 if is_ids else np.float32)
        at = np.arange(width)
        taken = at < lengths[:, None]
        start = np.cumsum(lengths) - lengths
        out[taken] = flat[(start[:, None] + at)[taken]]
        if is_ids and column.null_count:
            out[column.is_null().to_numpy(zero_copy_only=False), 0] = UNREADABLE
        return out

    def _label(self, batch: pa.RecordBatch, document: NDArray[np.integer]) -> None:
        """Labels of the documents that begin in this part, out of the row they begin with."""
        numbers, first = np.unique(document, return_index=True)
        last = self.document.popitem() if self.document else None
        self.document.clear()
        self.document.update([last] if last else [])
        for number, row in zip(numbers.tolist(), first.tolist(), strict=True):
            if number not in self.document:
                header = {
                    name: self._text(batch, name, row) for name in LABELS if f"document_{name}" in batch.schema.names
                }
                self.document[number] = document_of(self._names.texts.get(number, str(number)), header)

    def _text(self, batch: pa.RecordBatch, name: str, row: int) -> str:
        value = batch.column(f"document_{name}")[row].as_py()
        return "" if value is None else str(value)
