"""What is planted, and how much of it."""

from dataclasses import dataclass, fields
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import OptionError

SOURCES = ("load", "words", "domains", "languages", "pairs", "transitions", "locality")
"""What a slot may be filled by; `load` is left the rest of the slots."""
STEPS = 1 << 16
"""Shares are taken down to whole multiples of 1/STEPS, so that what is drawn is exactly what is stated."""
MOST_SKEW = 5.0


@dataclass(frozen=True, kw_only=True)
class Effects:
    """How large each planted effect is; with 0 it is absent, and what it is held against is exactly true.

    Every slot of a token is filled by one of the following, drawn anew each time, by a share of the slots:

    words         one of the experts that prefer the token's word, all alike
    domains       one of those that prefer the document's domain, whatever the word
    languages     one of those that prefer the document's language, whatever the word
    pairs         the partner of an expert this token has already in this layer (no partner yet: as `load`)
    transitions   the successor of an expert this token had in the layer before (the first layer: as `load`)
    locality      an expert that the token before had in this layer (a document's first token: as `load`)
    load          the rest: any expert, by its own share, whatever the token

    An expert that the token has already, or of a group beyond those that may be chosen, is drawn again, first by the
    same, then as `load`. `skew` is the standard deviation, over the experts of a layer, of the natural logarithm of
    their share under `load`; 0 is an even load.

    Errors: OptionError where a share is below 0, or all together are above 1.

    >>> Effects(words=0.5, domains=0, languages=0, pairs=0, transitions=0, locality=0).load
    0.5
    """

    words: float = 0.2
    domains: float = 0.1
    languages: float = 0.1
    pairs: float = 0.1
    transitions: float = 0.1
    locality: float = 0.1
    skew: float = 0.3

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            most = MOST_SKEW if item.name == "skew" else 1.0
            if not (isfinite(value) and 0 <= value <= most):
                raise OptionError(
                    f"an effect of {item.name} of {value:g}", expected=f"0 to {most:g}", do="give it within these"
                )
        filled = sum(getattr(self, name) for name in SOURCES[1:])
        if filled > 1 + 1e-9:
            raise OptionError(
                f"effects that fill {filled:.3f} of the slots together", expected="at most 1", do="give smaller ones"
            )

    @property
    def parts_s(self) -> tuple[int, ...]:
        """Each planted source's share of the slots, in parts of STEPS, in the order of SOURCES but `load`."""
        return tuple(int(getattr(self, name) * STEPS) for name in SOURCES[1:])

    @property
    def load(self) -> float:
        """The share of the slots that is left to load alone."""
        return 1 - sum(self.parts_s) / STEPS

    @property
    def shares(self) -> dict[str, float]:
        """The share of the slots of every source, as it is drawn."""
        return {"load": self.load} | dict(zip(SOURCES[1:], (part / STEPS for part in self.parts_s), strict=True))

    def table(self) -> NDArray[np.uint8]:
        """The source by a number below STEPS, each as often as its share says: (STEPS,)."""
        rest = STEPS - sum(self.parts_s)
        return np.repeat(np.arange(len(SOURCES), dtype=np.uint8), (rest, *self.parts_s))


NONE = Effects(words=0, domains=0, languages=0, pairs=0, transitions=0, locality=0, skew=0)
"""Nothing planted: every set of k experts is as likely as any other, for every token."""
