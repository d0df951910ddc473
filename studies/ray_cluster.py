"""A study on a Ray cluster: blocks of a corpus go to workers, a model each, which write them into the shared folder.

Ray starts the workers and places them; `studies.ray_actors` replaces lost ones. Which block goes where, and that those
of a lost worker go to another, is decided here. A worker answers with what it wrote; the routing itself never travels.
"""

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from itertools import islice
from socket import create_connection
from typing import Any, NamedTuple, TypeVar

from gatescope.analysis.tally.files import to_bytes
from gatescope.analysis.tally.tally import Tally
from gatescope.cache.block import Block
from gatescope.cache.study import COUNTS, StudyFolder
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.routing.record import Document
from gatescope.studies.adding_up import blocks_with_counts
from gatescope.studies.blocks import WHOLE, Seen, Share, Texts, cut
from gatescope.studies.plan import Plan
from gatescope.studies.ray_actors import MOST_LOSSES, Crew, Lost, last_line
from gatescope.studies.ray_worker import Answer, Place, Replica, Worker, count_blocks, merge_counts, raised
from gatescope.studies.run_blocks import Progress, run_blocks

PACKAGE = "ray==2.60.0"
AHEAD = 2
"""Blocks that a worker holds: it captures one while it counts and writes the other."""
LEAST_READ = 16
"""Blocks, at least, whose tallies one task reads and adds up."""
JOINED = 4
"""Sums that one task adds up; each may be as large as that of the whole study."""
Item = TypeVar("Item")


class Room(NamedTuple):
    """What workers take: how many are wanted, CPU threads and GPUs of each, and how many the cluster has room for."""

    workers: int
    threads: int
    gpus: int
    fitting: int

    @property
    def cpus(self) -> int:
        """Processors that are set aside for each."""
        return 1 if self.gpus else self.threads

    @property
    def described(self) -> str:
        """In words, for who waits."""
        has = f"{self.gpus} GPU" if self.gpus else f"{self.threads} CPU thread{'s' if self.threads > 1 else ''}"
        waiting = f"; there is room for {self.fitting}, the others begin when there is more"
        return f"{self.workers} worker{'s' if self.workers > 1 else ''}, each with {has}" + waiting * (
            self.fitting < self.workers
        )


class Cluster:
    """The workers of one run. `on_trouble` is told at once, in words, of those that cannot be reached."""

    def __init__(
        self, ray: Any, replica: Replica, room: Room, on_trouble: Callable[[str], object] = lambda _said: None
    ) -> None:
        self.room, self._ray = room, ray
        kind = ray.remote(
            num_cpus=room.cpus,
            num_gpus=room.gpus,
            max_restarts=0,
            max_concurrency=AHEAD,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(room.threads)}},
        )(Worker)
        self._crew = Crew(ray, lambda: kind.remote(replica), room.workers, on_trouble)

    @property
    def places(self) -> list[Place]:
        """Where workers run that are ready."""
        return self._crew.places

    @property
    def lost(self) -> list[Place]:
        """Where workers were lost so far; each was replaced."""
        return self._crew.lost

    def wait_for(self, workers: int) -> None:
        """Wait until so many are ready, while they are asked nothing. Errors: as `hooks.load_model`."""
        while len(self.places) < workers:
            self._crew.next()

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        """What a function says of the model, on the first worker that is ready. Errors: those of the function."""
        losses = 0
        while True:
            if not self._crew.held("ask") and (seat := self._crew.free("ask", 1)):
                self._crew.ask(seat, "ask", question, *arguments)
            if (done := self._crew.next()) is None:
                continue
            if not isinstance(done[1], Lost):
                found: Answer = raised(done[1])
                return found
            losses += 1
            if losses > MOST_LOSSES:
                raise done[1].after(f"{losses} workers were lost over one question") from done[1].why

    def capture(self, blocks: Iterator[Texts], folder: StudyFolder, plan: Plan) -> Iterator[Block]:
        """Have blocks captured, each given out when a worker has room for it; what was written, as it comes back.

        Errors: GatescopeError of a block, which it names, after the blocks that others hold are finished.
        """
        path = folder.folder.resolve()
        todo, losses = deque[Texts](), Counter[int]()
        try:
            while True:
                if not todo:
                    todo.extend(islice(blocks, 1))
                if not todo and not self._crew.held("capture"):
                    return
                if todo and (seat := self._crew.free("capture", AHEAD)):
                    self._crew.ask(seat, "capture", todo.popleft(), path, plan)
                elif (done := self._crew.next()) is not None:
                    texts = done[0].arguments[0]
                    block = _block(texts, done[1], losses)
                    if block is None:
                        todo.append(texts)
                    else:
                        yield block
        except GatescopeError:
            self._crew.finish("capture")
            raise

    def whole_tally(self, folder: StudyFolder) -> Tally:
        """The tallies of all blocks as one, added up in a tree of tasks, and kept. The workers are let go before.

        Errors: as `capturing.whole_tally`.
        """
        self.dismiss()
        blocks, path = blocks_with_counts(folder), folder.folder.resolve()
        count, merge = (self._ray.remote(num_cpus=self.room.cpus)(task) for task in (count_blocks, merge_counts))
        read = max(LEAST_READ, math.ceil(len(blocks) / (2 * self.room.workers)))
        level = [count.remote(path, part) for part in _cut_in(blocks, read)]
        while len(level) > 1:
            level = [merge.remote(*part) for part in _cut_in(level, JOINED)]
        whole: Tally = raised(self._ray.get(level[0]))
        folder.keep_sum(blocks, COUNTS, to_bytes(whole))
        return whole

    def dismiss(self) -> None:
        """Let the workers go, whatever they do."""
        self._crew.dismiss()


