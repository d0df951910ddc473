"""Routes in the long form that SQL and data frames take: one row for each token, layer and filled slot, in that order.

    document  int32    number of the text, from 0
    position  int32    place of the token in it, from 0
    token_id  int32    id of the token
    token     text     its text; null where the capture does not hold it
    layer     int16    number of the MoE layer, from 0
    slot      int16    0 for the expert of the largest weight, then 1, 2 …
    expert    int32    the expert that ran
    weight    float32  what its output was multiplied by; null where no weights were recorded

An empty slot has no row. Written as Parquet, or as CSV where the name says so; in CSV a token is a JSON string, so that
it stays on one line and no spreadsheet takes it for a formula.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gatescope.cache.disk import explained
from gatescope.cache.partial import PartialRecord
from gatescope.cache.temporary import sweep_folders, working_folder
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError
from gatescope.routing.record import empty_slot

ROWS_AT_ONCE = 1 << 20
FORMATS = (".parquet", ".csv")
_PARTIAL = ".gatescope-partial-"


class _Part(NamedTuple):
    """The routes of some tokens."""

    document_t: NDArray[np.int32]
    position_t: NDArray[np.int32]
    token_t: NDArray[np.int32]
    ids_tlk: NDArray[np.unsignedinteger]
    weight_tlk: NDArray[np.float16] | None


def export_long(source: RoutingRecord | Path | str, out: Path | str) -> int:
    """Write a capture, or a file of one, as a table of its routes; how many rows. A file is read a part at a time.

    A file that is there is replaced once the new one is whole. Errors: OptionError for another ending than .parquet and
    .csv, or the file itself as its table; StoreError, CaptureDamagedError; StorageFullError.
    """
    out = Path(out)
    if out.suffix not in FORMATS:
        raise _no(f"a table called {out.name}", " or ".join(FORMATS))
    if isinstance(source, RoutingRecord):
        return _write(_of_record(source), source.pieces, out)
    if out.exists() and out.samefile(source):
        raise _no(f"{out} as its own table", "another file")
    with PartialRecord(source) as partial:
        partial.check_seal()
        return _write(_of_file(partial), partial.pieces, out)


def _of_record(record: RoutingRecord) -> Iterator[_Part]:
    whole = _Part(record.document_t, record.position_t, record.token_t, record.ids_tlk, record.weight_tlk)
    yield from _cut(whole)


def _of_file(partial: PartialRecord) -> Iterator[_Part]:
    for rows in partial.row_groups():
        document_t, position_t, token_t = (rows.column(name) for name in ("document", "position", "token"))
        weight_tlk = rows.weights() if partial.has_weights else None
        yield from _cut(_Part(document_t, position_t, token_t, rows.ids(), weight_tlk))


def _cut(part: _Part) -> Iterator[_Part]:
    """The same in parts that make a table of about so many rows; one at least, so that no table is without columns."""
    tokens, layers, slots = part.ids_tlk.shape
    step = max(1, ROWS_AT_ONCE // (layers * slots))
    for start in range(0, max(tokens, 1), step):
        rows = slice(start, start + step)
        weight_tlk = None if part.weight_tlk is None else part.weight_tlk[rows]
        yield _Part(part.document_t[rows], part.position_t[rows], part.token_t[rows], part.ids_tlk[rows], weight_tlk)


def _write(parts: Iterator[_Part], pieces: Mapping[int, str], out: Path) -> int:
    """Write the parts; how many rows."""
    texts = _Texts(pieces, as_json=out.suffix == ".csv")
    rows = 0
    with _whole_file(out) as temporary, _writer(temporary, out.suffix, texts.type) as write:
        for part in parts:
            table = _table(part, texts)
            rows += table.num_rows
            write(table)
    return rows


class _Texts:
    """The text of each token id, as a column."""

    def __init__(self, pieces: Mapping[int, str], *, as_json: bool) -> None:
        known = sorted(pieces)
        self._id_v = np.array(known, np.int64)
        plain = (pieces[id].encode("utf-8", "backslashreplace").decode() for id in known)
        spelt = [json.dumps(piece, ensure_ascii=False) if as_json else piece for piece in plain]
        self._text_v = pa.array(spelt, pa.string())
        self._as_json = as_json
        self.type = pa.string() if as_json else pa.dictionary(pa.int32(), pa.string())

    def of(self, token_t: NDArray[np.int32], row_r: NDArray[np.intp]) -> pa.Array:
        """A text for each row, which is one of some token."""
        at_t = np.searchsorted(self._id_v, token_t)
        is_known_t = np.append(self._id_v, np.iinfo(np.int64).max)[at_t] == token_t
        index = pa.array(at_t.astype(np.int32)[row_r], mask=~is_known_t[row_r])
        return self._text_v.take(index) if self._as_json else pa.DictionaryArray.from_arrays(index, self._text_v)


def _schema(text: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("document", pa.int32()),
            ("position", pa.int32()),
            ("token_id", pa.int32()),
            ("token", text),
            ("layer", pa.int16()),
            ("slot", pa.int16()),
            ("expert", pa.int32()),
            ("weight", pa.float32()),
        ]
    )


def _table(part: _Part, texts: _Texts) -> pa.Table:
    """The rows of some tokens."""
    token_r, layer_r, slot_r = np.nonzero(part.ids_tlk != empty_slot(part.ids_tlk.dtype))
    if part.weight_tlk is None:
        weights = pa.nulls(len(token_r), pa.float32())
    else:
        weights = pa.array(part.weight_tlk[token_r, layer_r, slot_r].astype(np.float32))
    columns = [
        part.document_t[token_r],
        part.position_t[token_r],
        part.token_t[token_r],
        texts.of(part.token_t, token_r),
        layer_r.astype(np.int16),
        slot_r.astype(np.int16),
        part.ids_tlk[token_r, layer_r, slot_r].astype(np.int32),
        weights,
    ]
    return pa.table(columns, schema=_schema(texts.type))


@contextmanager
def _writer(path: Path, suffix: str, text: pa.DataType) -> Iterator[Callable[[pa.Table], object]]:
    """What writes one table after another into a file."""
    schema = _schema(text)
    if suffix == ".csv":
        with pa.csv.CSVWriter(path, schema) as lines:
            yield lines.write_table
    else:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            yield writer.write_table


@contextmanager
def _whole_file(out: Path) -> Iterator[Path]:
    """A new file near `out` that takes its place once it is whole, and is gone where that fails."""
    with explained(out.parent):
        sweep_folders(out.parent, prefix=_PARTIAL)
        with working_folder(out.parent, prefix=_PARTIAL, name=out.name) as made:
            yield made / out.name
            (made / out.name).replace(out)


def _no(found: str, expected: str) -> OptionError:
    return OptionError(found, expected=expected, do="name another file to write")
