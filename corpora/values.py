"""What a text and a label must be, wherever they were read from."""

import datetime
import decimal
import math

from gatescope.corpora.place import Place

MAX_LABEL = 200
"""Characters of the longest domain or language: what is longer is a text in the wrong column."""
MAX_QUOTE = 40


def text_of(value: object, place: Place) -> str:
    """The value as a document's text, unaltered.

    Errors      RowError when it is missing, no string, blank, or cannot be written as UTF-8
    """
    if value is None or value != value:
        do = "write the text or remove the row"
        raise place.error(f"text is {named(value)}", expected="text to be a string", do=do, reason="no text")
    return checked_text(string_of("text", value, place), place)


def checked_text(text: str, place: Place) -> str:
    """The same text, if it says something. Errors: RowError."""
    if text.isspace() or not text:
        do = "write the text or remove the line"
        raise place.error("a blank text", expected="a text that says something", do=do, reason="blank text")
    return text


def string_of(name: str, value: object, place: Place) -> str:
    """The value, if it is a string that UTF-8 can say. Errors: RowError."""
    if not isinstance(value, str):
        do = f"put {name} in double quotes" if name == "text" else f"put {name} in double quotes, or leave it out"
        found, reason = f"{name} is {named(value)}", f"{name} not a string"
        raise place.error(found, expected=f"{name} to be a string", do=do, reason=reason)
    if not _is_unicode(value):
        found, do = f"half a surrogate pair in {name}", "write the character itself, or both \\u halves of it"
        raise place.error(found, expected="whole characters", do=do, reason="half a character")
    return value


def label_of(name: str, value: object, place: Place) -> str:
    """The value as a label: without spaces around it, numbers and dates as they are written, "" where nothing is said.

    >>> here = Place("mine.csv", 2)
    >>> label_of("domain", " law ", here), label_of("domain", 3.0, here), label_of("domain", None, here)
    ('law', '3', '')

    Errors      RowError when it is a list, an object or bytes; or a domain or language of more than `MAX_LABEL` signs
    """
    label = value.strip() if isinstance(value, str) else _written(name, value, place)
    if len(label) > MAX_LABEL and name in ("domain", "language"):
        found, expected = f"a {name} of {len(label)} characters", f"a label of at most {MAX_LABEL}"
        raise place.error(found, expected=expected, do=f"name another column as {name}", reason=f"{name} too long")
    return string_of(name, label, place) if not label.isascii() else label


def _written(name: str, value: object, place: Place) -> str:
    """A label that is no string, as people write it."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float | decimal.Decimal | datetime.date):
        return str(value)
    found, do = f"{name} is {named(value)}", f"name another column as {name}; a dotted name reaches into an object"
    raise place.error(found, expected=f"{name} to be a word or a number", do=do, reason=f"{name} not a word")


def named(value: object) -> str:
    """A value that is in the wrong place, by its kind and, where it is short to say, itself."""
    kinds = {dict: "an object", list: "a list", type(None): "null", bytes: "bytes", str: "the string"}
    kind = kinds.get(type(value), "the value")
    return kind if isinstance(value, dict | list | bytes | None) else f"{kind} {quoted(str(value))}"


def quoted(text: str) -> str:
    """The beginning of a text, so that an error stays readable."""
    return repr(text if len(text) <= MAX_QUOTE else f"{text[: MAX_QUOTE - 1]}…")


def _is_unicode(text: str) -> bool:
    """Half of a surrogate pair is a Python character that no UTF-8 file can hold."""
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
