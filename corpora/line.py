"""One line of a corpus file: the rules it must keep to become a Document."""

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from routing.errors import CorpusError
from routing.record import Document

LABELS = ("domain", "language", "source", "id", "passage")
FIELDS = ("text", *LABELS)
MAX_QUOTE = 40


@dataclass(frozen=True)
class Place:
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def error(self, found: str, *, expected: str, do: str) -> CorpusError:
        """The error that something was found here, ready to raise."""
        return CorpusError(f"{self.path}, line {self.line}: {found}", expected=expected, do=do)


class _RepeatedFieldError(ValueError):
    """An object says the same field twice; json would keep the last one and not tell."""


def read_line(raw: bytes, place: Place) -> Document:
    """Read one line of a corpus file.

    Returns     its document; without an id it gets `file:line`, without a source the file's name
    Errors      CorpusError when the line is not UTF-8, not a JSON object, or its fields break a rule
    """
    fields = _strings(_parse(_decode(raw, place), place), place)
    return Document(
        text=fields["text"],
        id=fields.get("id") or f"{place.path.name}:{place.line}",
        source=fields.get("source") or place.path.name,
        domain=fields.get("domain", ""),
        language=fields.get("language", ""),
    )


def _decode(raw: bytes, place: Place) -> str:
    """The line as text; a byte order mark is taken off the file's first line, where editors put it."""
    if place.line == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
        raise place.error(found, expected="text in UTF-8", do="save the file again with the encoding UTF-8") from error


def _parse(line: str, place: Place) -> dict[str, object]:
    """The line's JSON object."""
    if not line.strip():
        raise place.error("an empty line", expected="one JSON object on every line", do="remove the line")
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except _RepeatedFieldError as error:
        raise place.error(str(error), expected="each field once", do="keep one of the two") from error
    except (ValueError, RecursionError) as error:
        _raise_not_json(line, error, place)
    if not isinstance(value, dict):
        do = 'write {"text": "…"} and the labels; docs/corpora.md shows a line'
        raise place.error(_named(value), expected="a JSON object", do=do)
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs, unless a name repeats."""
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise _RepeatedFieldError(f"the field {_quoted(name)} twice")
        fields[name] = value
    return fields


def _raise_not_json(line: str, error: ValueError | RecursionError, place: Place) -> NoReturn:
    found = f"not JSON ({error}): {_quoted(line.strip())}"
    if isinstance(error, json.JSONDecodeError):
        found = f"not JSON from column {error.colno} ({error.msg}): {_quoted(line.strip())}"
    do = "write the whole object on one line, names and texts in double quotes, line breaks in a text as \\n"
    raise place.error(found, expected="one JSON object on the line", do=do) from error


def _strings(fields: dict[str, object], place: Place) -> dict[str, str]:
    """The same fields, all of them known and strings, the text among them."""
    for name in fields:
        if name not in FIELDS:
            do = "rename or remove the field; docs/corpora.md lists what each means"
            raise place.error(f"the field {_quoted(name)}", expected=f"only {', '.join(FIELDS)}", do=do)
    if "text" not in fields:
        said = ", ".join(fields) or "no field at all"
        raise place.error(f"no text, only {said}", expected="a field text", do="add the field text")
    return {name: _string(name, value, place) for name, value in fields.items()}


def _string(name: str, value: object, place: Place) -> str:
    """A string that can be written as UTF-8; a text that is not blank; a label without spaces around it."""
    if not isinstance(value, str):
        do = f"put {name} in double quotes" if name == "text" else f"put {name} in double quotes, or leave it out"
        raise place.error(f"{name} is {_named(value)}", expected=f"{name} to be a string", do=do)
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        do = "write the character itself, or both \\u halves of it"
        raise place.error(f"half a surrogate pair in {name}", expected="whole characters", do=do)
    if name == "text" and not value.strip():
        raise place.error("a blank text", expected="a text that says something", do="write the text or remove the line")
    if name != "text" and value != value.strip():
        found = f"{name} {_quoted(value)}"
        raise place.error(found, expected="a label without spaces around it", do="remove the spaces")
    return value


def _named(value: object) -> str:
    """A JSON value that is in the wrong place, by its kind and, where it is short to say, itself."""
    kinds = {dict: "an object", list: "a list", type(None): "null", str: "the string"}
    kind = kinds.get(type(value), "the value")
    return kind if isinstance(value, dict | list | type(None)) else f"{kind} {_quoted(str(value))}"


def _quoted(text: str) -> str:
    """The beginning of a text, so that an error stays readable."""
    return repr(text if len(text) <= MAX_QUOTE else f"{text[: MAX_QUOTE - 1]}…")
