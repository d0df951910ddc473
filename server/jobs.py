"""One worker thread with a queue in front: who asked for what, how far it is, and who still cares.

A job is known by its key: asking twice for the same key joins the job that is already under way. Whoever asked is a
watcher; when the last watcher leaves, the work is told to stop at its next tick. The words of this file know nothing
of models or pages: work is any function that is given `tick(done, total)` and calls it often.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from gatescope.routing.errors import CaptureCancelledError, QueueFullError

Result = TypeVar("Result")
Tick = Callable[[int, int], None]
log = logging.getLogger(__name__)

ABSENCE_SECONDS = 10.0
"""How long a watcher may be out of sight (a reload, a lost connection) before it counts as gone."""

CLOSING_SECONDS = 5.0
"""How long a closing queue waits for its worker to come to its next tick."""


class Phase(Enum):
    """Where a job is in its life; the last three are the end of it."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(eq=False, kw_only=True)
class Job(Generic[Result]):
    """One piece of work and everything a watcher may ask about it. Made by `JobQueue.submit`, never by hand.

    `progress` is (steps done, steps in all), (0, 0) until the first tick. `result` holds once `phase` is DONE and
    `error` once it is FAILED; both stay, so a watcher that looks late still sees them.
    """

    key: str
    work: Callable[[Tick], Result]
    phase: Phase = Phase.WAITING
    progress: tuple[int, int] = (0, 0)
    result: Result | None = None
    error: BaseException | None = None
    watchers: dict[str, float] = field(default_factory=dict)  # name -> when it was last in sight
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Nothing more will change."""
        return self.ended.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the job is over, or until the time is up; True when it is over."""
        return self.ended.wait(seconds)


class JobQueue:
    """Runs jobs one after another, in the order they were asked for.

    `limit` is how many may wait behind the running one. `is_present` says whether a watcher is still there; a watcher
    that is absent for `ABSENCE_SECONDS` is treated as having left.
    """

    def __init__(
        self, *, limit: int, name: str = "gatescope-worker", is_present: Callable[[str], bool] = lambda _watcher: True
    ) -> None:
        self._limit, self._is_present = limit, is_present
        # Guards _live, _waiting, _running and every job's watchers and phase: submit, leave and the worker change them.
        self._changed = threading.Condition()
        self._live: dict[str, Job[Any]] = {}
        self._waiting: deque[Job[Any]] = deque()
        self._running: Job[Any] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, key: str, work: Callable[[Tick], Result], *, watcher: str) -> Job[Result]:
        """Watch the job of that key, starting it if nobody has.

        Errors   QueueFullError when it would have to wait behind more than `limit` others.
        """
        with self._changed:
            job = self._live.get(key)
            if job is None:
                self._refuse_when_full()
                job = self._live[key] = Job(key=key, work=work)
                self._waiting.append(job)
                self._changed.notify()
            job.watchers[watcher] = time.monotonic()
            return job

    def join(self, key: str, *, watcher: str) -> Job[Any] | None:
        """Watch the job of that key, if one waits or runs."""
        with self._changed:
            job = self._live.get(key)
            if job is not None:
                job.watchers[watcher] = time.monotonic()
            return job

    def leave(self, job: Job[Any], watcher: str) -> None:
        """Stop watching; without any watcher left the job is cancelled."""
        with self._changed:
            job.watchers.pop(watcher, None)
            if not job.watchers and not job.is_over:
                self._cancel(job)

    def position(self, job: Job[Any]) -> int:
        """How many jobs come first: 0 when it runs or is over."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def close(self) -> None:
        """Cancel everything and wait a moment for the worker: a thread inside a model dies badly with its process."""
        with self._changed:
            self._closed = True
            for job in list(self._live.values()):
                self._cancel(job)
            self._changed.notify()
        self._thread.join(CLOSING_SECONDS)

    def _refuse_when_full(self) -> None:
        """With the lock held: those that nobody waits for any more make room first."""
        if self._is_full():
            self._drop_unwatched()
        if self._closed or self._is_full():
            raise QueueFullError(
                f"{len(self._waiting)} captures are waiting" if not self._closed else "this worker was closed",
                expected=f"at most {self._limit} waiting behind the running one",
                do="try again in a moment",
            )

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._limit + (self._running is None)

    def _drop_unwatched(self) -> None:
        """With the lock held: end the waiting jobs whose watchers have been out of sight for too long."""
        for job in list(self._waiting):
            self._drop_absent(job)
            if not job.watchers:
                self._cancel(job)

    def _cancel(self, job: Job[Any]) -> None:
        """With the lock held: forget the key at once, so that asking again starts afresh."""
        if self._live.get(job.key) is job:
            del self._live[job.key]
        job.watchers.clear()
        if job in self._waiting:
            self._waiting.remove(job)
            self._end(job, Phase.CANCELLED)

    def _end(self, job: Job[Any], phase: Phase) -> None:
        """With the lock held: the last change a job sees."""
        if self._live.get(job.key) is job:
            del self._live[job.key]
        job.phase = phase
        job.ended.set()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            phase = self._attempt(job)
            with self._changed:
                self._running = None
                self._end(job, phase)
            del job  # the worker waits for hours: it must not keep the last result alive meanwhile

    def _next(self) -> Job[Any] | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return None
                job = self._waiting.popleft()
                self._drop_absent(job)
                if job.watchers:
                    job.phase, self._running = Phase.RUNNING, job
                    return job
                self._end(job, Phase.CANCELLED)

    def _attempt(self, job: Job[Any]) -> Phase:
        """Run the work; whatever it raises is kept for its watchers and the worker lives on."""
        try:
            job.result = job.work(lambda done, total: self._tick(job, done, total))
        except CaptureCancelledError:
            return Phase.CANCELLED
        except BaseException as error:
            log.exception("job %s failed", job.key)
            job.error = error.with_traceback(None)  # logged above; kept, it would keep the model's tensors alive
            return Phase.FAILED
        return Phase.DONE

    def _tick(self, job: Job[Any], done: int, total: int) -> None:
        job.progress = (done, total)
        with self._changed:
            self._drop_unwatched()
            self._drop_absent(job)
            if job.watchers:
                return
            self._cancel(job)
        raise CaptureCancelledError(
            f"nobody waits for this capture any more, after {done} of {total} steps",
            expected="at least one watcher",
            do="press Run to start it again",
        )

    def _drop_absent(self, job: Job[Any]) -> None:
        """With the lock held: forget the watchers that have been out of sight for too long."""
        now = time.monotonic()
        for watcher, seen in list(job.watchers.items()):
            if self._is_present(watcher):
                job.watchers[watcher] = now
            elif now - seen > ABSENCE_SECONDS:
                del job.watchers[watcher]
