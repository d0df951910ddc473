"""Which column of a user's file is the text, and which are its labels."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import methodcaller
from typing import Any, Final

from gatescope.routing.errors import CorpusError

OBVIOUS: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text", "content", "document"),
    "domain": ("domain", "label", "category", "subject"),
    "language": ("language", "lang", "locale"),
    "id": ("id",),
    "source": ("source",),
}
"""For each part of a document the column names that are taken for it unasked, whatever their case."""

DEPTH = 5
"""Objects within objects that a list of columns looks into; a dotted name may go deeper where `DEPTH` ends."""

_SHOWN = 30


class Folder(enum.Enum):
    """The kind of `FOLDER`."""

    NAME = "the folder's name"


FOLDER: Final = Folder.NAME
"""As a column: the name of the sub-folder a file is in."""


@dataclass(frozen=True)
class Constant:
    """As a column: this label for every document."""

    value: str


Column = str | Constant | Folder | None


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where each part of a document is read from.

    A column's name; a dotted name reaches into nested objects (`meta.subject`). "" looks for an obvious name and goes
    without a label when there is none. `Constant("law")` labels every document alike, `FOLDER` takes the name of the
    sub-folder, None leaves the label out.
    """

    text: str = ""
    domain: Column = ""
    language: Column = ""
    id: str | None = ""
    source: str | Constant | None = ""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What `Columns` came to in one file: a column, a constant or `FOLDER` for each part, None where there is none."""

    text: str
    domain: Column = None
    language: Column = None
    id: Column = None
    source: Column = None

    def wanted(self) -> tuple[str, ...]:
        """The columns to read."""
        chosen = (getattr(self, item.name) for item in fields(self))
        return tuple(dict.fromkeys(name for name in chosen if isinstance(name, str)))

    def __str__(self) -> str:
        chosen = {item.name: getattr(self, item.name) for item in fields(self)}
        return ", ".join(f"{part} = {_said(column)}" for part, column in chosen.items() if column is not None)


def _said(column: Column) -> str:
    if isinstance(column, Constant):
        return f"{column.value!r} throughout"
    return column.value if isinstance(column, Folder) else str(column)


def find(columns: Columns, offered: tuple[str, ...], where: str) -> Layout:
    """The columns to read, out of those a file offers (nested ones by their dotted names).

    Errors      CorpusError when a named column is absent, or the text or a label could be several columns
    """
    chosen: dict[str, Any] = {}
    for part in OBVIOUS:
        column = getattr(columns, part)
        if column == "":
            column = _obvious(part, offered, where)
        elif isinstance(column, str):
            _check_there(column, part, offered, where)
        chosen[part] = column
    return Layout(**chosen)


def _obvious(part: str, offered: tuple[str, ...], where: str) -> str | None:
    """The one column that is obviously this part; its own name goes before the others."""
    names = OBVIOUS[part]
    found = [name for name in offered if name.casefold() in names]
    found = [name for name in found if name.casefold() == part] or found
    found = [name for name in found if name == part] or found
    if not found and part == "text":
        return _only(offered, where)
    if len(found) > 1:
        expected, do = f"one column to be the {part}", f"say which: {_how(part, found[0])}"
        raise CorpusError(f"{where}: the columns {' and '.join(found)}", expected=expected, do=do)
    return found[0] if found else None


def _only(offered: tuple[str, ...], where: str) -> str:
    if len(offered) == 1:
        return offered[0]
    found = f"{where}: no column named {', '.join(OBVIOUS['text'][:-1])} or {OBVIOUS['text'][-1]}, {_listed(offered)}"
    do = f"name the column of the text: {_how('text', offered[0] if offered else 'body')}"
    raise CorpusError(found, expected="a column that is obviously the text", do=do)


def _check_there(column: str, part: str, offered: tuple[str, ...], where: str) -> None:
    inside = any(name.startswith(f"{column}.") or column.startswith(f"{name}.") for name in offered)
    if column not in offered and not inside:
        found = f"{where}: no column {column!r}, {_listed(offered)}"
        raise CorpusError(found, expected=f"a column for the {part}", do=f"check the name given as {part}")


def _how(part: str, column: str) -> str:
    return f"Columns({part}={column!r}), on the command line --{part} {column}"


def _listed(offered: tuple[str, ...]) -> str:
    shown = ", ".join(offered[:_SHOWN]) or "none at all"
    more = f" and {len(offered) - _SHOWN} more" if len(offered) > _SHOWN else ""
    return f"only {shown}{more}"


def getter(column: str) -> Callable[[Mapping[str, Any]], object]:
    """A function that takes this column out of a row; None where the row lacks it.

    >>> getter("meta.subject")({"meta": {"subject": "law"}}), getter("a.b")({"a.b": 1}), getter("a")({})
    ('law', 1, None)
    """
    if "." not in column:
        return methodcaller("get", column)
    parts = column.split(".")

    def nested(row: Mapping[str, Any]) -> object:
        if column in row:
            return row[column]
        value: object = row
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    return nested


def leaves(row: Mapping[str, object], before: str = "", depth: int = DEPTH) -> tuple[str, ...]:
    """The names of a row's columns, those of nested objects dotted, down to `DEPTH` objects in each other.

    >>> leaves({"text": "a", "meta": {"subject": "law", "tags": []}})
    ('text', 'meta.subject', 'meta.tags')
    """
    names: list[str] = []
    for name, value in row.items():
        nested = leaves(value, f"{before}{name}.", depth - 1) if depth and isinstance(value, Mapping) else ()
        names += nested or (before + name,)
    return tuple(names)
