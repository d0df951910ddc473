"""A study on disk: the routing of a corpus in blocks, each written once and whole: it may be killed at any moment.

    <folder>/capture.json           the recipe: what the study was made with; written first, never changed
    <folder>/blocks/00000042.json   block 42 is whole: what is in it, what was left out, and the checksum of each part
    <folder>/blocks/00000042.routes     its routing, as Parquet (see `cache.schema`); absent where only counts are kept
    <folder>/blocks/00000042.scores     the same with all router scores, of the documents drawn for it
    <folder>/blocks/00000042.counts     its tally
    <folder>/damaged/               parts that were torn or altered, set aside; never read

A block's parts are on the disk before its .json is, and every file takes its name only when it is whole. So a block
without a .json was never written, whatever lies there, and is captured again. Blocks may be written by any number of
processes and machines that share the folder, in any order; the same block written twice is the same.
"""

import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cache.schema import decode
from routing.errors import CaptureDamagedError, GatescopeError, OptionError, StorageFullError, StoreError
from routing.record import RoutingRecord

RECIPE = "capture.json"
VERSION = 1
STALE_SECONDS = 3600
ROUTES, SCORES, COUNTS = "routes", "scores", "counts"

Recipe = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block that is whole.

    documents   captured; `left_out`: names of those that were not, each with its reason
    digest      of the documents as they were read: the same corpus gives the same
    parts       SHA-256 and size of each part, by its kind
    """

    number: int
    documents: int
    tokens: int
    digest: str
    left_out: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, tuple[str, int]] = field(default_factory=dict)


class StudyFolder:
    """The blocks of one study. Errors: StoreError, StorageFullError, CaptureDamagedError, OptionError."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.blocks_folder = self.folder / "blocks"

    @classmethod
    def create(cls, folder: Path | str, recipe: Recipe) -> "StudyFolder":
        """A new study, or one that was begun with the same recipe, to go on with.

        Errors: OptionError where the folder holds a study of another recipe, or something else.
        """
        study = cls(folder)
        with _explained(study.folder):
            study.blocks_folder.mkdir(parents=True, exist_ok=True)
            study._sweep()
            path = study.folder / RECIPE
            if not path.exists():
                if any(study.blocks_folder.iterdir()):
                    raise OptionError(
                        f"{folder} has blocks and no {RECIPE}", expected="a study", do="name another --out"
                    )
                _write(path, json.dumps({"version": VERSION, **recipe}, indent=1).encode())
        study._check_same(recipe)
        return study

    @classmethod
    def open(cls, folder: Path | str) -> "StudyFolder":
        """A study that is there. Errors: OptionError where none is."""
        study = cls(folder)
        if not is_study(folder):
            raise OptionError(f"no study at {folder}", expected=f"a folder with {RECIPE}", do="check the path")
        study.recipe()
        return study

    def recipe(self) -> dict[str, Any]:
        """What the study was made with. Errors: StoreError where a newer Gatescope wrote it, or it cannot be read."""
        try:
            found: dict[str, Any] = json.loads((self.folder / RECIPE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unreadable(self.folder / RECIPE, str(error)) from error
        if found.get("version") != VERSION:
            raise StoreError(
                f"{self.folder / RECIPE} is of version {found.get('version')!r}",
                expected=f"version {VERSION}",
                do="open it with the Gatescope that wrote it",
            )
        return found

    def finished(self) -> dict[int, Block]:
        """Every block that is whole, by number: its parts are there and as long as they were (see `verify`)."""
        found = {}
        for path in sorted(self.blocks_folder.glob("[0-9]*.json")):
            block = _block(path)
            if block is not None and all(
                _size(self._part(block.number, kind)) == size for kind, (_, size) in block.parts.items()
            ):
                found[block.number] = block
        return found

    def write(self, block: Block, parts: Mapping[str, bytes | memoryview]) -> Block:
        """Write a block: its parts, then the file that says it is whole. Nothing is half-written."""
        sums = {}
        with _explained(self.folder):
            for kind, content in parts.items():
                _write(self._part(block.number, kind), content)
                sums[kind] = (hashlib.sha256(content).hexdigest(), len(content))
            whole = Block(**{**asdict(block), "parts": sums})
            _write(self._part(block.number, "json"), json.dumps(asdict(whole)).encode())
        return whole

    def routes(self, block: Block, kind: str = ROUTES) -> RoutingRecord:
        """The routing of a block. Errors: CaptureDamagedError; OptionError where the study keeps none."""
        return decode(self.part(block, kind))

    def part(self, block: Block, kind: str) -> bytes:
        """The bytes of one part, checked. A damaged one is set aside, and its block is no longer whole."""
        if kind not in block.parts:
            raise OptionError(
                f"block {block.number} of {self.folder} without {kind}",
                expected=f"one of {', '.join(block.parts)}",
                do="capture at a higher level of detail",
            )
        path = self._part(block.number, kind)
        with _explained(self.folder):
            content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != block.parts[kind][0]:
            raise self._set_aside(block, path, f"{len(content)} bytes whose checksum does not match")
        return content

    def verify(self) -> Iterator[tuple[Block, str]]:
        """Read every byte; each block that is damaged, with what is wrong. Damaged parts are set aside."""
        for path in sorted(self.blocks_folder.glob("[0-9]*.json")):
            block = _block(path)
            if block is None:
                yield Block(number=int(path.stem), documents=0, tokens=0, digest=""), f"{path} cannot be read"
                continue
            for kind in block.parts:
                try:
                    self.part(block, kind)
                except GatescopeError as error:
                    yield block, error.found
                    break

    def _part(self, number: int, kind: str) -> Path:
        return self.blocks_folder / f"{number:08}.{kind}"

    def _set_aside(self, block: Block, path: Path, why: str) -> CaptureDamagedError:
        """Move a damaged part away, and the file that called its block whole."""
        aside = self.folder / "damaged"
        with _explained(self.folder):
            aside.mkdir(exist_ok=True)
            for each in (self._part(block.number, "json"), path):
                if each.exists():
                    each.replace(aside / each.name)
        return CaptureDamagedError(
            f"block {block.number} of {self.folder}: {path.name} has {why}; set aside in {aside}",
            expected="the bytes that were written",
            do="run the capture again with the same options: it makes the blocks that are missing",
        )

    def _sweep(self) -> None:
        """Remove what writers that died have left behind."""
        for path in self.blocks_folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()

    def _check_same(self, recipe: Recipe) -> None:
        kept, asked = self.recipe(), json.loads(json.dumps({"version": VERSION, **recipe}))
        differing = [name for name in sorted({*kept, *asked}) if kept.get(name) != asked.get(name)]
        if differing:
            said = "; ".join(f"{name} was {kept.get(name)!r} and is {asked.get(name)!r}" for name in differing)
            raise OptionError(
                f"{self.folder} holds a study made otherwise: {said}",
                expected="the same model, corpus and options, to go on with it",
                do="name another --out, or repeat the options",
            )


def is_study(folder: Path | str) -> bool:
    """Whether a folder holds a captured study."""
    return (Path(folder) / RECIPE).is_file()


def _block(path: Path) -> Block | None:
    """What a block's file says; None where it says nothing that can be read, as if it were not there."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        said["left_out"] = tuple((name, reason) for name, reason in said["left_out"])
        said["parts"] = {kind: (digest, size) for kind, (digest, size) in said["parts"].items()}
        return Block(**said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _write(path: Path, content: bytes | memoryview) -> None:
    """A file that appears whole, on the disk and under its name, or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _unreadable(path: Path, why: str) -> StoreError:
    return StoreError(f"{path} cannot be read: {why}", expected="a study's recipe", do="check the folder")


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Errors of the file system in our own words."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kind = StorageFullError if full else StoreError
        raise kind(
            f"{folder}: {error.strerror or error}",
            expected="a folder with room to write into",
            do="make room and run the same command again: it goes on where it stopped",
        ) from error
