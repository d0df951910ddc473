"""What runs on the machines of a cluster: a model that captures blocks into the shared folder, and tallies added up."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gatescope.analysis.tally.tally import Tally
from gatescope.cache.block import Block
from gatescope.cache.study import StudyFolder, is_study
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.studies.adding_up import added_up, merged
from gatescope.studies.blocks import Texts
from gatescope.studies.capturing import capture_block
from gatescope.studies.packing import packed
from gatescope.studies.plan import Plan

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Replica:
    """The model that every worker loads for itself: what `hooks.load_model` is given."""

    source: str | Path
    revision: str
    device: str
    dtype: str

    @classmethod
    def of(cls, source: str | Path, *, revision: str, device: str, dtype: str) -> "Replica":
        """A folder by its whole path, which means the same in every process."""
        path = Path(source).expanduser()
        return cls(source=path.resolve() if path.exists() else source, revision=revision, device=device, dtype=dtype)

    def load(self) -> "LoadedModel":
        """Errors: as `hooks.load_model`."""
        from gatescope.hooks import load_model

        return load_model(self.source, revision=self.revision, device=self.device, dtype=self.dtype)


class Place(NamedTuple):
    """Where a worker runs."""

    host: str
    process: int


class Worker:
    """One copy of the model, in a process of its own somewhere on the cluster.

    Errors on purpose are answers: Ray would wrap them, and who asked is to have them as they are.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._model: LoadedModel | None = None
        self._loading, self._capturing = Lock(), Lock()
        self._checked: set[tuple[Path, Plan]] = set()
        self._blocks: dict[tuple[Path, int], Lock] = {}

    def start(self) -> Place | GatescopeError:
        """Load the model, and say where."""
        host, loaded = gethostname(), answer(self._loaded)
        if isinstance(loaded, GatescopeError):
            return type(loaded)(f"{loaded.found} (on {host})", expected=loaded.expected, do=loaded.do)
        return Place(host, os.getpid())

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer | GatescopeError:
        """What a function says of the model."""
        return answer(lambda: question(self._loaded(), *arguments))

    def capture(self, texts: Texts, path: Path, plan: Plan) -> Block | GatescopeError:
        """Capture a block and write it into the folder; asked for it again, wait until it is written."""
        return answer(lambda: self._captured(texts, path, plan))

    def _captured(self, texts: Texts, path: Path, plan: Plan) -> Block:
        model = self._loaded()
        folder = self._folder(model, path, plan)
        with self._blocks.setdefault((path, texts.number), Lock()):
            there = folder.block(texts.number)
            if there is not None and there.digest == texts.digest:  # the driver never heard of it
                return there
            with self._capturing:
                captured = capture_block(model, texts, plan)
            block, parts = packed(texts, *captured, plan)
            return folder.write(block, parts)

    def _folder(self, model: "LoadedModel", path: Path, plan: Plan) -> StudyFolder:
        """The study, once it is clear that it is the one the driver began, and begun with the same model as here."""
        if (path, plan) not in self._checked:
            if not is_study(path):
                raise OptionError(
                    f"no study at {path} on {gethostname()}",
                    expected="a folder that all machines of the cluster share",
                    do="name an --out on a shared file system",
                )
            StudyFolder.create(path, plan.recipe(model, StudyFolder(path).recipe()["corpus"]))
            self._checked.add((path, plan))
        return StudyFolder(path)

    def _loaded(self) -> "LoadedModel":
        with self._loading:
            self._model = self._model or self._replica.load()
            return self._model


def answer(do: Callable[[], Answer]) -> Answer | GatescopeError:
    """What a function returns, or the error it raised on purpose."""
    try:
        return do()
    except GatescopeError as error:
        return error


def raised(answer: Answer | GatescopeError) -> Answer:
    """An answer, or the raising of the error that it is."""
    if isinstance(answer, GatescopeError):
        raise answer
    return answer


def count_blocks(path: Path, blocks: Sequence[Block]) -> Tally | GatescopeError:
    """The tallies of some blocks, read from the folder and added up."""
    return answer(lambda: added_up(StudyFolder(path), blocks))


def merge_counts(*tallies: Tally | GatescopeError) -> Tally | GatescopeError:
    """Tallies added up; an error among them goes on."""
    return answer(lambda: merged([raised(each) for each in tallies]))
