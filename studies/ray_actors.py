"""Workers on a Ray cluster and what is asked of them: who is lost is replaced, who cannot be reached is asked again.

Ray tells a worker that died from one that cannot be reached for the moment, as over a broken connection or on a busy
machine. Of the second nobody knows whether it did what it was asked. Asking again is safe: what a worker is asked for
gives the same when it is done twice.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gatescope.routing.errors import GatescopeError
from gatescope.studies.ray_worker import Place, raised

MOST_LOSSES = 3
"""How often a block, a question or a seat may lose its worker before it is held to be the reason."""
PATIENCE_SECONDS = 120.0
"""How long a worker that cannot be reached is asked again before it is given up and replaced."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds before it is asked again: twice as long every time."""


@dataclass(eq=False)
class Seat:
    """A worker as the driver sees it; without a place while it starts, the first time or again.

    `deaths`: how many were lost here, one after another, before one was ready.
    """

    handle: Any
    place: Place | None = None
    deaths: int = 0


@dataclass(eq=False)
class Call:
    """What was asked of a worker; `tries`: how often it could not be reached for it, the first time at `since`."""

    seat: Seat
    method: str
    arguments: tuple[Any, ...]
    handle: Any
    tries: int = 0
    since: float = 0.0


class Lost(NamedTuple):
    """In place of an answer: the worker is lost, how, and what Ray said."""

    how: str
    why: Exception

    def after(self, what: str) -> GatescopeError:
        """The error that ends a run, after too many of these."""
        return GatescopeError(
            f"{what}: {self.how} ({last_line(self.why)})",
            expected="a worker that lives, with memory for the model and a block",
            do="give workers more memory, or fewer to a machine; Ray's logs are in /tmp/ray/session_latest/logs",
        )


class Crew:
    """Workers that `hire` starts, each loading its model at once. `lost`: where some were lost; each was replaced.

    `hire` must not let Ray restart them: it calls those that died unavailable then. `on_trouble` is told, in words, of
    those that cannot be reached.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], workers: int, on_trouble: Callable[[str], object]) -> None:
        self.lost = list[Place]()
        self._ray, self._hire, self._on_trouble = ray, hire, on_trouble
        self._calls: dict[Any, Call] = {}
        self._paused: list[tuple[float, Call]] = []
        self._seats = [Seat(hire()) for _ in range(workers)]
        for seat in self._seats:
            self.ask(seat, "start")

    @property
    def places(self) -> list[Place]:
        """Where workers run that are ready."""
        return [seat.place for seat in self._seats if seat.place is not None]

    def ask(self, seat: Seat, method: str, *arguments: Any) -> None:
        """Have a worker do something; `next` gives the answer."""
        self._send(Call(seat, method, arguments, seat.handle))

    def next(self) -> tuple[Call, Any] | None:
        """Wait for one answer, or that a worker was lost. None where it is nothing to the caller: look anew, come back.

        Errors: GatescopeError of a worker that cannot be started.
        """
        now = time.monotonic()
        due = [call for at, call in self._paused if at <= now]
        self._paused = [(at, call) for at, call in self._paused if at > now]
        for call in due:
            self._send(call)
        pause = min((at - now for at, _ in self._paused), default=None)
        if not self._calls:
            time.sleep(pause or 0)
            return None
        found, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=pause)
        if not found:
            return None
        call = self._calls.pop(found[0])
        answer = self._answer(call, found[0])
        if call.method != "start":
            return None if answer is None else (call, answer)
        if isinstance(answer, Place | GatescopeError):
            call.seat.place, call.seat.deaths = raised(answer), 0
        return None

    def held(self, method: str) -> Counter[Seat]:
        """How much of one thing each worker was asked for, and has not answered."""
        calls = (*self._calls.values(), *(call for _, call in self._paused))
        return Counter(call.seat for call in calls if call.method == method)

    def free(self, method: str, most: int) -> Seat | None:
        """The worker that was asked for least of one thing, if any is ready that was asked for less than the most."""
        held = self.held(method)
        ready = [seat for seat in self._seats if seat.place is not None and held[seat] < most]
        return min(ready, key=held.__getitem__, default=None)

    def finish(self, method: str) -> None:
        """Let all do what they were asked for of one thing; what comes of it is not told."""
        out = [found for found, call in self._calls.items() if call.method == method]
        if out:
            self._ray.wait(out, num_returns=len(out))
        self._calls = {found: call for found, call in self._calls.items() if call.method != method}
        self._paused = [(at, call) for at, call in self._paused if call.method != method]

    def dismiss(self) -> None:
        """Let the workers go, whatever they do."""
        for seat in self._seats:
            self._ray.kill(seat.handle)
        self._seats, self._calls, self._paused = [], {}, []

    def _send(self, call: Call) -> None:
        self._calls[getattr(call.handle, call.method).remote(*call.arguments)] = call

    def _answer(self, call: Call, found: Any) -> Any:
        """What came of a call; None where it is made again later. A worker that is lost is replaced."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(found)
        except errors.ActorUnavailableError as trouble:
            if self._put_off(call, trouble):
                return None
            self._ray.kill(call.handle)
            lost = Lost(f"it could not be reached for {PATIENCE_SECONDS:.0f} s", trouble)
        except (errors.ActorDiedError, errors.OutOfMemoryError) as death:
            lost = Lost("its process ended by itself", death)
        if call.handle is call.seat.handle:  # the first to say so
            self._replace(call.seat, lost)
        return lost

    def _put_off(self, call: Call, trouble: Exception) -> bool:
        """Have a call made again after a while, unless that goes on for too long."""
        now = time.monotonic()
        if not call.tries:
            call.since, place = now, call.seat.place
            who = f"process {place.process} on {place.host}" if place else "a worker that starts"
            self._on_trouble(f"{who} cannot be reached, and is asked again ({last_line(trouble)})")
        if now - call.since > PATIENCE_SECONDS:
            return False
        self._paused.append((now + min(LONGEST_PAUSE, FIRST_PAUSE * 2**call.tries), call))
        call.tries += 1
        return True

    def _replace(self, seat: Seat, lost: Lost) -> None:
        """Have another worker take a seat. Errors: GatescopeError where one after another is lost there."""
        if seat.place is not None:
            self.lost.append(seat.place)
        else:
            seat.deaths += 1
        if seat.deaths > MOST_LOSSES:
            raise lost.after("a worker could not be started") from lost.why
        seat.place, seat.handle = None, self._hire()
        self.ask(seat, "start")


def last_line(error: Exception) -> str:
    """What an error of another library comes to."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]
