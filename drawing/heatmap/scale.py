"""What the colours of a matrix mean."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, Self, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import OptionError

Palette = Literal["cividis", "diverging", "experts", "neutral"]
Pool = Literal["max", "min", "far"]


class Meaning(TypedDict, total=False):
    """What a scale says besides its name and ends; described at `Scale`."""

    unit: str
    null: float | None
    palette: Palette
    pool: Pool


@dataclass(frozen=True)
class Scale:
    """The quantity a matrix shows and how its values become colours.

    `low` and `high` are the ends of the palette; values beyond them take the colour of the end, and the legend says so.
    `null` is the value expected when nothing is going on (uniform load, no difference); it is marked on the legend.
    `palette`: "cividis" for amounts, "diverging" (blue, grey, orange, grey at `null`) for differences, "neutral" where
    the cell's label is the message and colour would only pretend, "experts" where the label is an expert's number: its
    colour by that number (hues.py), stronger with the value.
    `pool` is the extreme of interest, shown where one pixel covers several cells: the largest value ("max"), the
    smallest ("min"), or the one furthest from `null` ("far").

    >>> Scale("margin", low=0.0, high=2.0, unit="logits", pool="min")
    Scale(name='margin', low=0.0, high=2.0, unit='logits', null=None, palette='cividis', pool='min')
    """

    name: str
    low: float
    high: float
    unit: str = ""
    null: float | None = None
    palette: Palette = "cividis"
    pool: Pool = "max"

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise OptionError(
                f"scale of {self.name!r} from {self.low} to {self.high}",
                expected="finite ends, low below high",
                do="give the ends yourself, or let Scale.of read them from the values",
            )
        _one_of("palette", self.palette, get_args(Palette))
        _one_of("pool", self.pool, get_args(Pool))
        needs_null = self.palette == "diverging" or self.pool == "far"
        if (self.null is None and needs_null) or (self.null is not None and not isfinite(self.null)):
            raise OptionError(
                f"null value {self.null} for {self.name!r}",
                expected="a finite null value: the diverging palette and pool 'far' are centred on it",
                do="give null=..., for example 0.0 for a difference",
            )

    @classmethod
    def of(cls, values: NDArray[np.floating], name: str, **options: Unpack[Meaning]) -> Self:
        """The scale that just holds the finite values; a constant matrix gets ends one apart so that it can be drawn.

        >>> Scale.of(np.array([[1.0, np.nan], [3.0, 2.0]]), "load").high
        3.0
        """
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if options.get("palette") == "diverging" and (null := options.get("null")) is not None:
            reach = max(high - null, null - low)
            low, high = null - reach, null + reach
        if low == high:
            low, high = low - 0.5, high + 0.5
        return cls(name, low=low, high=high, **options)


def _one_of(option: str, found: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not on the list."""
    if found not in allowed:
        raise OptionError(f"{option} {found!r}", expected=f"one of {', '.join(allowed)}", do=f"choose another {option}")
