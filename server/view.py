"""What is being looked at, as the page's address says it: `?c=<capture>&vs=<reference>&t=<token>&l=<layer>&e=<expert>`.

An address may be typed, cut or forged, so every value is checked here before anything else sees it; what cannot be used
is dropped and said. The prompt itself is never part of an address.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict, TypeVar

_NUMBER = re.compile(r"[0-9]{1,7}")
_SPAN = re.compile(r"([0-9]{1,7})-([0-9]{1,7})")
_CAPTURE = re.compile(r"[a-z2-7]{16}|(?:welcome|probe|step[0-9]{1,7})\.[a-z0-9-]{1,40}")
_SLICE = re.compile(
    r"(?:domain|language):[^\x00-\x1f]{1,80}|documents:[0-9]{1,7}(?:-[0-9]{1,7})?(?:\.[0-9]{1,7}(?:-[0-9]{1,7})?){0,200}"
)

FACETS = ("own", "prompt", "generated", "format")
"""Which tokens count: the text's own (read and written), only one kind of these, or special and template ones."""

_PART = re.compile(r"[a-z0-9-]{1,60}")

LABELS = ("domain", "language")
MOST_UNKNOWN = 3
"""How many unknown parameters of an address are named."""

Value = TypeVar("Value")


class Span(NamedTuple):
    """Tokens from `first` to `last`, both of them included, of one document."""

    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class View:
    """One state of the dashboard, the same for every page. None means "not said".

    `token` and `span` count within `document`, a document within `capture`. `part` is the open part of its page.
    `problems` are sentences about what was dropped.

    >>> view = read_view({"c": "abcdefghijklmnop", "t": "7"}, quantities=("margin",), models=("sift-softmax",))
    >>> view.capture, view.token, view.layer, view.quantity
    ('abcdefghijklmnop', 7, None, 'margin')
    """

    quantity: str
    model: str
    capture: str | None = None
    reference: str | None = None
    document: int | None = None
    token: int | None = None
    layer: int | None = None
    expert: int | None = None
    span: Span | None = None
    facet: str = FACETS[0]
    slice: str | None = None
    by: str = LABELS[0]
    part: str | None = None
    problems: tuple[str, ...] = ()

    def within(self, *, tokens: int, layers: int, experts: int | None = None, documents: int = 1) -> "View":
        """The same view with everything outside of the capture dropped, and said."""
        lost: list[str] = []
        span = self.span
        if span is not None and span.last >= tokens:
            lost.append(f"There are no tokens {span.first} to {span.last} here: there are {tokens}, counted from 0.")
            span = None
        return replace(
            self,
            document=_below(self.document, documents, "document", lost),
            token=_below(self.token, tokens, "token", lost),
            layer=_below(self.layer, layers, "layer", lost),
            expert=self.expert if experts is None else _below(self.expert, experts, "expert", lost),
            span=span,
            problems=(*self.problems, *lost),
        )

    def params(self, *, default: "View") -> dict[str, str]:
        """The address of this view; what equals `default` is left out, so that a fresh page has a bare address."""
        pairs = {
            "c": self.capture,
            "vs": self.reference,
            "d": self.document,
            "t": self.token,
            "l": self.layer,
            "e": self.expert,
            "r": None if self.span is None else f"{self.span.first}-{self.span.last}",
            "f": self.facet if self.facet != default.facet else None,
            "s": self.slice,
            "by": self.by if self.by != default.by else None,
            "view": self.quantity if self.quantity != default.quantity else None,
            "m": self.model if self.model != default.model else None,
            "p": self.part,
        }
        return {name: str(value) for name, value in pairs.items() if value is not None}


class ViewParts(TypedDict, total=False):
    """Some parts of a view by their names: what a link or a change of it says anew."""

    quantity: str
    model: str
    capture: str | None
    reference: str | None
    document: int | None
    token: int | None
    layer: int | None
    expert: int | None
    span: Span | None
    facet: str
    slice: str | None
    by: str
    part: str | None


def read_view(params: Mapping[str, str], *, quantities: tuple[str, ...], models: tuple[str, ...]) -> View:
    """The view an address asks for; the first quantity and the first model are the defaults."""
    query = QueryParser(params)
    view = View(
        quantity=query.choice("view", quantities),
        model=query.choice("m", models),
        capture=query.capture("c"),
        reference=query.capture("vs"),
        document=query.number("d"),
        token=query.number("t"),
        layer=query.number("l"),
        expert=query.number("e"),
        span=query.span("r"),
        facet=query.choice("f", FACETS),
        slice=query.matching("s", _SLICE, "a slice such as domain:code, language:de or documents:0-4.9"),
        by=query.choice("by", LABELS),
        part=query.matching("p", _PART, "the name of a part of a page"),
    )
    query.unknown()
    return replace(view, problems=tuple(query.problems))


class QueryParser:
    """The parameters of an address, read one by one; what is wrong with them gathers in `problems`."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params, self._asked, self.problems = params, set[str](), list[str]()

    def matching(self, name: str, pattern: re.Pattern[str], wanted: str) -> str | None:
        """The value, if it has the form."""
        return self._read(name, lambda value: value if pattern.fullmatch(value) else None, wanted)

    def capture(self, name: str) -> str | None:
        """The id of a capture."""
        return self.matching(name, _CAPTURE, "the id of a capture (16 letters a to z and digits 2 to 7)")

    def number(self, name: str) -> int | None:
        """A whole number."""
        return self._read(name, lambda value: int(value) if _NUMBER.fullmatch(value) else None, "a number from 0 up")

    def span(self, name: str) -> Span | None:
        """Two whole numbers in order."""
        return self._read(name, _as_span, "a range of tokens such as 12-40")

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of some words, else the first of them."""
        self._asked.add(name)
        value = self._params.get(name, allowed[0])
        if value in allowed:
            return value
        self.problems.append(f"{name}={_shown(value)} is not one of {', '.join(allowed)}; {allowed[0]} is shown.")
        return allowed[0]

    def unknown(self) -> None:
        """Say which parameters nothing was read from."""
        names = [name for name in self._params if name not in self._asked]
        self.problems += [f"{_shown(name)} is no part of an address here." for name in names[:MOST_UNKNOWN]]
        if len(names) > MOST_UNKNOWN:
            self.problems.append(f"Nor are {len(names) - MOST_UNKNOWN} more.")

    def _read(self, name: str, read: Callable[[str], Value | None], wanted: str) -> Value | None:
        self._asked.add(name)
        value = self._params.get(name)
        found = None if value is None else read(value)
        if value is not None and found is None:
            self.problems.append(f"{name}={_shown(value)} is not {wanted}.")
        return found


def _as_span(text: str) -> Span | None:
    if (found := _SPAN.fullmatch(text)) is None:
        return None
    first, last = map(int, found.groups())
    return Span(first, last) if first <= last else None


def _below(value: int | None, size: int, what: str, lost: list[str]) -> int | None:
    """The value if it is one of `size` things; None, and a sentence, if it is not."""
    if value is None or value < size:
        return value
    lost.append(f"There is no {what} {value}: this capture has {size} {what}s, counted from 0.")
    return None


def _shown(value: str) -> str:
    """A foreign value, short and on one line."""
    return repr(value if len(value) <= 24 else value[:23] + "…")
