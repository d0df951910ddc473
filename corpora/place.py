"""Where in a corpus something was found, and the error that says so."""

from pathlib import Path
from typing import NamedTuple

from gatescope.routing.errors import CorpusError


class RowError(CorpusError):
    """One row, or with line 0 one whole file, cannot be read; `reason` is the short name it is counted under."""

    def __init__(self, found: str, *, expected: str, do: str, reason: str, place: "Place") -> None:
        super().__init__(found, expected=expected, do=do)
        self.reason, self.place = reason, place

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.found, self.expected, self.do, self.reason, self.place)


def _rebuild(found: str, expected: str, do: str, reason: str, place: "Place") -> RowError:
    """Unpickle: exceptions rebuild from positional arguments only, this one has keywords."""
    return RowError(found, expected=expected, do=do, reason=reason, place=place)


class Place(NamedTuple):
    """A line or row, counted from 1, of a file or a hub's data set; 0 is the file as a whole."""

    path: Path | str
    line: int = 0
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.line}" if self.line else str(self.path)

    def error(self, found: str, *, expected: str, do: str, reason: str) -> RowError:
        """The error that something was found here, ready to raise."""
        return RowError(f"{self}: {found}", expected=expected, do=do, reason=reason, place=self)
