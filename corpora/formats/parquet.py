"""Parquet: read in batches, and of the columns only those that are wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gatescope.corpora.formats import Cut, Row, Table, corpus_format
from gatescope.corpora.opening import check_file, unreadable
from gatescope.corpora.place import Place
from gatescope.routing.row_counts import read_fault, row_fault

BATCH = 256
"""Rows decoded at a time."""
_BUFFER = 2**20


@corpus_format("parquet", ".parquet", ".pq")
def parquet(path: Path, _cut: Cut) -> Table:
    """The table of a Parquet file. Errors: RowError when it cannot be opened or is no whole Parquet file."""
    with _open(path) as file:
        columns = tuple(name for field in file.schema_arrow for name in _leaves(field, ""))
    return Table(columns, lambda wanted: _rows(path, wanted))


def _leaves(field: pa.Field, before: str) -> Iterator[str]:
    """The names of a column, those of a struct's fields dotted."""
    if not pa.types.is_struct(field.type) or not field.type.num_fields:
        yield before + field.name
        return
    for inner in field.type:
        yield from _leaves(inner, f"{before}{field.name}.")


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, its pages read as they are needed."""
    place = Place(path)
    check_file(place)
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True) as file:
            _check(place, row_fault(file.metadata))
            yield file
    except pa.ArrowException as error:
        raise _damaged(place, error) from error
    except OSError as error:
        raise (unreadable(place, error) if error.errno else _damaged(place, error)) from error


def _check(place: Place, fault: str) -> None:
    """Errors: RowError where the file says another number of rows than it holds."""
    if fault:
        raise place.error(fault, expected="as many rows as it says", do="write it again", reason="damaged file")


def _damaged(place: Place, error: Exception) -> Exception:
    found = f"damaged, or no Parquet: {str(error).splitlines()[0][:120]}"
    return place.error(found, expected="a whole Parquet file", do="copy or write it again", reason="damaged file")


def _rows(path: Path, wanted: tuple[str, ...]) -> Iterator[Row]:
    number = 0
    with _open(path) as file:
        for batch in file.iter_batches(BATCH, columns=list(wanted), use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield Place(path, number, "row"), row
        _check(Place(path), read_fault(file.metadata, number))
