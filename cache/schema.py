"""A routing record as one Parquet file, and back, bit for bit.

One row per token. Per layer one column of fixed-size binary holds a token's slots together (`ids_layer0`,
`weight_layer0`, `logit_layer0`), so a layer is read without the others and decoded without touching single values.
The per-token scalars of all layers lie side by side in one such column each (`margin`, `entropy`, `lse`, `rejected`);
numbers are little-endian. Any Parquet reader opens the file.

    token document position flag [loss] [predicted]     one number per row
    ids_layerN weight_layerN logit_layerN               k, k and E numbers per row
    rejected margin entropy lse                         one number per layer and row

Everything else is JSON under the key `gatescope` of the file's metadata: documents, layers, provenance, pieces, the
names of the arrays present, and the version of this schema. An array the record lacks has no column. Each page of a
column carries a checksum of its own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from routing import Document, Provenance, RouterRule, RoutingRecord
from routing.errors import RecordError, StoreError

SCHEMA_VERSION = 1
ROW_GROUP_TOKENS = 131_072

Migration = Callable[[dict[str, Any], pa.Table], tuple[dict[str, Any], pa.Table]]

MIGRATIONS: dict[int, Migration] = {}
"""By the version of a file: what makes of its metadata and its table those of the next version. None is older yet."""

_KEY = b"gatescope"
_ENCODINGS = {"f": "BYTE_STREAM_SPLIT", "i": "DELTA_BINARY_PACKED", "u": "PLAIN"}
_TOKEN_IDS = "BYTE_STREAM_SPLIT"  # ids leap from row to row: their differences are longer than they are
_WRITER: dict[str, Any] = {  # dictionaries and the Arrow schema would merge unlike NaNs and repeat the texts
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,
    "write_page_checksum": True,
}


@dataclass(frozen=True)
class About:
    """What a file says beside its numbers; `arrays` are the dtypes of the arrays present, by name."""

    layers: tuple[RouterRule, ...]
    documents: tuple[Document, ...]
    provenance: Provenance
    pieces: Mapping[int, str]
    arrays: Mapping[str, str]
    slots: int

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis but the tokens'."""
        return {"l": len(self.layers), "k": self.slots, "e": max(rule.experts for rule in self.layers)}


def encode(record: RoutingRecord) -> memoryview:
    """The record as the bytes of a Parquet file."""
    columns: dict[str, pa.Array] = {}
    encodings: dict[str, str] = {}
    for name, array in record.arrays():
        for column, part_tx in _columns(name, array).items():
            columns[column] = _to_arrow(part_tx)
            encodings[column] = _TOKEN_IDS if name in ("token_t", "predicted_t") else _ENCODINGS[part_tx.dtype.kind]
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, column_encoding=encodings, **_WRITER) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_TOKENS)
        writer.add_key_value_metadata({_KEY: _describe(record)})
    return memoryview(sink.getvalue())


def decode(data: bytes | memoryview | pa.Buffer, *, checks_pages: bool = False) -> RoutingRecord:
    """The record that `encode` wrote, now or in an older version.

    Errors: StoreError where a newer version wrote it, RecordError where it breaks a rule.
    """
    file = open_parquet(data, checks_pages=checks_pages)
    said, table = _migrated(metadata(file), file.read())
    about = parsed(said)
    arrays = {name: read_array(table, name, np.dtype(kind), about.sizes) for name, kind in about.arrays.items()}
    absent: dict[str, Any] = {"weight_tlk": None}
    return RoutingRecord(
        **(absent | arrays),
        documents=about.documents,
        layers=about.layers,
        provenance=about.provenance,
        pieces=about.pieces,
    )


def open_parquet(data: bytes | memoryview | pa.Buffer, *, checks_pages: bool = False) -> pq.ParquetFile:
    """The Parquet file in these bytes, of which nothing but its end has been read."""
    return pq.ParquetFile(
        pa.BufferReader(pa.py_buffer(data)),
        thrift_string_size_limit=2**31 - 1,
        pre_buffer=False,
        page_checksum_verification=checks_pages,
    )


