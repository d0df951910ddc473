"""The captures of a server by their ids: in memory those used last, behind them the store."""

import logging
import threading
from collections import OrderedDict
from dataclasses import replace

from gatescope.cache.folder import mark_used
from gatescope.cache.store import Store
from gatescope.routing.errors import StoreError
from gatescope.routing.record import RoutingRecord
from gatescope.server.sources import Source, source_of

log = logging.getLogger(__name__)

RECENT_BYTES = 256 * 2**20
"""How much of the captures used last is kept in memory, whether the store could keep them or not."""


class CaptureCache:
    """The captures of this server: the store's, and in memory those used last, also when the store refused them."""

    def __init__(self, store: Store, *, recent_bytes: int = RECENT_BYTES) -> None:
        self.store, self._limit = store, recent_bytes
        # Guards _recent: the pages' threads and the worker read and reorder it at the same time.
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, Source] = OrderedDict()

    def find(self, id: str) -> Source:
        """The capture of that id. Errors: CaptureNotFoundError, CaptureDamagedError, StoreError."""
        with self._lock:
            if id in self._recent:
                self._recent.move_to_end(id)
                if self.store.has(id):
                    mark_used(self.store.folder, id)
                return replace(self._recent[id], notice="")
        return self._remember(source_of(id, self.store.get(id)))

    def keep(self, id: str, record: RoutingRecord) -> Source:
        """Store a new capture; where that fails it is held in memory, and its notice says so."""
        notice = ""
        try:
            self.store.put(id, record)
        except StoreError as error:
            log.warning("capture %s is held in memory only: %s", id, error)
            notice = f"This capture could not be kept: {error.found}. Download it before you leave, or {error.do}."
        return self._remember(source_of(id, record, notice=notice))

    def remove(self, id: str) -> None:
        """Delete a capture for good, here and in the store. Errors: CaptureNotFoundError, StoreError."""
        with self._lock:
            held = self._recent.pop(id, None)
        if held is None or self.store.has(id):
            self.store.remove(id)

    def _remember(self, source: Source) -> Source:
        with self._lock:
            self._recent[source.id] = source
            self._recent.move_to_end(source.id)
            while len(self._recent) > 1 and sum(map(_size_bytes, self._recent.values())) > self._limit:
                self._recent.popitem(last=False)
        return source


def _size_bytes(source: Source) -> int:
    return sum(array.nbytes for _, array in source.record.arrays())
