"""One text through a model, as a job does it: what was written so far can be looked at, and the rest be left out."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gatescope.routing.record import RoutingRecord
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.jobs import Tick
from gatescope.server.sources import Source

if TYPE_CHECKING:  # torch takes seconds to import: only the worker thread does it
    from gatescope.hooks import CaptureOptions, LoadedModel, Prompt


@dataclass(kw_only=True)
class CaptureWork:
    """The work of one job. `so_far` is what there is while tokens are generated, a tenth of a second old.

    `identify` gives the id of the capture that these options make: one that was stopped is that of fewer new tokens.
    """

    model: "Callable[[], LoadedModel]"
    cache: CaptureCache
    prompt: "Prompt"
    options: "CaptureOptions"
    identify: "Callable[[CaptureOptions], str]"
    notice: str = ""
    so_far: RoutingRecord | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def is_generating(self) -> bool:
        """Whether tokens are written, so that it can be stopped with what there is."""
        return self.options.max_new_tokens > 0

    def stop(self) -> None:
        """Leave out what is not written yet and keep the rest as a capture; for everybody who waits for it."""
        self.stopped.set()

    def __call__(self, tick: Tick) -> Source:
        """Run the text, and keep the capture."""
        from gatescope.hooks import Live, capture

        live = Live(self._show, is_stopped=self.stopped.is_set) if self.is_generating else None
        record = capture(self.model(), self.prompt, self.options, on_progress=tick, live=live)
        written = record.provenance.options.get("max_new_tokens", self.options.max_new_tokens)
        made = self.cache.keep(self.identify(replace(self.options, max_new_tokens=int(written or 0))), record)
        return replace(made, notice=" ".join(filter(None, (self.notice, made.notice))))

    def _show(self, record: RoutingRecord) -> None:
        self.so_far = record