def metadata(file: pq.ParquetFile) -> dict[str, Any]:
    """What the file says beside its numbers, in a version that can be read. Errors: StoreError, RecordError."""
    said = json.loads((file.metadata.metadata or {}).get(_KEY, b"{}"))
    version = said.get("schema_version") if isinstance(said, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise StoreError(
            f"a capture of schema version {version}",
            expected=f"version {SCHEMA_VERSION} or older",
            do="open it with the newer Gatescope that wrote it, or capture again",
        )
    if type(version) is not int or not all(step in MIGRATIONS for step in range(version, SCHEMA_VERSION)):
        raise RecordError(
            f"schema version {version!r}", expected=f"{SCHEMA_VERSION}", do="pass a file that `encode` wrote"
        )
    return said


def _migrated(said: dict[str, Any], table: pa.Table) -> tuple[dict[str, Any], pa.Table]:
    """The same as the version of now would have it."""
    for version in range(said["schema_version"], SCHEMA_VERSION):
        said, table = MIGRATIONS[version](said, table)
    return said, table


def parsed(said: Mapping[str, Any]) -> About:
    """What metadata of the version of now say."""
    return About(
        layers=tuple(RouterRule(**rule) for rule in said["layers"]),
        documents=tuple(Document(**document) for document in said["documents"]),
        provenance=Provenance(**said["provenance"]),
        pieces={int(token): piece for token, piece in said["pieces"].items()},
        arrays=said["arrays"],
        slots=said["slots"],
    )


def _describe(record: RoutingRecord) -> bytes:
    """Everything that is not an array, as JSON."""
    about = {
        "schema_version": SCHEMA_VERSION,
        "slots": record.slots,
        "arrays": {name: array.dtype.name for name, array in record.arrays()},
        "layers": [asdict(rule) for rule in record.layers],
        "documents": [_document(document) for document in record.documents],
        "provenance": _provenance(record.provenance),
        "pieces": {str(int(token)): piece for token, piece in record.pieces.items()},
    }
    try:
        return json.dumps(about, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"documents, layers or provenance that JSON cannot hold: {error}",
            expected="text, numbers, true, false or nothing",
            do="convert such values (numpy numbers, paths) before making the record",
        ) from error


def _document(document: Document) -> Mapping[str, object]:
    """As a dictionary; what came after the first captures were kept is written only where it is true."""
    whole = asdict(document)
    if not whole["language_guessed"]:
        del whole["language_guessed"]
    return whole


def _provenance(provenance: Provenance) -> Mapping[str, object]:
    """As a dictionary, whatever kind of mapping its options are."""
    whole = {name: getattr(provenance, name) for name in provenance.__dataclass_fields__}
    return whole | {"versions": dict(provenance.versions), "options": dict(provenance.options)}


def _columns(name: str, array: NDArray) -> dict[str, NDArray]:
    """Names and parts of the columns an array is kept in."""
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    parts = [array] if array.ndim < 3 else [array[:, layer] for layer in range(array.shape[1])]
    return dict(zip(column_names(name, range(len(parts))), parts, strict=True))


def _to_arrow(part_tx: NDArray) -> pa.Array:
    """One number, or one run of numbers as fixed-size binary, per row; no copy where the rows are contiguous."""
    if part_tx.ndim == 1:
        return pa.array(part_tx)
    part_tx = np.ascontiguousarray(part_tx)
    width = part_tx.shape[1] * part_tx.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(part_tx), [None, pa.py_buffer(part_tx)])


def column_names(name: str, layers: Sequence[int]) -> list[str]:
    """The columns that an array of a record is kept in: one, or one for each of these layers.

    >>> column_names("margin_tl", [0, 1]), column_names("ids_tlk", [0, 5])
    (['margin'], ['ids_layer0', 'ids_layer5'])
    """
    stem, axes = name.rsplit("_", 1)
    return [stem] if len(axes) < 3 else [f"{stem}_layer{layer}" for layer in layers]


def read_array(
    table: pa.Table, name: str, dtype: np.dtype, sizes: Mapping[str, int], layers: Sequence[int] | None = None
) -> NDArray:
    """One array of a record out of its columns, of all layers or of these."""
    axes = name.rsplit("_", 1)[1]
    numbers = range(sizes["l"]) if layers is None else layers
    sizes = {**sizes, "l": len(numbers)} if len(axes) == 3 else sizes
    out_tx = np.empty((table.num_rows, *(sizes[axis] for axis in axes[1:])), dtype=dtype)
    parts = [out_tx] if len(axes) < 3 else [out_tx[:, at] for at in range(len(numbers))]
    for part_tx, column in zip(parts, column_names(name, numbers), strict=True):
        _fill(part_tx, table.column(column))
    return out_tx


def _fill(out_tx: NDArray, column: pa.ChunkedArray) -> None:
    """Copy a column's values, row group by row group."""
    width = out_tx.itemsize * (out_tx.shape[1] if out_tx.ndim == 2 else 1)
    if column.type.bit_width != 8 * width or column.null_count:
        raise RecordError(
            f"a column of {column.type}", expected=f"{width} bytes in every row", do="pass a file that `encode` wrote"
        )
    start = 0
    for chunk in column.chunks:
        values = np.frombuffer(
            chunk.buffers()[1], out_tx.dtype.newbyteorder("<"), count=len(chunk) * width // out_tx.itemsize,
            offset=chunk.offset * width,
        )  # fmt: skip
        out_tx[start : start + len(chunk)] = values.reshape(len(chunk), *out_tx.shape[1:])
        start += len(chunk)
