"""What is being looked at, as the page's address says it: `?c=<capture>&t=<token>&l=<layer>&view=<quantity>&m=<model>`.

An address may be typed, cut or forged, so every value is checked here before anything else sees it; what cannot be used
is dropped and said. The prompt itself is never part of an address.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

_NUMBER = re.compile(r"[0-9]{1,7}")
_CAPTURE = re.compile(r"[a-z2-7]{16}")


@dataclass(frozen=True, kw_only=True)
class View:
    """One state of the page. None means "not said"; `problems` are sentences about what was dropped.

    >>> view = read_view({"c": "abcdefghijklmnop", "t": "7"}, quantities=("margin",), models=("sift-softmax",))
    >>> view.capture, view.token, view.layer, view.quantity
    ('abcdefghijklmnop', 7, None, 'margin')
    """

    quantity: str
    model: str
    capture: str | None = None
    token: int | None = None
    layer: int | None = None
    problems: tuple[str, ...] = ()

    def within(self, *, tokens: int, layers: int) -> "View":
        """The same view with pins outside of the capture dropped, and said."""
        token, lost_token = _below(self.token, tokens, "token")
        layer, lost_layer = _below(self.layer, layers, "layer")
        return replace(self, token=token, layer=layer, problems=(*self.problems, *lost_token, *lost_layer))

    def params(self, *, default: "View") -> dict[str, str]:
        """The address of this view; what equals `default` is left out, so that a fresh page has a bare address."""
        pairs = {
            "c": self.capture,
            "t": self.token,
            "l": self.layer,
            "view": self.quantity if self.quantity != default.quantity else None,
            "m": self.model if self.model != default.model else None,
        }
        return {name: str(value) for name, value in pairs.items() if value is not None}


def read_view(params: Mapping[str, str], *, quantities: tuple[str, ...], models: tuple[str, ...]) -> View:
    """The view an address asks for; the first quantity and the first model are the defaults."""
    problems: list[str] = []
    token, layer = _number(params, "t", problems), _number(params, "l", problems)
    return View(
        quantity=_choice(params, "view", quantities, problems),
        model=_choice(params, "m", models, problems),
        capture=_capture(params, problems),
        token=token,
        layer=layer,
        problems=tuple(problems),
    )


def _capture(params: Mapping[str, str], problems: list[str]) -> str | None:
    value = params.get("c")
    if value is None or _CAPTURE.fullmatch(value):
        return value
    problems.append(f"c={_shown(value)} is not the id of a capture (16 letters a to z and digits 2 to 7).")
    return None


def _number(params: Mapping[str, str], name: str, problems: list[str]) -> int | None:
    value = params.get(name)
    if value is None:
        return None
    if _NUMBER.fullmatch(value):
        return int(value)
    problems.append(f"{name}={_shown(value)} is not a number from 0 up.")
    return None


def _choice(params: Mapping[str, str], name: str, allowed: tuple[str, ...], problems: list[str]) -> str:
    value = params.get(name, allowed[0])
    if value in allowed:
        return value
    problems.append(f"{name}={_shown(value)} is not one of {', '.join(allowed)}; {allowed[0]} is shown.")
    return allowed[0]


def _below(value: int | None, size: int, what: str) -> tuple[int | None, tuple[str, ...]]:
    if value is None or value < size:
        return value, ()
    return None, (f"There is no {what} {value}: this capture has {size} {what}s, counted from 0.",)


def _shown(value: str) -> str:
    """A foreign value, short and on one line."""
    return repr(value if len(value) <= 24 else value[:23] + "…")
