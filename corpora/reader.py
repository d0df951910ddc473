"""Files of labelled text: JSON Lines, one text a line.

A file is read whole or not at all: a line that cannot be read is an error, never skipped.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from corpora.line import Place, read_line
from routing.errors import CorpusError
from routing.record import Document


def read_jsonl(path: str | os.PathLike[str]) -> list[Document]:
    """Read a JSON Lines file of labelled texts.

    Returns     one document a line, in the file's order; at least one
    Errors      CorpusError when the file cannot be opened, is empty, holds a line that is not a labelled text, or says
                an id twice; file and line are named
    """
    path = Path(path)
    documents = list(_unrepeated(_lines(path)))
    if not documents:
        do = "write at least one line; docs/corpora.md shows one"
        raise CorpusError(f"{path}: an empty file", expected="one JSON object a line", do=do)
    return documents


def _lines(path: Path) -> Iterator[tuple[Place, Document]]:
    """Every line of the file with its place, as a document."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                place = Place(path, number)
                yield place, read_line(raw, place)
    except OSError as error:
        do = "give the path of a JSON Lines file that this user may read"
        raise CorpusError(f"{path}: {error.strerror}", expected="a readable file", do=do) from error


def _unrepeated(lines: Iterable[tuple[Place, Document]]) -> Iterator[Document]:
    """The same documents; CorpusError at the second use of an id."""
    first: dict[str, int] = {}
    for place, document in lines:
        before = first.setdefault(document.id, place.line)
        if before != place.line:
            found = f"id {document.id!r}, already on line {before}"
            raise place.error(found, expected="each id once in a file", do="give one of the two another id")
        yield document
