"""Answers that are expensive to compute, kept in memory for everybody: those used last, within one budget of bytes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.server.memory_size import size_of
from gatescope.server.settings import settings

Answer = TypeVar("Answer")
Key = tuple[Any, ...]
_Place = tuple["MemoCache", Key]


@dataclass(frozen=True)
class _Failure:
    """An error to raise again, without the frames of whoever met it first."""

    kind: type[GatescopeError]
    found: str
    expected: str
    do: str
    until: float

    def fresh(self) -> GatescopeError:
        return self.kind(self.found, expected=self.expected, do=self.do)


@dataclass(eq=False)
class _Computation:
    """One computation under way; `users` are the threads that run it or wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    is_stale: bool = False


class Budget:
    """What several caches may hold together: the answers used last, up to so many bytes."""

    def __init__(self, most_bytes: Callable[[], int]) -> None:
        self._most_bytes = most_bytes
        # Guards all below: the threads of all sessions read and reorder them.
        self.lock = threading.Lock()
        self.answers: OrderedDict[_Place, tuple[Any, int]] = OrderedDict()
        self.computing: dict[_Place, _Computation] = {}
        self.used_bytes = 0

    def invalidate(self, id: str) -> None:
        """Drop every answer with an id in its key; what is being computed of it now is handed out, but not kept."""
        with self.lock:
            for place in [place for place in self.answers if id in place[1]]:
                self.drop(place)
            for place in [place for place in self.computing if id in place[1]]:
                self.computing.pop(place).is_stale = True

    def keep(self, place: _Place, found: Any, size: int) -> None:
        """With the lock held: keep an answer of so many bytes, and let those used longest ago go for it."""
        self.drop(place)
        most = self._most_bytes()
        if size > most:
            return
        self.answers[place] = found, size
        self.used_bytes += size
        while self.used_bytes > most:
            self.drop(next(iter(self.answers)))

    def drop(self, place: _Place) -> None:
        """With the lock held: forget one answer, if it is there."""
        if place in self.answers:
            self.used_bytes -= self.answers.pop(place)[1]


_SHARED = Budget(lambda: settings().memory_bytes)


def invalidate(id: str) -> None:
    """Drop every answer, in whichever cache, that has an id in its key: its capture was removed or changed."""
    _SHARED.invalidate(id)


class MemoCache:
    """Answers by key. All caches share one budget of bytes, the setting `memory_bytes`.

    Two who ask for the same wait for one computation. What cannot be had (OptionError) is remembered and raised anew:
    to ask twice would not change it. Keys are ids, names and numbers, never arrays.

    >>> cache = MemoCache()
    >>> cache.get(("a",), lambda: 1), cache.get(("a",), lambda: 2)
    (1, 1)
    """

    def __init__(self, budget: Budget = _SHARED) -> None:
        self._budget = budget

    def get(self, key: Key, compute: Callable[[], Answer], *, retry_after: float = 0.0) -> Answer:
        """The answer of that key, computed if nobody asked before.

        `retry_after` is for how many seconds an error that may pass is raised anew before the next try.
        """
        place, held = (self, key), self._budget
        while True:
            with held.lock:
                if (known := self._known(place)) is not None:
                    break
                mine = held.computing.setdefault(place, _Computation())
                mine.users += 1
            try:
                with mine.lock:
                    with held.lock:
                        known = self._known(place)
                    if known is not None:
                        break
                    if not mine.is_stale:
                        return self._compute(place, compute, mine, retry_after)
            finally:
                self._leave(place, mine)
        if isinstance(known[0], _Failure):
            raise known[0].fresh()
        return cast(Answer, known[0])

    def _compute(self, place: _Place, compute: Callable[[], Answer], mine: _Computation, retry_after: float) -> Answer:
        try:
            found = compute()
        except GatescopeError as error:
            lasts = float("inf") if isinstance(error, OptionError) else retry_after
            if lasts > 0:
                until = time.monotonic() + lasts
                self._keep(place, _Failure(type(error), error.found, error.expected, error.do, until), mine)
            raise
        self._keep(place, found, mine)
        return found

    def _keep(self, place: _Place, found: Any, mine: _Computation) -> None:
        size = size_of((place[1], found))  # before the lock: a large answer takes a moment to walk
        with self._budget.lock:
            if not mine.is_stale:
                self._budget.keep(place, found, size)

    def _known(self, place: _Place) -> tuple[Any] | None:
        """With the lock held: what is kept, in a tuple; None where nothing is, or where it is time to try again."""
        if place not in self._budget.answers:
            return None
        found, _ = self._budget.answers[place]
        if isinstance(found, _Failure) and found.until <= time.monotonic():
            self._budget.drop(place)
            return None
        self._budget.answers.move_to_end(place)
        return (found,)

    def _leave(self, place: _Place, mine: _Computation) -> None:
        with self._budget.lock:
            mine.users -= 1
            if not mine.users and self._budget.computing.get(place) is mine:
                del self._budget.computing[place]
