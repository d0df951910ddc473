"""A capture while it is written: what there is so far, handed out a few times a second, and a way to end it early."""

import time
from collections.abc import Callable

from gatescope.routing.record import RoutingRecord

EVERY_SECONDS = 0.1
"""How often what was written so far is handed out: each time costs a reduction of the passes that wait."""


def never() -> bool:
    """The capture is written to its end."""
    return False


class Live:
    """What watches one capture: `show` gets each partial record, in the thread that captures.

    Passes of generation are reduced many at once; where somebody watches, also as often as something is shown. Once
    `is_stopped` says so, the capture ends with the token that was written last.
    """

    def __init__(
        self,
        show: Callable[[RoutingRecord], None],
        *,
        is_stopped: Callable[[], bool] = never,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self.show, self.is_stopped, self._every = show, is_stopped, every_seconds
        self._shown = float("-inf")

    def is_due(self) -> bool:
        """Whether it is time to show again; true at most once in a while."""
        now = time.monotonic()
        if now - self._shown < self._every:
            return False
        self._shown = now
        return True
