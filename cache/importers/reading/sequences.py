"""Sequences put together again out of the forward passes of a server, which runs parts of many of them at a time.

A pass is a row of segments, each the next tokens of one sequence. Nothing says which sequence a segment belongs to.
What can be relied on is that a sequence steps on at the position where it ended, and that those that step keep their
order. Where several wait at one position and not all of them step, nobody can tell which did: then none is continued,
and the tokens begin a document of their own. So does a part of a prompt that begins behind position 0, since a prompt
that the server cut looks like another one whose beginning was cached.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward pass: its rows, and the lengths of its segments; `name` is for complaints.

    In a `step`, every segment is one generated token, and a sequence without one is over. A `mixed` pass holds prompts
    and steps.
    """

    name: str
    ids_nlk: NDArray[np.integer]
    token_n: NDArray[np.integer]
    position_n: NDArray[np.integer]
    lengths: Sequence[int]
    step: bool
    mixed: bool = False


@dataclass(kw_only=True)
class Part:
    """Rows `start:stop` of one pass."""

    run: Pass
    start: int
    stop: int
    generated: bool


@dataclass(eq=False)
class Open:
    """A sequence that may go on at position `next`."""

    number: int
    next: int
    parts: list[Part] = field(default_factory=list)
    tokens: int = 0

    def add(self, part: Part) -> None:
        """The next rows of the sequence."""
        self.parts.append(part)
        self.tokens += part.stop - part.start
        self.next = int(part.run.position_n[part.stop - 1]) + 1


class Sequences:
    """The sequences that are open at a time. At most `most_open` tokens are held: beyond, the oldest is closed."""

    def __init__(self, most_open: int) -> None:
        self.most_open, self.held = most_open, 0
        self.begun = self.begun_inside = self.unclear = self.let_go = 0
        self._open: list[Open] = []

    def add(self, run: Pass) -> Iterator[Open]:
        """One more pass; the sequences that are over with it."""
        segments = _segments(run)
        takers = self._takers(run, segments) if run.step else [None] * len(segments)
        going_on = set()
        for part, found in zip(segments, takers, strict=True):
            taker = found or self._begin(run, part)
            taker.add(part)
            self.held += part.stop - part.start
            going_on.add(taker.number)
        if run.step:
            yield from self._close([each for each in self._open if each.number not in going_on])
        while self.held > self.most_open and self._open:
            self.let_go += 1
            yield from self._close(self._open[:1])

    def rest(self) -> Iterator[Open]:
        """The sequences that are still open."""
        yield from self._close(list(self._open))

    def _begin(self, run: Pass, part: Part) -> Open:
        first = int(run.position_n[part.start])
        begun = Open(self.begun, first)
        self.begun += 1
        self.begun_inside += first > 0
        self._open.append(begun)
        return begun

    def _takers(self, run: Pass, segments: Sequence[Part]) -> list[Open | None]:
        """For each token of a step the sequence that it continues."""
        takers: list[Open | None] = [None] * len(segments)
        waiting = _grouped((each.next, each) for each in self._open)
        steps = _grouped((int(run.position_n[part.start]), at) for at, part in enumerate(segments))
        for position, places in steps.items():
            candidates = waiting.get(position, [])
            if len(candidates) == len(places):
                for at, candidate in zip(places, candidates, strict=True):
                    takers[at] = candidate
            elif candidates:
                self.unclear += len(places)
        return takers

    def _close(self, over: Sequence[Open]) -> Iterator[Open]:
        gone = {each.number for each in over}
        self._open = [each for each in self._open if each.number not in gone]
        for each in over:
            self.held -= each.tokens
            yield each


def _grouped(pairs: Iterable[tuple[int, T]]) -> dict[int, list[T]]:
    """What stands at each position, in order."""
    found: dict[int, list[T]] = {}
    for position, each in pairs:
        found.setdefault(position, []).append(each)
    return found


def _segments(run: Pass) -> list[Part]:
    """The segments of a pass. In a mixed one, a single token that does not begin a sequence counts as generated."""
    ends = np.cumsum(run.lengths, dtype=np.int64)
    parts = [
        Part(run=run, start=int(end - length), stop=int(end), generated=run.step)
        for length, end in zip(run.lengths, ends, strict=True)
        if length
    ]
    for part in parts if run.mixed else ():
        part.generated = part.stop - part.start == 1 and run.position_n[part.start] > 0
    return parts
