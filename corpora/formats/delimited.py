"""CSV and TSV: a header line that names the columns, then a row a line; a quoted cell may hold line breaks."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from gatescope.corpora.formats import Cut, Row, Table, corpus_format
from gatescope.corpora.opening import MAX_ROW_BYTES, decoded, lines, opened
from gatescope.corpora.place import Place, RowError

SEPARATORS = ",;\t|"
"""What may stand between cells; the header line tells which, by having most of it."""


MOST_ROW_LINES = 100_000
"""Lines of one row: more are no row, but a quotation mark that nobody closed."""


class _Lines:
    """The lines of a stream as text. Unlike a generator it goes on after a line that is not UTF-8."""

    def __init__(self, stream: io.BufferedReader, path: Path) -> None:
        self._raw, self._path, self.number, self.row_begins = lines(stream), path, 0, 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        raw = next(self._raw)
        self.number += 1
        place = Place(self._path, self.number)
        if self.number - self.row_begins >= MOST_ROW_LINES:
            self.row_begins = self.number
            found = f"a row of more than {MOST_ROW_LINES:,} lines, from line {place.line - MOST_ROW_LINES:,} on"
            do = 'look for a " that is never closed'
            raise place.error(found, expected="rows of a few lines", do=do, reason="too long")
        if len(raw) > MAX_ROW_BYTES:
            found, do = f"a line longer than {MAX_ROW_BYTES >> 20} MiB", "cut the text into documents"
            raise place.error(found, expected="rows that fit into memory", do=do, reason="too long")
        return decoded(raw, place)


@corpus_format("csv", ".csv", ".tsv", ".tab")
def delimited(path: Path, _cut: Cut) -> Table:
    """The table of a CSV or TSV file. Errors: RowError when it cannot be opened or its first line is no header."""
    with opened(path) as stream:
        texts = _Lines(stream, path)
        first = next(texts)
        header = _header(first, texts, path)
    return Table(header, lambda _wanted: _rows(path, header, _separator(first)))


def _separator(header: str) -> str:
    """The sign that separates the names of a header; a comma where there is none.

    >>> _separator("text;domain"), _separator("text")
    (';', ',')
    """
    return max(SEPARATORS, key=header.count)


def _header(first: str, rest: _Lines, path: Path) -> tuple[str, ...]:
    place = Place(path, 1)
    cells = _cells(_reader(_after(first, rest), _separator(first)), place)
    if isinstance(cells, RowError):
        raise cells
    names = [cell.strip() for cell in cells]
    if len(set(names)) < len(names):
        found = f"the column {max(names, key=names.count)!r} twice in the header"
        raise place.error(found, expected="each column named once", do="rename one of the two", reason="header")
    return tuple(names)


def _after(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _reader(texts: Iterator[str], separator: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_ROW_BYTES)  # of the whole process; its default refuses texts above 128 KiB
    return csv.reader(texts, delimiter=separator, strict=True)


def _cells(reader: Iterator[list[str]], place: Place) -> list[str] | RowError:
    """The next row's cells, or why there are none. Raises StopIteration at the end of the file."""
    try:
        return next(reader)
    except RowError as error:
        return error
    except csv.Error as error:
        do = 'double every " within a quoted cell, quote cells that hold line breaks, end lines with LF'
        return place.error(f"not CSV ({error})", expected="a row of cells", do=do, reason="not CSV")


def _rows(path: Path, header: tuple[str, ...], separator: str) -> Iterator[Row]:
    """Every row after the header, as cells by column; its place is the line it begins on."""
    with opened(path) as stream:
        texts = _Lines(stream, path)
        reader = _reader(texts, separator)
        next(reader)
        while True:
            texts.row_begins = texts.number + 1
            place = Place(path, texts.row_begins)
            try:
                cells = _cells(reader, place)
            except StopIteration:
                return
            yield place, cells if isinstance(cells, RowError) else _named(cells, header, place)


def _named(cells: list[str], header: tuple[str, ...], place: Place) -> dict[str, str] | RowError:
    if len(cells) == len(header):
        return dict(zip(header, cells, strict=True))
    if not cells:
        return place.error("an empty line", expected="a row of cells", do="remove the line", reason="empty line")
    found, expected = f"a row of {len(cells)}", f"{len(header)} cells, as in the header"
    do = "put cells that hold separators or line breaks in double quotes"
    return place.error(found, expected=expected, do=do, reason="ragged row")
