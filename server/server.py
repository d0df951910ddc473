"""What all sessions of a server share, built once and handed on: captures, models behind queues, studies, metadata."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from gatescope.cache.store import Store
from gatescope.cache.workspace import STUDIES, check_workspace
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import WELCOME_TEXT, load_welcome_capture
from gatescope.routing.errors import CaptureNotFoundError, GatescopeError
from gatescope.server import memo_cache
from gatescope.server.background import CHOSEN, Studies
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.jobs import Phase
from gatescope.server.memo_cache import MemoCache
from gatescope.server.metadata import MetadataStore
from gatescope.server.model_worker import ModelWorker
from gatescope.server.places import capture_file, find_folder
from gatescope.server.presence import Presence
from gatescope.server.quota import Quota
from gatescope.server.settings import Settings
from gatescope.server.sources import Source, read_capture, read_shipped, read_study, shipped_ids, version_of

log = logging.getLogger(__name__)

MODELS_LOADED = 2
"""How many models are in memory at once; the one used longest ago makes room."""


class Server:
    """One server. `is_present` tells whether somebody still looks at a session: jobs of those who left are dropped.

    Errors: StoreError where its workspace is of a newer version.
    """

    def __init__(self, settings: Settings, *, is_present: Callable[[str], bool] = lambda _session: True) -> None:
        check_workspace(settings.workspace)
        self.settings, self._is_present = settings, is_present
        self.quota = Quota(settings.workspace, settings.quota_bytes)
        self.studies_folder: Path = settings.workspace / STUDIES
        """Of this server's studies, each in a folder named by its id."""
        self.labels = MetadataStore(settings.workspace)
        self._sources = MemoCache()
        # Guards all below: the threads of all sessions ask for them.
        self._lock = threading.RLock()
        self._capture_cache: CaptureCache | None = None
        self._studies: Studies | None = None
        self._presence: Presence | None = None
        self._workers: OrderedDict[str, ModelWorker] = OrderedDict()

    @property
    def capture_cache(self) -> CaptureCache:
        """The captures of this server. Errors: StoreError when their folder cannot be used."""
        with self._lock:
            if self._capture_cache is None:
                store = Store(self.quota.folder, quota_bytes=self.quota.most_bytes, beside=self.quota.studies)
                self._capture_cache = CaptureCache(store)
            return self._capture_cache

    @property
    def studies(self) -> Studies:
        """The studies that are under way, and their worker."""
        with self._lock:
            if self._studies is None:
                self._studies = Studies(
                    self.studies_folder,
                    self.worker,
                    limit=self.settings.queue_limit,
                    most_tokens=self.settings.max_study_tokens,
                    drop=memo_cache.invalidate,
                    check_room=self.quota.make_room,
                    chosen=CHOSEN,
                )
            return self._studies

    def worker(self, name: str) -> ModelWorker:
        """The model of that name, loaded once for everybody; returns at once, see `ModelWorker.loading`."""
        with self._lock:
            if name not in self._workers:
                self._workers[name] = self._made(name)
            self._workers.move_to_end(name)
            too_many = [self._workers.popitem(last=False)[1] for _ in range(len(self._workers) - MODELS_LOADED)]
        for old in too_many:  # it ends its pass first, and nobody who asks for another model is to wait for that
            threading.Thread(target=old.close, name=f"close {old.name}").start()
        return self._workers[name]

    def loading(self) -> dict[str, Phase]:
        """How far the loading of each model is that was asked for, by name; of no other."""
        with self._lock:
            return {name: worker.loading.phase for name, worker in self._workers.items()}

    def find_source(self, id: str) -> Source:
        """What an id stands for: what ships with a model, a study, or a captured text.

        Errors: CaptureNotFoundError, CaptureDamagedError, StoreError.
        """
        if "." in id:
            return self._sources.get((id,), lambda: read_shipped(id))
        if (folder := find_folder(self.settings.workspace, id)) is not None:
            is_own = folder.parent == self.studies_folder
            return self._sources.get((id, version_of(folder)), lambda: read_study(id, folder, is_own=is_own))
        try:
            return self.capture_cache.find(id)
        except CaptureNotFoundError:
            if (path := capture_file(self.settings.workspace, id)) is None:
                raise
            return self._sources.get((id,), lambda: read_capture(id, path))

    def announce(self, address: str) -> None:
        """Note in the workspace at which address this server is reached, for commands to say."""
        with self._lock:
            if self._presence is None:
                self._presence = Presence(self.settings.workspace, address)

    def close(self) -> None:
        """End what is under way."""
        with self._lock:
            if self._presence is not None:
                self._presence.close()
                self._presence = None
            studies, workers = self._studies, list(self._workers.values())
            self._studies = None
            self._workers.clear()
        if studies is not None:
            studies.close()
        for each in workers:
            each.close()

    def _made(self, name: str) -> ModelWorker:
        made = ModelWorker(name, settings=self.settings, capture_cache=self.capture_cache, is_present=self._is_present)
        if name in BUNDLED_MODELS and made.recall(WELCOME_TEXT) is None:
            _adopt_welcome(made, name)
        return made


def corpus_of(model: str) -> str | None:
    """The corpus that a page about many documents shows of a model before anything is chosen."""
    return next(iter(shipped_ids(model)), None)


def _adopt_welcome(made: ModelWorker, name: str) -> None:
    """Take in the capture that came with a bundled model; without it the first visitor waits for the model."""
    try:
        made.adopt(load_welcome_capture(name))
    except GatescopeError as error:
        log.warning("%s", error)
