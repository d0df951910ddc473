"""What the two containers of the plain form have in common: names, and what is said of layers and of the model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.reading.layers import MORE, Seen, check_count
from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document
from gatescope.routing.router import RouterRule, Score, Stack

PER_TOKEN = ("token", "piece", "document", "position", "flags")
LABELS = ("text", "id", "source", "domain", "language")
ABOUT = ("model", "fingerprint", "engine", "dtype", "device", "revision")
LAYER = ("experts", "k", "block", *MORE)
KINDS = {"token": "iu", "piece": "UO", "document": "iuUO", "position": "iu", "flags": "iu"}
SPOKEN = {"iu": "whole numbers", "UO": "texts", "iuUO": "whole numbers or names"}

_OF: dict[str, Any] = {item.name: type(item.default) for item in fields(RouterRule) if item.name in MORE}
_OF |= {"module": str, "score": str}
_WORDS = {"score": get_args(Score), "stack": get_args(Stack)}


@dataclass
class Table:
    """A file of the plain form. `scores` is how many scores each token and layer has; `document` what is known of each.

    `parts` gives the columns of so many rows at a time; `document` fills up while they are read.
    """

    names: frozenset[str]
    seen: Seen
    about: Mapping[str, str]
    document: Mapping[int, Document]
    scores: int
    parts: Callable[[int], Iterator[Mapping[str, NDArray[Any]]]]


def checked(name: str, array: NDArray[Any], where: str, *, first: int = 0) -> NDArray[Any]:
    """A column of the right kind. TraceError names the first row and the kind."""
    kinds = KINDS[name]
    if array.dtype.kind not in kinds or array.ndim != 1:
        found = f"{where}, {name}: {array.dtype} of shape {(*array.shape,)} from row {first}"
        raise TraceError(found, expected=f"{SPOKEN[kinds]}, one for each token", do="convert it before saving")
    return array


def document_of(id: str, labels: Mapping[str, str]) -> Document:
    """A document by its labels; `id` where none is said."""
    return Document(
        text=labels.get("text", ""),
        id=labels.get("id", id),
        source=labels.get("source", ""),
        domain=labels.get("domain", ""),
        language=labels.get("language", ""),
    )


def layers_from(labels: Mapping[str, Any], count: int, slots: int, where: str) -> Seen:
    """What a file says of its layers: one value for all of them, or one for each."""
    check_count(count, where)
    values = {name: _for_each(name, value, count, where) for name, value in labels.items()}
    more = {name: [_typed(name, each, where) for each in values[name]] for name in values if name in MORE}
    whole = {name: [_whole(name, each, where) for each in values.get(name, ())] for name in ("block", "k", "experts")}
    return Seen(count=count, slots=slots, blocks=whole["block"], k=whole["k"], experts=whole["experts"], more=more)


def _for_each(name: str, value: Any, count: int, where: str) -> Sequence[Any]:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(values, list):
        return [values] * count
    if len(values) != count:
        found = f"{where}, layer_{name}: {len(values)} values"
        raise TraceError(found, expected=f"one, or {count}: one for each layer", do="write one for each layer")
    return values


def _whole(name: str, value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < (0 if name == "block" else 1):
        raise TraceError(f"{where}, layer_{name}: {value!r}", expected="a whole number", do="write it as one")
    return value


def _typed(name: str, value: Any, where: str) -> Any:
    """A further part of the rule, of its own type; a number may stand for a truth value and for a fraction."""
    kind = _OF[name]
    fits = isinstance(value, str) if kind is str else isinstance(value, int | float) and kind(value) == value
    if not fits or value not in _WORDS.get(name, (value,)):
        among = f"one of {', '.join(_WORDS[name])}" if name in _WORDS else f"a {kind.__name__}"
        raise TraceError(f"{where}, layer_{name}: {value!r}", expected=among, do="write it so, or leave it out")
    return kind(value)
