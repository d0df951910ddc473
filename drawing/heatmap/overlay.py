"""What lies over the cells of a matrix besides their values: glyphs, faintness, and where keys stop."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import OptionError

GLYPH_LIMIT = 3
"""Characters a glyph may have; more would not fit into a cell."""


@dataclass(frozen=True)
class Mark:
    """A glyph that is drawn on cells, and what it says in words.

    >>> Mark("×", "dead: never chosen")
    Mark(glyph='×', says='dead: never chosen')
    """

    glyph: str
    says: str

    def __post_init__(self) -> None:
        if not 0 < len(self.glyph) <= GLYPH_LIMIT or not self.says:
            raise OptionError(
                f"glyph {self.glyph!r} that says {self.says!r}",
                expected=f"1 to {GLYPH_LIMIT} characters, and words for readers who do not see them",
                do="give both, for example Mark('×', 'dead')",
            )


@dataclass(frozen=True, eq=False)
class Overlay:
    """The overlays of one matrix; every array has its shape, None leaves that overlay out.

    `marks_rc` is 0 for none, else 1 + index into `marks`. `faded_rc` is true where a cell is drawn faint because of
    `faded_says`. `changes_rc` and `stops_rc` are true where the keys `.` `,` and `n` `N` stop.
    """

    marks_rc: NDArray[np.integer] | None = None
    marks: Sequence[Mark] = ()
    faded_rc: NDArray[np.bool_] | None = None
    faded_says: str = ""
    changes_rc: NDArray[np.bool_] | None = None
    stops_rc: NDArray[np.bool_] | None = None
    stops_say: str = "near tie"

    def header(self) -> dict[str, object]:
        """What the browser must know to read the bytes, and the words to speak."""
        return {
            "marks": [asdict(mark) for mark in self.marks] if self.marks_rc is not None else [],
            "bits": list(self._bits()),
            "faded_says": self.faded_says,
            "stops_say": self.stops_say,
        }

    def tail(self, shape: tuple[int, int]) -> bytes:
        """One byte a cell for the glyphs when there are any, then each of `bits`, eight cells to a byte."""
        bits = (np.packbits(_of_shape(bits, shape, name), bitorder="little") for name, bits in self._bits().items())
        return self._mark_bytes(shape) + b"".join(packed.tobytes() for packed in bits)

    def _bits(self) -> dict[str, NDArray[np.bool_]]:
        """The overlays that say yes or no, by the name the browser calls them."""
        if self.faded_rc is not None and not self.faded_says:
            raise OptionError(
                "faint cells without words",
                expected="faded_says: the reason in words, for no meaning is carried by colour alone",
                do="give it, for example 'not beyond chance'",
            )
        given = {"faded": self.faded_rc, "changes": self.changes_rc, "stops": self.stops_rc}
        return {name: bits for name, bits in given.items() if bits is not None}

    def _mark_bytes(self, shape: tuple[int, int]) -> bytes:
        """The number of each cell's glyph."""
        if self.marks_rc is None:
            return b""
        numbers = _of_shape(self.marks_rc, shape, "marks")
        if numbers.min() < 0 or numbers.max() > len(self.marks) or len(self.marks) > 255:
            raise OptionError(
                f"glyph numbers from {numbers.min()} to {numbers.max()} for {len(self.marks)} marks",
                expected="0 for none, else 1 + index into marks",
                do="give a Mark for every number",
            )
        return numbers.astype(np.uint8).tobytes()


def _of_shape(values_rc: NDArray[Any], shape: tuple[int, int], name: str) -> NDArray[Any]:
    """The overlay, if it covers the matrix."""
    values = np.asarray(values_rc)
    if values.shape != shape:
        raise OptionError(
            f"{name} of shape {values.shape}", expected=f"shape {shape}", do="give one value for each cell"
        )
    return values
