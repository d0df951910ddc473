"""A routing record as one Parquet file, and back, bit for bit.

One row per token. Per layer one column of fixed-size binary holds a token's slots together (`ids_layer0`,
`weight_layer0`, `logit_layer0`), so a layer is read without the others and decoded without touching single values.
The per-token scalars of all layers lie side by side in one such column each (`margin`, `entropy`, `lse`, `rejected`);
numbers are little-endian. Apache Arrow reads all of it; readers that do not know byte-stream split of binaries (DuckDB
2.0) read documents, tokens, losses and ids: `cache.long_form` writes what everybody reads.

    token document position flag [loss] [predicted]     one number per row
    ids_layerN weight_layerN logit_layerN               k, k and E numbers per row
    [wanted_ids_layerN wanted_weight_layerN]            k and k, of captures made inside an intervention
    rejected margin entropy lse                         one number per layer and row

Everything else is in the file's metadata. Under the key `gatescope` as JSON: layers, provenance, the names of the
arrays present, and the version of this schema. Under `gatescope.texts` the documents and the pieces: JSON, compressed
by zstd, in base64. An array the record lacks has no column. Each page of a column carries a checksum of its own.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord
from gatescope.routing.errors import RecordError, StoreError
from gatescope.routing.row_counts import read_fault, row_fault

SCHEMA_VERSION = 3
PLAIN_VERSION = 2
"""What a record is written as that holds nothing of version 3, so that programs of version 2 read it too."""

SINCE_THREE = frozenset({"wanted_ids_tlk", "wanted_weight_tlk"})
ROW_GROUP_TOKENS = 131_072


class Migration(NamedTuple):
    """How a file of one version becomes one of the next: what it says, and its columns (None: they stay)."""

    header: Callable[[dict[str, Any]], dict[str, Any]]
    table: Callable[[pa.Table], pa.Table] | None = None


MIGRATIONS: dict[int, Migration] = {
    1: Migration(header=dict),  # the texts stood beside the rest, uncompressed: `texts` finds them there
    2: Migration(header=dict),  # what routers wanted was not kept where something else ran
}
"""By the version of a file, how it becomes one of the next."""

_KEY, _TEXTS_KEY = b"gatescope", b"gatescope.texts"
_TEXTS = "zstd"
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
    """What a file says beside its numbers and texts; `arrays` are the dtypes of the arrays present, by name."""

    version: int
    layers: tuple[RouterRule, ...]
    provenance: Provenance
    arrays: Mapping[str, str]
    slots: int

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis but the tokens'."""
        return {"l": len(self.layers), "k": self.slots, "e": max(rule.experts for rule in self.layers)}

    @property
    def has_columns_of_now(self) -> bool:
        """Whether its columns are those that would be written now, so that some may be read without the others."""
        return all(MIGRATIONS[version].table is None for version in range(self.version, SCHEMA_VERSION))


class Texts(NamedTuple):
    """The texts of a file, and what its token ids stand for."""

    documents: tuple[Document, ...]
    pieces: Mapping[int, str]


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
        writer.add_key_value_metadata(_describe(record))
    return memoryview(sink.getvalue())


def decode(data: bytes | memoryview | pa.Buffer, *, checks_pages: bool = False) -> RoutingRecord:
    """The record that `encode` wrote, now or in an older version.

    Arrays that this program does not know are left out. Errors: StoreError where a newer version wrote it, RecordError
    where it breaks a rule.
    """
    file = open_parquet(data, checks_pages=checks_pages)
    about, texts = read_about(file), read_texts(file)
    table = _migrated(file.read(), about.version)
    _check_rows(read_fault(file.metadata, table.num_rows))
    known = {name: kind for name, kind in about.arrays.items() if name in RoutingRecord.__dataclass_fields__}
    arrays = {name: read_array(table, name, np.dtype(kind), about.sizes) for name, kind in known.items()}
    absent: dict[str, Any] = {"weight_tlk": None}
    return RoutingRecord(
        **(absent | arrays),
        documents=texts.documents,
        layers=about.layers,
        provenance=about.provenance,
        pieces=texts.pieces,
    )


def open_parquet(data: bytes | memoryview | pa.Buffer, *, checks_pages: bool = False) -> pq.ParquetFile:
    """The Parquet file in these bytes, of which nothing but its end has been read."""
    return pq.ParquetFile(
        pa.BufferReader(pa.py_buffer(data)),
        thrift_string_size_limit=2**31 - 1,
        pre_buffer=False,
        page_checksum_verification=checks_pages,
    )


