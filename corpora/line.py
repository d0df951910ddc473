"""One line of a JSON Lines file: its object, and the strict rules of a file in Gatescope's own form."""

import json
from collections.abc import Mapping
from typing import NoReturn

from gatescope.corpora.opening import MAX_ROW_BYTES, decoded
from gatescope.corpora.place import Place, RowError
from gatescope.corpora.values import checked_text, named, quoted, string_of
from gatescope.routing.record import Document

LABELS = ("domain", "language", "source", "id", "passage")
FIELDS = ("text", *LABELS)


class _RepeatedFieldError(ValueError):
    """An object says the same field twice; json would keep the last one and not tell."""


def strict_document(fields: Mapping[str, object], place: Place) -> Document:
    """The document of a line in Gatescope's own form: the fields of `corpora/schema.json` and no other.

    Returns     its document; without an id it gets `file:line`, without a source the file's name
    Errors      RowError when a field breaks a rule
    """
    labels = _strings(fields, place)
    name = str(getattr(place.path, "name", place.path))
    return Document(
        text=labels["text"],
        id=labels.get("id") or f"{name}:{place.line}",
        source=labels.get("source") or name,
        domain=labels.get("domain", ""),
        language=labels.get("language", ""),
    )


def parse_line(raw: bytes, place: Place) -> dict[str, object]:
    """The JSON object of one line in UTF-8.

    Errors      RowError when the line is empty, too long, not UTF-8, not one JSON object, or says a field twice
    """
    if len(raw) > MAX_ROW_BYTES:
        found, expected = f"a line longer than {MAX_ROW_BYTES >> 20} MiB", "one JSON object on every line"
        raise place.error(found, expected=expected, do="cut the text into documents", reason="too long")
    if raw.isspace():
        do = "remove the line"
        raise place.error("an empty line", expected="one JSON object on every line", do=do, reason="empty line")
    line = decoded(raw, place)
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except _RepeatedFieldError as error:
        do = "keep one of the two"
        raise place.error(str(error), expected="each field once", do=do, reason="field twice") from error
    except (ValueError, RecursionError) as error:
        _raise_not_json(line, error, place)
    if not isinstance(value, dict):
        do = 'write {"text": "…"} and the labels; docs/corpora.md shows a line'
        raise place.error(named(value), expected="a JSON object", do=do, reason="not an object")
    return value


def parsed(raw: bytes, place: Place) -> dict[str, object] | RowError:
    """`parse_line`, with the error returned: a reader may count it and go on."""
    try:
        return parse_line(raw, place)
    except RowError as error:
        return error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs, unless a name repeats."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedFieldError(f"the field {quoted(max(names, key=names.count))} twice")
    return fields


def _raise_not_json(line: str, error: ValueError | RecursionError, place: Place) -> NoReturn:
    found = f"not JSON ({error}): {quoted(line.strip())}"
    if isinstance(error, json.JSONDecodeError):
        found = f"not JSON from column {error.colno} ({error.msg}): {quoted(line.strip())}"
    do = "write the whole object on one line, names and texts in double quotes, line breaks in a text as \\n"
    raise place.error(found, expected="one JSON object on the line", do=do, reason="not JSON") from error


def _strings(fields: Mapping[str, object], place: Place) -> dict[str, str]:
    """The same fields, all of them known and strings, the text among them."""
    for name in fields:
        if name not in FIELDS:
            found, expected = f"the field {quoted(name)}", f"only {', '.join(FIELDS)}"
            do = "rename or remove the field; docs/corpora.md lists what each means"
            raise place.error(found, expected=expected, do=do, reason="unknown field")
    if "text" not in fields:
        labels = ", ".join(fields) or "no field at all"
        found, do = f"no text, only {labels}", "add the field text"
        raise place.error(found, expected="a field text", do=do, reason="no text")
    return {name: _checked(name, string_of(name, value, place), place) for name, value in fields.items()}


def _checked(name: str, value: str, place: Place) -> str:
    """A text that is not blank; a label without spaces around it."""
    if name == "text":
        return checked_text(value, place)
    if value != value.strip():
        found, expected = f"{name} {quoted(value)}", "a label without spaces around it"
        raise place.error(found, expected=expected, do="remove the spaces", reason="spaces around a label")
    return value
