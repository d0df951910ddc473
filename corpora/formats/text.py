"""Plain text: a file is one document, or is cut at blank lines or after a number of words."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gatescope.corpora.formats import Cut, Row, Table, corpus_format
from gatescope.corpora.opening import MAX_ROW_BYTES, decoded, lines, opened
from gatescope.corpora.place import Place
from gatescope.routing.errors import OptionError

COLUMN = "text"
"""The one column of a plain text."""

_WORD = re.compile(r"\s*\S+")


class _Piece(NamedTuple):
    """Bytes or text of one document, from the line it begins on."""

    line: int
    text: str


@corpus_format("text", ".txt", ".text", ".md")
def text(path: Path, cut: Cut) -> Table:
    """The table of a plain text: its only column is `text`. Errors: RowError, OptionError."""
    with opened(path):
        pieces = _cutter(cut)
    return Table((COLUMN,), lambda _wanted: _rows(path, pieces))


def _cutter(cut: Cut) -> Callable[[io.BufferedReader, Path], Iterator[_Piece]]:
    if cut == "file":
        return _whole
    if cut == "paragraphs":
        return _paragraphs
    if isinstance(cut, int) and cut > 0:
        return lambda stream, path: _words(stream, path, cut)
    do = "choose how a text file is cut into documents"
    raise OptionError(f"cut {cut!r}", expected="'file', 'paragraphs' or a number of words above 0", do=do)


def _rows(path: Path, pieces: Callable[[io.BufferedReader, Path], Iterator[_Piece]]) -> Iterator[Row]:
    with opened(path) as stream:
        for piece in pieces(stream, path):
            yield Place(path, piece.line), {COLUMN: piece.text}


def _whole(stream: io.BufferedReader, path: Path) -> Iterator[_Piece]:
    """The file, exactly."""
    raw = stream.read(MAX_ROW_BYTES + 1)
    _check_length(len(raw), Place(path))
    yield _Piece(1, decoded(raw, Place(path)))


def _check_length(length: int, place: Place) -> None:
    if length > MAX_ROW_BYTES:
        found, do = f"a text longer than {MAX_ROW_BYTES >> 20} MiB", "cut it at paragraphs or after a number of words"
        raise place.error(found, expected="texts that fit into memory", do=do, reason="too long")


def _paragraphs(stream: io.BufferedReader, path: Path) -> Iterator[_Piece]:
    """The stretches between blank lines, without the line break at their end."""
    held: list[str] = []
    begins = length = 0
    for number, raw in enumerate(lines(stream), 1):
        line = decoded(raw, Place(path, number))
        if line.isspace():
            if held:
                yield _Piece(begins, "".join(held).rstrip("\r\n"))
            held, length = [], 0
            continue
        begins = begins if held else number
        held.append(line)
        length += len(raw)
        _check_length(length, Place(path, begins))
    if held:
        yield _Piece(begins, "".join(held).rstrip("\r\n"))


def _words(stream: io.BufferedReader, path: Path, count: int) -> Iterator[_Piece]:
    """Stretches of `count` words, the white space within them kept, that around them left out."""
    held: list[str] = []
    begins = length = 0
    for number, raw in enumerate(lines(stream), 1):
        _check_length(len(raw), Place(path, number))
        line = decoded(raw, Place(path, number))
        end = 0
        for word in _WORD.finditer(line):
            begins = begins if held else number
            held.append(word[0])
            end = word.end()
            if len(held) == count:
                yield _Piece(begins, "".join(held).strip())
                held, length = [], 0
        if held:
            held[-1] += line[end:]
        length = length + len(raw) if held else 0
        _check_length(length, Place(path, begins))
    if held:
        yield _Piece(begins, "".join(held).strip())
