"""What an importer is: how it knows its files, how it reads them, and how it says what was there and what was not."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gatescope.routing.errors import OptionError, TraceError
from gatescope.routing.record import RoutingRecord
from gatescope.routing.router import RouterRule


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is known beside the trace: a trace seldom says which model it is from.

    layers      the model's MoE layers as its configuration has them; empty: not known
    model       its name, and `fingerprint` of its weights; empty: not known
    on_fault    "stop" at the first row that cannot be read, or "skip" it and count it
    experts, k  how many routed experts each layer has, and how many it keeps, for a trace that does not say, where
                `layers` are not known either; 0: not known
    """

    layers: tuple[RouterRule, ...] = ()
    model: str = ""
    fingerprint: str = ""
    on_fault: str = "stop"
    experts: int = 0
    k: int = 0

    def __post_init__(self) -> None:
        if self.on_fault not in ("stop", "skip"):
            raise OptionError(f"on_fault={self.on_fault!r}", expected="'stop' or 'skip'", do="choose one of the two")


@dataclass(kw_only=True)
class Report:
    """What was understood of a trace, what it lacks, and what was left out, with where.

    understood   sentences; missing: what the format or this file does not hold, and what that rules out
    left_out     how often rows were left out, by reason; `where` names the first few places of each
    """

    format: str
    understood: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    where: dict[str, list[str]] = field(default_factory=dict)
    documents: int = 0
    tokens: int = 0

    def leave_out(self, reason: str, place: str) -> None:
        """Count one row that was not read, and remember where the first ten were."""
        self.left_out[reason] += 1
        places = self.where.setdefault(reason, [])
        if len(places) < 10:
            places.append(place)

    def fault(self, given: Given, reason: str, place: str, *, expected: str) -> None:
        """Count a row that cannot be read. TraceError at once where `given` says to stop."""
        if given.on_fault == "stop":
            do = 'correct it where the trace is written, or go on without such rows: on_fault="skip"'
            raise TraceError(f"{place}: {reason}", expected=expected, do=do)
        self.leave_out(reason, place)


@dataclass(frozen=True, kw_only=True)
class Importer:
    """One format. `read` yields records of bounded size, and fills the report as it goes.

    `detect` looks at the beginning of a file (or at the names in a folder) and never raises.
    """

    name: str
    title: str
    detect: Callable[[Path], bool]
    read: Callable[[Path, Given, Report], Iterator[RoutingRecord]]
