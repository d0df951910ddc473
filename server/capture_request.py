"""What one visitor asked a model for, from Run to the capture: waiting, running, arrived, failed or cancelled."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatescope.models.bundled_captures import WELCOME_TEXT
from gatescope.routing.errors import GatescopeError, explained
from gatescope.server.capture_work import CaptureWork
from gatescope.server.jobs import Job, Phase
from gatescope.server.model_worker import ModelWorker
from gatescope.server.sources import Source

if TYPE_CHECKING:  # torch takes seconds to import: only the worker thread does it
    from gatescope.hooks import CaptureOptions


@dataclass
class CaptureRequest:
    """One visitor's request; a new one takes the place of the one before.

    job         the pass it waits for, if one is under way
    arrived     the capture that came, until the page has taken it up
    is_wanted   asked for while the model is still loading
    is_welcome  the example that a first visitor sees, which nobody asked for
    error       why the last request failed
    notice      how it ended, where the reader should be told
    cancelled   the capture that was being made when the reader cancelled, and will not come
    """

    watcher: str
    job: Job[Source] | None = None
    arrived: Source | None = None
    is_wanted: bool = False
    is_welcome: bool = False
    error: GatescopeError | None = None
    notice: str = ""
    cancelled: str = ""

    @property
    def is_busy(self) -> bool:
        """Waiting for a pass; or the example failed, and asking for it again would fail again."""
        return self.job is not None or self.is_wanted or (self.is_welcome and self.error is not None)

    def submit(self, worker: ModelWorker, text: str, options: "Callable[[], CaptureOptions]") -> None:
        """Ask for a capture of a text, now or once the model is loaded; `options` are asked for when it is."""
        self.leave(worker)
        self.cancelled = ""
        self.is_wanted = worker.model is None
        if not self.is_wanted:
            self.arrived = self._ask(worker, text, options())

    def resume(self, worker: ModelWorker, text: str, options: "Callable[[], CaptureOptions]") -> None:
        """Ask for what was wanted before the model was there, if it is there now."""
        if self.is_wanted and worker.model is not None:
            self.submit(worker, text, options)

    def rejoin(self, worker: ModelWorker, capture: str) -> str | None:
        """Wait for a pass that makes this capture, and its text; None where none is under way, or one is waited for."""
        if self.is_busy or (job := worker.queue.join(capture, watcher=self.watcher)) is None:
            return None
        self.job = job
        return job.work.prompt.text if isinstance(job.work, CaptureWork) else None

    def submit_welcome(self, worker: ModelWorker) -> Source | None:
        """The example: asked for like any other text, or recalled while the model is still loading."""
        if worker.model is None:
            return worker.recall(WELCOME_TEXT)
        from gatescope.hooks import CaptureOptions

        found = self._ask(worker, WELCOME_TEXT, CaptureOptions())
        self.is_welcome = found is None
        if found is not None:
            worker.remember(WELCOME_TEXT, found.id)
        return found

    def leave(self, worker: ModelWorker) -> None:
        """Stop waiting and forget how it ended; the pass ends when nobody else waits for it."""
        if self.job is not None:
            worker.queue.leave(self.job, self.watcher)
        self.job = self.arrived = self.error = None
        self.is_wanted = self.is_welcome = False
        self.notice = ""

    def settle(self, seconds: float) -> bool:
        """Wait so long for the pass to end; whether none is under way any more."""
        if self.job is not None and not self.job.wait(seconds):
            return False
        job, self.job = self.job, None
        if job is None:
            return True
        if job.phase is Phase.FAILED and job.error is not None:
            self.error = explained(job.error)
        elif job.phase is Phase.CANCELLED:
            self.notice = "The pass was stopped."
        elif not self.is_welcome:
            self.arrived = job.result
        self.is_welcome = self.is_welcome and self.error is not None
        return True

    def _ask(self, worker: ModelWorker, text: str, options: "CaptureOptions") -> Source | None:
        """The capture where it is at hand; else the job is under way, or the error stands."""
        try:
            found = worker.request(text, options, self.watcher)
        except GatescopeError as error:
            self.error = error
            return None
        if isinstance(found, Source):
            return found
        self.job = found
        return None
