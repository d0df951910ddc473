"""Studies in the background: one after another, each block of texts a job of its own in the model's queue.

A study stands in the model's queue with one block at a time, so that a prompt waits for one block (some two seconds of
work), never for a study. Its own worker cuts, writes and counts beside that, and computes the metrics, for which no
model is needed. What is whole on the disk stays: a study that was stopped, failed, or whose server ended, goes on.

From the moment it waits to its end a study is leased (see `cache.lease`): commands and other servers on the same
workspace see that it runs and how far it is, and do not take it for one that was stopped.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gatescope.cache.block import Block
from gatescope.cache.lease import Lease, current
from gatescope.cache.study import StudyFolder, is_study
from gatescope.routing.errors import (
    CaptureCancelledError,
    InUseError,
    ModelError,
    OptionError,
    QueueFullError,
    explained,
)
from gatescope.routing.record import Document, RoutingRecord
from gatescope.server.jobs import Job, JobQueue, Phase, Tick
from gatescope.server.model_worker import ModelWorker
from gatescope.server.places import study_in
from gatescope.server.sources import ANALYSED, CAPTURED
from gatescope.server.study_blocks import blocks, fitted, plan_of
from gatescope.server.study_progress import StudyProgress, progress_from
from gatescope.studies.blocks import Seen, Texts
from gatescope.studies.capturing import capture_block
from gatescope.studies.compute import Chosen, study_of_folder
from gatescope.studies.manifest import TEXTS, StudyManifest, read_manifest, read_texts, write_manifest, write_texts
from gatescope.studies.packing import Skipped
from gatescope.studies.plan import Plan
from gatescope.studies.run_blocks import one_by_one, run_blocks
from gatescope.studies.wholeness import check_whole
from gatescope.studies.write import write_study

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel

CHOSEN = Chosen(resamples=200)
"""Every metric; so many resamples give intervals to the second digit, in a fifth of the time of a thousand."""
PATIENCE_SECONDS = 0.2
AGAIN_SECONDS = 2.0
TRIES = 5
"""How often a model may be taken away from a study (for another one that a visitor wants) within one block."""
OVER = 1.1
"""How far a study may exceed the tokens it was estimated to have before it is ended."""
WATCHER = "study"

Answer = TypeVar("Answer")


class Studies:
    """The studies of a server: begun, gone on with, cancelled, and how far each is.

    folder          of all studies, each in a folder named by its id
    find_tracer     the model of a name, loaded or loading
    drop            is told the id of a study whose results changed
    chosen          what is computed of each
    check_room      raises StorageFullError where studies and captures take more than they may
    """

    def __init__(
        self,
        folder: Path,
        find_tracer: Callable[[str], ModelWorker],
        *,
        limit: int,
        most_tokens: int,
        drop: Callable[[str], None] = lambda _: None,
        chosen: Chosen = CHOSEN,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.queue = folder, JobQueue(limit=limit, name="gatescope-studies")
        self._find_tracer, self._most_tokens, self._drop, self._chosen = find_tracer, most_tokens, drop, chosen
        self._check_room = check_room
        # Guards the three below: the pages' threads and the worker change them.
        self._lock = threading.Lock()
        self._live: dict[str, Job[None]] = {}
        self._doing: dict[str, StudyProgress] = {}
        self._leases: dict[str, Lease] = {}

    def begin(self, order: StudyManifest, documents: Sequence[Document]) -> Job[None]:
        """Keep the texts and start; a study that is there already goes on. Errors: StoreError, QueueFullError."""
        folder = self.folder / order.id
        if self.doing(order.id) is None and not (folder / CAPTURED).exists():
            write_texts(folder, documents)
            write_manifest(folder, order)
        return self.go_on(order.id)

    def go_on(self, id: str) -> Job[None]:
        """Start a study again from where it stopped.

        Errors: OptionError for none; InUseError where another process works on it; StoreError, QueueFullError.
        """
        folder = self.folder / id
        order = self._order(folder)
        doing = StudyProgress(of_documents=order.documents)
        with self._lock:  # held until all is noted: the worker may begin at once
            if id not in self._leases:  # else one that was cancelled has not ended yet, and hands its lease on
                told = self._doing
                self._leases[id] = Lease.take(
                    folder, "in a dashboard", progress=lambda: told[id].to_dict() if id in told else {}
                )
            lease, before = self._leases[id], self._doing.get(id)
            try:
                job = self.queue.submit(id, lambda tick: self._leased(lease, folder, doing, tick), watcher=WATCHER)
            except BaseException:
                if before is None or self._live[id].is_over:
                    self._let_go(id)
                raise
            if self._live.get(id) is not job:
                self._live[id], self._doing[id] = job, doing
        return job

    def cancel(self, id: str) -> None:
        """Stop a study; what is captured stays."""
        if (job := self.live(id)) is None:
            return
        self.queue.leave(job, WATCHER)
        if job.is_over:  # it had not begun, and nobody else will say so
            with self._lock:
                self._let_go(id)
            folder = self.folder / id
            write_manifest(folder, replace(self._order(folder), state="stopped"))

    def live(self, id: str) -> Job[None] | None:
        """The job of a study that waits or runs in this process."""
        with self._lock:
            job = self._live.get(id)
        return job if job is not None and not job.is_over else None

    def doing(self, id: str) -> StudyProgress | None:
        """What a study that waits or runs is at, here or, by its lease, elsewhere."""
        if self.live(id) is not None:
            with self._lock:
                return self._doing[id]
        holder = current(self.folder / id)
        return None if holder is None else progress_from(holder.progress)

    def close(self) -> None:
        """Cancel what runs; it can go on when the server is started again."""
        self.queue.close()
        with self._lock:
            for id in list(self._leases):
                self._let_go(id)

    def _let_go(self, id: str) -> None:
        """With the lock held: give up the lease of a study, if there is one."""
        if (lease := self._leases.pop(id, None)) is not None:
            lease.release()

    def _leased(self, lease: Lease, folder: Path, doing: StudyProgress, tick: Tick) -> None:
        """The work of a study, as long as nobody took it over."""

        def checked(done: int, total: int) -> None:
            lease.check()
            tick(done, total)

        try:
            self._work(folder, doing, checked)
        finally:
            with self._lock:
                if self._doing.get(folder.name) is doing:  # else the same study waits already to go on
                    self._let_go(folder.name)

    def _order(self, folder: Path) -> StudyManifest:
        if (order := read_manifest(folder)) is None:
            raise OptionError(f"no study {folder.name}", expected="one that was begun here", do="begin it again")
        return order

    def _work(self, folder: Path, doing: StudyProgress, tick: Tick) -> None:
        """Capture, then analyse; whatever becomes of it is written beside it."""
        order = replace(self._order(folder), state="running", problem=())
        write_manifest(folder, order)
        try:
            self._run(order, folder, doing, tick)
        except CaptureCancelledError:
            write_manifest(folder, replace(self._order(folder), state="stopped"))
            raise
        except InUseError:  # what becomes of it is for whoever took it over to say
            raise
        except Exception as error:
            write_manifest(folder, self._order(folder).failed(explained(error)))
            raise
        write_manifest(folder, replace(self._order(folder), state="done"))
        (folder / TEXTS).unlink(missing_ok=True)

    def _run(self, order: StudyManifest, folder: Path, doing: StudyProgress, tick: Tick) -> None:
        if not order.imported and (folder / TEXTS).exists():
            capturing = _Capturing(order, folder, self._find_tracer, doing, tick)
            capturing.run(self._most_tokens, self._check_room)
        self._drop(order.id)

        def tell(metric: str, done: int, total: int) -> None:
            doing.begin(metric)
            doing.metrics, doing.of_metrics = done, total
            doing.characters = doing.of_characters = max(doing.of_characters, 1)
            tick(done, total)

        study = study_in(folder)
        check_whole(study, name=order.name, do="go on with it, or begin it again")
        found = study_of_folder(study, self._chosen, on_progress=tell)
        tick(1, 1)
        model = order.model or found.tally.provenance.model
        doing.is_writing = True

        def tell_file(name: str) -> None:
            doing.begin(name)
            tick(1, 1)

        out = folder / ANALYSED
        write_study(found, out, model=model, corpus=order.name, counts_only=False, on_file=tell_file)
        self._drop(order.id)


class _Capturing:
    """The texts of one study through its model, block by block."""

    def __init__(
        self,
        order: StudyManifest,
        folder: Path,
        find_tracer: Callable[[str], ModelWorker],
        doing: StudyProgress,
        tick: Tick,
    ) -> None:
        self._order, self._folder, self._find_tracer = order, folder, find_tracer
        self._doing, self._tick = doing, tick

    def run(self, most_tokens: int, check_room: Callable[[], None]) -> None:
        """Capture every block that is not there yet.

        Errors: as `capture_study`; OptionError for too many tokens; StorageFullError. Blocks that are whole stay.
        """
        documents = read_texts(self._folder)
        self._doing.of_documents = len(documents)
        self._doing.of_characters = sum(len(document.text) for document in documents)
        plan, recipe = self._plan(documents)
        study = StudyFolder.create(self._folder / CAPTURED, recipe)
        tokens, began = 0, time.monotonic()

        def on_block(texts: Texts, block: Block, is_new: bool) -> None:
            nonlocal tokens, began
            tokens += block.tokens
            self._note(texts, block, time.monotonic() - began if is_new else None)
            began = time.monotonic()
            if tokens > OVER * most_tokens:
                raise _too_many(tokens, most_tokens)
            check_room()

        strategy = one_by_one(
            lambda texts: self._captured(texts, plan),
            study,
            plan,
        )
        cut_texts = blocks(documents, self._order.block_characters, plan.longest)
        run_blocks(cut_texts, study, strategy, seen=Seen(), on_block=on_block)

    def _plan(self, documents: Sequence[Document]) -> tuple[Plan, dict[str, Any]]:
        """How the corpus is captured: as it was begun, else as fits the model."""
        self._doing.what = "reading the model"
        order = self._order
        if not order.batch_tokens:
            places, longest = self._ask("batch", lambda model: fitted(model, documents))
            order = replace(order, batch_tokens=places, longest=longest)
            write_manifest(self._folder, order)
            self._order = order
        plan = plan_of(order)
        captured = self._folder / CAPTURED
        named = StudyFolder.open(captured).recipe()["corpus"] if is_study(captured) else order.name  # as it was begun
        made = self._ask("recipe", lambda model: plan.recipe(model, named))
        self._doing.what = "capturing"
        return plan, {**made, "block_characters": order.block_characters}

    def _captured(self, texts: Texts, plan: Plan) -> tuple[RoutingRecord | None, Skipped]:
        return self._ask(f"block {texts.number}", lambda model: capture_block(model, texts, plan))

    def _note(self, texts: Texts, block: Block, seconds: float | None) -> None:
        """Count one block; `seconds` it took, None where it was there."""
        characters = sum(len(document.text) for document in texts.documents)
        self._doing.documents += texts.read
        self._doing.characters += characters
        self._doing.tokens += block.tokens
        if seconds is not None:
            self._doing.new_characters += characters
            self._doing.seconds += seconds
        self._tick(self._doing.documents, self._doing.of_documents)

    def _ask(self, what: str, question: "Callable[[LoadedModel], Answer]") -> Answer:
        """What a function says of the model, in its turn: everything that waited before goes first."""
        lost = 0
        while lost < TRIES:
            worker = self._loaded()
            try:
                job = worker.queue.submit(
                    f"study {self._order.id} {what}", _turn(worker, question), watcher=worker.name
                )
            except QueueFullError:
                self._pause(AGAIN_SECONDS)
                continue
            try:
                self._await(job)
            except CaptureCancelledError:
                worker.queue.leave(job, worker.name)  # its place is given up
                raise
            if job.phase is Phase.DONE:
                return job.result  # type: ignore[return-value]  # what the question gave
            if job.phase is Phase.FAILED and job.error is not None:
                raise job.error
            lost += 1  # the model made room for another one, or the server is about to stop
            self._pause(AGAIN_SECONDS)
        raise ModelError(
            f"the model {self._order.model} was unloaded for other models {TRIES} times",
            expected="a model that stays for a block of a study",
            do="go on with the study when fewer people use the server",
        )

    def _await(self, job: Job[Any]) -> None:
        """Wait until a job is over. Errors: CaptureCancelledError when the study is cancelled meanwhile."""
        while not job.wait(PATIENCE_SECONDS):
            self._tick(self._doing.documents, self._doing.of_documents)

    def _loaded(self) -> ModelWorker:
        """The model's queue, once the model is there. Errors: as `hooks.load_model`."""
        worker = self._find_tracer(self._order.model)
        worker.reload()
        self._await(worker.loading)  # others wait for it too: a study that is cancelled leaves it alone
        if worker.loading.phase is Phase.FAILED and worker.loading.error is not None:
            raise worker.loading.error
        return worker

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(PATIENCE_SECONDS)
            self._tick(self._doing.documents, self._doing.of_documents)


def _turn(worker: ModelWorker, question: "Callable[[LoadedModel], Answer]") -> Callable[[Tick], Answer]:
    """A question as work of the model's queue."""
    return lambda _tick: question(_model(worker))


def _model(worker: ModelWorker) -> "LoadedModel":
    if worker.model is None:
        raise ModelError(f"{worker.name} is not loaded", expected="a loaded model", do="go on with the study")
    return worker.model


def _too_many(tokens: int, most: int) -> OptionError:
    return OptionError(
        f"{tokens:,} tokens so far", expected=f"at most {most:,} in a study here", do="study fewer or shorter documents"
    )