@contextmanager
def cluster(
    replica: Replica, workers: int = 0, on_trouble: Callable[[str], object] = lambda _said: None
) -> Iterator[Cluster]:
    """Workers on the Ray cluster that RAY_ADDRESS names or this machine is part of, or else on this machine alone.

    `workers` 0: one for each GPU, or one. `on_trouble`: as of `Cluster`. Errors: OptionError where there is no Ray, no
    cluster, or no room on it.
    """
    ray = _ray()
    with _connected(ray):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = room_for(nodes, replica.device, workers, _threads())
        if room.gpus and replica.device == "auto":
            replica = replace(replica, device="cuda")  # no worker falls back to a CPU unseen
        found = Cluster(ray, replica, room, on_trouble)
        try:
            yield found
        finally:
            found.dismiss()


def capture_on_cluster(
    workers: Cluster,
    documents: Iterable[Document],
    folder: StudyFolder,
    plan: Plan,
    *,
    share: Share = WHOLE,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Progress:
    """Capture every block that is this share's and not yet whole, as `capture_study` does, on all workers.

    The corpus is read here, no further ahead than workers hold blocks. Errors: as `capture_study`; those of a block
    name it.
    """
    seen = Seen()
    return run_blocks(
        cut(documents, seen, plan.longest),
        folder,
        lambda missing: workers.capture(missing, folder, plan),
        seen=seen,
        share=share,
        on_progress=on_progress,
    )


def room_for(nodes: Sequence[Mapping[str, float]], device: str, workers: int, threads: int) -> Room:
    """What each worker takes of machines with such resources; 0 workers or threads: as many as there is room for.

    Errors: OptionError where not even one worker fits, or a device is named that machines do not share.

    >>> room_for([{"CPU": 8.0}, {"CPU": 4.0}], "auto", 3, 0)
    Room(workers=3, threads=4, gpus=0, fitting=3)
    """
    if device not in ("auto", "cpu", "cuda", "spread"):
        raise OptionError(f"--device {device} on a cluster", expected="auto, cpu, cuda or spread", do="choose one")
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    present = [number for number in gpus if number and device != "cpu"]
    each = (min(present) if device == "spread" else 1) if present else 0
    if device == "cuda" and not present:
        raise OptionError("--device cuda on a cluster without GPUs", expected="auto or cpu", do="choose one")
    workers = workers or sum(number // each for number in present if each) or 1
    threads = threads or next((t for t in range(max(cpus), 0, -1) if sum(cpu // t for cpu in cpus) >= workers), 1)
    fitting = sum(number // each for number in present) if each else sum(cpu // threads for cpu in cpus)
    if not fitting:
        raise OptionError(
            f"a worker of {threads} threads, on machines of {max(cpus)} CPUs at most",
            expected="room for one worker",
            do="set OMP_NUM_THREADS to fewer",
        )
    return Room(workers, threads, each, fitting)


def _ray() -> Any:
    """Ray, told to send nothing to its makers, and to write nothing between our lines.

    Errors: OptionError where it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # of lines, lost workers' among them: we tell of those
    try:
        return import_module("ray")
    except ModuleNotFoundError as absent:
        raise OptionError(
            "--engine ray, and Ray is not installed",
            expected="Ray beside the other packages, on every machine of the cluster",
            do=f"pip install {PACKAGE}",
        ) from absent


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """Part of a cluster meanwhile, if the process is not so already."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _connect(ray, address)
    except (OSError, RuntimeError, ray.exceptions.RayError) as refusal:
        raise _no_cluster(address, refusal) from refusal
    try:
        yield
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """To the cluster at an address, or that this machine is part of ("auto"); if there is none, to one of its own."""
    quiet = {"logging_level": "error", "log_to_driver": False}
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        create_connection((host, int(port)), timeout=5).close()  # Ray itself tries for minutes
    if address != "local":
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            if address != "auto":
                raise
        else:
            return
    ray.init(address="local", include_dashboard=False, **quiet)


def _no_cluster(address: str, refusal: Exception) -> OptionError:
    return OptionError(
        f"no Ray cluster at {address}: {last_line(refusal)}",
        expected=f"a running cluster of {PACKAGE.replace('==', ' ')}",
        do="start it with `ray start --head`, correct RAY_ADDRESS, or unset it to use this machine alone",
    )


def _block(texts: Texts, answer: Any, losses: Counter[int]) -> Block | None:
    """What became of a block; None where it was lost with its worker. Errors: GatescopeError, which names the block."""
    if isinstance(answer, Lost):
        losses[texts.number] += 1
        if losses[texts.number] > MOST_LOSSES:
            raise answer.after(f"block {texts.number} was lost {losses[texts.number]} times") from answer.why
        return None
    if isinstance(answer, GatescopeError):
        raise type(answer)(f"block {texts.number}: {answer.found}", expected=answer.expected, do=answer.do)
    found: Block = answer
    return found


def _threads() -> int:
    """Threads that each worker computes with, if that is said: weights differ in their last bits with the number."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(text) if text.isdigit() else 0


def _cut_in(whole: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]
