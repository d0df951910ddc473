"""The formats a corpus file may have, one file of this folder each.

A format is one function with the decorator `corpus_format`: from a path to a `Table`. The suffixes given there are all
that the reader, the command line and their messages go by.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gatescope.corpora.opening import PACKED
from gatescope.corpora.place import Place, RowError
from gatescope.routing.errors import CorpusError

Cut = Literal["file", "paragraphs"] | int
"""What one document of a plain text is: the whole file, a stretch between blank lines, or so many words."""

Row = tuple[Place, Mapping[str, Any] | RowError]
"""A row's place, and its columns or why it cannot be read."""


@dataclass(frozen=True)
class Table:
    """A file that can be read: the columns it offers, and a function that reads the rows of those wanted.

    `rows` streams: it holds one row, or one batch of rows, at a time. A row that cannot be read comes as a `RowError`;
    a `RowError` that is raised ends the file.
    """

    columns: tuple[str, ...]
    rows: Callable[[tuple[str, ...]], Iterator[Row]]


class Format(NamedTuple):
    """A way to read a file."""

    name: str
    suffixes: tuple[str, ...]
    table: Callable[[Path, Cut], Table]


FORMATS: dict[str, Format] = {}
"""Every format by its name."""


def corpus_format(name: str, *suffixes: str) -> Callable[[Callable[[Path, Cut], Table]], Callable[[Path, Cut], Table]]:
    """Enter a function as the reader of files with these suffixes."""

    def enter(table: Callable[[Path, Cut], Table]) -> Callable[[Path, Cut], Table]:
        FORMATS[name] = Format(name, suffixes, table)
        return table

    return enter


def format_of(path: Path) -> Format | None:
    """The format a file's name ends in, before .gz or .zst; None where no format is known by it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    return next((each for each in FORMATS.values() if last in each.suffixes), None)


def named_format(name: str) -> Format:
    """The format of this name. Errors: CorpusError."""
    if name not in FORMATS:
        do = "leave the format out to go by the file's name"
        raise CorpusError(f"a format {name!r}", expected=f"one of {', '.join(FORMATS)}", do=do)
    return FORMATS[name]


def all_suffixes() -> str:
    """The suffixes of every format, to be shown."""
    return " ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
