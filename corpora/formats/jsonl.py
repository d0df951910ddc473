"""JSON Lines: one object on every line; its fields, and those of objects within it, are the columns."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gatescope.corpora.columns import leaves
from gatescope.corpora.formats import Cut, Row, Table, corpus_format
from gatescope.corpora.line import parsed
from gatescope.corpora.opening import lines, opened
from gatescope.corpora.place import Place, RowError

PEEKED = 100
"""Lines that are looked at for names of columns: a label must occur in one of them."""
_PEEKED_BYTES = 2**24


@corpus_format("jsonl", ".jsonl", ".ndjson")
def jsonl(path: Path, _cut: Cut) -> Table:
    """The table of a JSON Lines file; its columns are those of the first `PEEKED` lines. Errors: RowError."""
    return Table(_columns(path), lambda _wanted: json_rows(path))


def json_rows(path: Path) -> Iterator[Row]:
    """Every line of the file, with all of its fields. Errors: RowError when the file cannot be opened."""
    with opened(path) as stream:
        for number, raw in enumerate(lines(stream), 1):
            place = Place(path, number)
            yield place, parsed(raw, place)


def _columns(path: Path) -> tuple[str, ...]:
    """The fields of the first lines, in the order of their first appearance."""
    seen: dict[str, None] = {}
    taken, rows = 0, []
    with opened(path) as stream:
        for number, raw in enumerate(islice(lines(stream), PEEKED), 1):
            rows.append(parsed(raw, Place(path, number)))
            seen |= dict.fromkeys(() if isinstance(rows[-1], RowError) else leaves(rows[-1]))
            taken += len(raw)
            if taken > _PEEKED_BYTES:
                break
    faults = [row for row in rows if isinstance(row, RowError)]
    if faults and len(faults) == len(rows):
        raise faults[0]
    return tuple(seen)
