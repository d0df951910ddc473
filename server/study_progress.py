"""How far a study is: told where it runs, and read from its lease wherever else it is looked at."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass
class StudyProgress:
    """What a study under way is at: documents captured of all, tokens and seconds of this run, metrics of all.

    `since` is when the step began that `what` names, by the monotonic clock; `is_writing`: all is computed.
    Unless `metrics_follow`, it ends with the last document.
    """

    what: str = "waiting"
    documents: int = 0
    of_documents: int = 0
    characters: int = 0
    of_characters: int = 0
    new_characters: int = 0
    tokens: int = 0
    seconds: float = 0.0
    metrics: int = 0
    of_metrics: int = 0
    is_writing: bool = False
    since: float = 0.0
    metrics_follow: bool = True

    def begin(self, what: str) -> None:
        """Note what is done from now on."""
        self.what, self.since = what, time.monotonic()

    @property
    def step_seconds(self) -> float:
        """How long it has been at this; 0 where nobody noted when it began."""
        return time.monotonic() - self.since if self.since else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The same for a lease, in which a time of the monotonic clock would mean nothing."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return told | {"since": self.step_seconds}

    @property
    def share(self) -> float:
        """How much is done, 0 to 1: capturing is taken for three quarters of it where metrics follow."""
        captured = self.characters / max(self.of_characters, 1)
        if not self.metrics_follow:
            return min(1.0, captured)
        return min(1.0, 0.75 * captured + 0.25 * self.metrics / max(self.of_metrics, 1))

    @property
    def seconds_left(self) -> float | None:
        """What capturing will still take at the speed of this run; None before the first block."""
        if not self.new_characters:
            return None
        return (self.of_characters - self.characters) * self.seconds / self.new_characters


def progress_from(said: Mapping[str, Any]) -> StudyProgress:
    """How far a study is by what its lease says; what cannot be understood is left out.

    >>> progress_from({"what": "capturing", "documents": 3, "of_documents": "many", "colour": 1}).documents
    3
    """
    known = StudyProgress()
    for each in fields(known):
        value, before = said.get(each.name), getattr(known, each.name)
        is_number = isinstance(value, int | float) and isinstance(before, int | float) and not isinstance(before, bool)
        if value is not None and (is_number or type(value) is type(before)):
            setattr(known, each.name, value)
    if known.since:
        known.since = time.monotonic() - known.since
    return known