def read_about(file: pq.ParquetFile) -> About:
    """What the file says of itself. Errors: StoreError where a newer version wrote it, RecordError for another file."""
    header = _said(file)
    _check_rows(row_fault(file.metadata))
    return About(
        version=header["schema_version"],
        layers=tuple(RouterRule(**rule) for rule in header["layers"]),
        provenance=Provenance(**header["provenance"]),
        arrays=header["arrays"],
        slots=header["slots"],
    )


def read_texts(file: pq.ParquetFile) -> Texts:
    """The texts of the file. Errors: as `read_about`."""
    header, packed = _said(file), file.metadata.metadata.get(_TEXTS_KEY)
    if packed is not None:
        plain = pa.decompress(b64decode(packed), header["texts_bytes"], _TEXTS, asbytes=True)
        header = json.loads(plain.decode("utf-8", "surrogatepass"))
    return Texts(
        documents=tuple(Document(**document) for document in header["documents"]),
        pieces={int(token): piece for token, piece in header["pieces"].items()},
    )


def _check_rows(fault: str) -> None:
    """Errors: RecordError where a file says another number of rows than it holds."""
    if fault:
        raise RecordError(fault, expected="as many rows as it says", do="pass a file that `encode` wrote")


def _said(file: pq.ParquetFile) -> dict[str, Any]:
    """The first part of the metadata as the version of now would have it, but for the file's own version."""
    header = json.loads((file.metadata.metadata or {}).get(_KEY, b"{}"))
    version = header.get("schema_version") if isinstance(header, dict) else None
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
    now: dict[str, Any] = header
    for step in range(version, SCHEMA_VERSION):
        now = MIGRATIONS[step].header(now)
    return now


def _migrated(table: pa.Table, version: int) -> pa.Table:
    """The columns that the version of now would have."""
    for step in range(version, SCHEMA_VERSION):
        change = MIGRATIONS[step].table
        table = change(table) if change else table
    return table


def _describe(record: RoutingRecord) -> dict[bytes, bytes]:
    """Everything that is not an array, as the file's metadata."""
    texts = {
        "documents": [_document(document) for document in record.documents],
        "pieces": {str(int(token)): piece for token, piece in record.pieces.items()},
    }
    try:
        plain = json.dumps(texts, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        about = {
            "schema_version": SCHEMA_VERSION if SINCE_THREE & dict(record.arrays()).keys() else PLAIN_VERSION,
            "slots": record.slots,
            "arrays": {name: array.dtype.name for name, array in record.arrays()},
            "layers": [asdict(rule) for rule in record.layers],
            "provenance": _provenance(record.provenance),
            "texts_bytes": len(plain),
        }
        header = json.dumps(about, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"documents, layers or provenance that JSON cannot hold: {error}",
            expected="text, numbers, true, false or nothing",
            do="convert such values (numpy numbers, paths) before making the record",
        ) from error
    return {_KEY: header, _TEXTS_KEY: b64encode(pa.compress(plain, _TEXTS, asbytes=True))}


def _document(document: Document) -> Mapping[str, object]:
    """As a dictionary; what came after the first captures were kept is written only where it is true."""
    whole = asdict(document)
    if not whole["language_guessed"]:
        del whole["language_guessed"]
    return whole


def _provenance(provenance: Provenance) -> Mapping[str, object]:
    """As a dictionary, whatever kind of mapping its options are."""
    whole: dict[str, object] = {name: getattr(provenance, name) for name in provenance.__dataclass_fields__}
    if not provenance.threads:  # as records of before say nothing of them
        del whole["threads"]
    return whole | {"versions": dict(provenance.versions), "options": dict(provenance.options)}


def _columns(name: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Names and parts of the columns an array is kept in."""
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    parts = [array] if array.ndim < 3 else [array[:, layer] for layer in range(array.shape[1])]
    return dict(zip(column_names(name, range(len(parts))), parts, strict=True))


def _to_arrow(part_tx: NDArray[Any]) -> pa.Array:
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
) -> NDArray[Any]:
    """One array of a record out of its columns, of all layers or of these."""
    axes = name.rsplit("_", 1)[1]
    numbers = range(sizes["l"]) if layers is None else layers
    sizes = {**sizes, "l": len(numbers)} if len(axes) == 3 else sizes
    out_tx = np.empty((table.num_rows, *(sizes[axis] for axis in axes[1:])), dtype=dtype)
    parts = [out_tx] if len(axes) < 3 else [out_tx[:, at] for at in range(len(numbers))]
    for part_tx, column in zip(parts, column_names(name, numbers), strict=True):
        _fill(part_tx, table.column(column))
    return out_tx


def _fill(out_tx: NDArray[Any], column: pa.ChunkedArray) -> None:
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
