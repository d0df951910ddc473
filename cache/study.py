"""A study on disk: the routing of a corpus in blocks, each written once and whole: it may be killed at any moment.

    <folder>/capture.json           the recipe: what the study was made with; written first, never changed
    <folder>/end.json               how many blocks there are: the corpus was read to its end, and nothing written since
    <folder>/blocks/00000042.json   block 42 is whole: what is in it, what was left out, and the checksum of each part
    <folder>/blocks/00000042.routes     its routing, as Parquet (see `cache.schema`); absent where only counts are kept
    <folder>/blocks/00000042.scores     the same with all router scores, of the documents drawn for it
    <folder>/blocks/00000042.counts     its tally
    <folder>/counts-A-B             the tallies A of all blocks as one, where they were added up once; B is its checksum
    <folder>/damaged/               parts that were torn or altered, set aside; never read
    .*.tmp                          in both folders: being written, or left behind; never read (see `cache.temporary`)

A block's parts are on the disk before its .json is, and every file takes its name only when it is whole. So a block
without a .json was never written, whatever lies there, and is captured again. Blocks may be written by any number of
processes and machines that share the folder, in any order; the same block written twice is the same. Each .json holds
a checksum of what it says, that of a block in its own study alone.
"""

import errno
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from gatescope.cache.block import Block as Block  # as others know it
from gatescope.cache.block import read_block, said_of
from gatescope.cache.checksum import CHECKSUM, digest_of, is_intact, with_checksum
from gatescope.cache.schema import decode
from gatescope.cache.temporary import sweep, write_whole
from gatescope.routing.errors import CaptureDamagedError, GatescopeError, OptionError, StorageFullError, StoreError
from gatescope.routing.record import RoutingRecord

RECIPE, END = "capture.json", "end.json"
VERSION = 2
NOTHING_SEALED = 1
"""The version whose recipe and blocks carry no checksum of their own; they are read as they are."""
ROUTES, SCORES, COUNTS = "routes", "scores", "counts"
_OWN = re.compile(rf"[0-9]{{8}}\.(json|{ROUTES}|{SCORES}|{COUNTS})|\..*\.tmp")

Recipe = Mapping[str, Any]


class StudyFolder:
    """The blocks of one study. Errors: StoreError, StorageFullError, CaptureDamagedError, OptionError.

    Damage that is found is set aside, so that it is captured again; unless `sets_aside`, as for a study that lies in
    somebody else's folder, it is told and left.
    """

    def __init__(self, folder: Path | str, *, sets_aside: bool = True) -> None:
        self.folder, self._sets_aside = Path(folder), sets_aside
        self.blocks_folder = self.folder / "blocks"

    @classmethod
    def create(cls, folder: Path | str, recipe: Recipe) -> "StudyFolder":
        """A new study, or one that was begun with the same recipe, to go on with.

        Errors: OptionError where the folder holds a study of another recipe, or something else.
        """
        study = cls(folder)
        with _explained(study.folder):
            path = study.folder / RECIPE
            if not path.exists():
                study._check_new()
            study.blocks_folder.mkdir(parents=True, exist_ok=True)
            study.sweep()
            if not path.exists():
                write_whole(path, _spelt({"version": VERSION, **recipe}), is_first=True, or_last=True)
        study._check_same(recipe)
        return study

    @classmethod
    def open(cls, folder: Path | str, *, sets_aside: bool = True) -> "StudyFolder":
        """A study that is there. Errors: OptionError where none is."""
        study = cls(folder, sets_aside=sets_aside)
        if not is_study(folder):
            raise OptionError(f"no study at {folder}", expected=f"a folder with {RECIPE}", do="check the path")
        study.recipe()
        return study

    def recipe(self) -> dict[str, Any]:
        """What the study was made with. Errors: StoreError where a newer Gatescope wrote it, or it cannot be read."""
        try:
            found: dict[str, Any] = json.loads((self.folder / RECIPE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(self.folder / RECIPE, str(error)) from error
        if not isinstance(found, dict):
            raise _unreadable(self.folder / RECIPE, "it holds no object")
        version = found.get("version")
        if version not in (NOTHING_SEALED, VERSION) or isinstance(version, bool):
            raise StoreError(
                f"{self.folder / RECIPE} is of version {version!r}",
                expected=f"version {VERSION}",
                do="open it with the Gatescope that wrote it",
            )
        if (version != NOTHING_SEALED or CHECKSUM in found) and not is_intact(found):
            raise _unreadable(self.folder / RECIPE, "its checksum does not match")
        return found

    @property
    def mark(self) -> str:
        """What tells this study from every other: a digest of its recipe. Errors: as `recipe`."""
        return self._mark()[0]

    def end(self, blocks: int) -> None:
        """Note that the corpus was read to its end, and how many blocks it is; writing a block takes the note away."""
        with _explained(self.folder):
            write_whole(
                self.folder / END, json.dumps(with_checksum({"blocks": blocks}, within=self._mark()[0])).encode()
            )

    def finished(self) -> dict[int, Block]:
        """Every block that is whole, by number: its parts are there and as long as they were (see `verify`)."""
        blocks = self._read().values()
        return {block.number: block for block in blocks if block is not None and not self._torn(block)}

    def block(self, number: int) -> Block | None:
        """One block, if it is whole."""
        mark, is_sealed = self._mark()
        block = read_block(self._part(number, "json"), study=mark, is_sealed=is_sealed)
        return None if block is None or self._torn(block) else block

    def troubles(self) -> list[str]:
        """What is not as it was written, seen without reading it all (see `verify`), and what is not of the study.

        A block that is named here is not whole, and the next capture makes it anew.
        """
        held = self.blocks_folder.iterdir() if self.blocks_folder.is_dir() else ()
        foreign = [path for path in held if not _OWN.fullmatch(path.name)]
        return self._damage(self._read()) + [
            f"{path} is no file of a study, and is left alone" for path in sorted(foreign)
        ]

    def lacking(self, *, is_ended: bool = False) -> list[str]:
        """What the study lacks of its corpus; nothing where it is whole. `is_ended` where its end is known otherwise.

        Blocks that are torn or were never captured, and, while it is captured, that the end has not come.
        """
        read = self._read()
        there = {int(path.stem) for path in read}
        blocks = self._blocks_in_all()
        past = max(there, default=-1) + 1
        found = self._damage(read) + _gaps(there, max(past, blocks or 0))
        if blocks is None and not is_ended:
            found.append(f"its capture has not come to its end: {self._whole(read):,} blocks are whole so far")
        elif blocks is not None and past > blocks:
            found.append(f"block {past - 1} lies behind its end, which is at {blocks:,} blocks")
        return found

    def write(self, block: Block, parts: Mapping[str, bytes | memoryview]) -> Block:
        """Write a block: its parts, then the file that says it is whole. Nothing is half-written."""
        sums = {}
        with _explained(self.folder):
            (self.folder / END).unlink(missing_ok=True)
            self._part(block.number, "json").unlink(missing_ok=True)  # what it called whole is replaced now
            for kind, content in parts.items():
                write_whole(self._part(block.number, kind), content)
                sums[kind] = (hashlib.sha256(content).hexdigest(), len(content))
            whole = Block(**{**asdict(block), "parts": sums})
            write_whole(self._part(block.number, "json"), said_of(whole, study=self._mark()[0]))
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
            content = path.read_bytes() if path.exists() else None
        if content is None:
            raise self._set_aside(block, path, "is gone")
        if hashlib.sha256(content).hexdigest() != block.parts[kind][0]:
            if self._read().get(self._part(block.number, "json")) != block:
                raise _unreadable(path, "its block is being written anew", expected="a study at rest", do="try again")
            raise self._set_aside(block, path, f"has {len(content):,} bytes whose checksum does not match")
        return content

    def keep_sum(self, blocks: Iterable[Block], kind: str, content: bytes) -> None:
        """Keep what one kind of part adds up to over some blocks, in place of what was kept of others."""
        mark = _sum_of(blocks, kind)
        named = f"{kind}-{mark}-{_checksum(mark, content)}"
        with _explained(self.folder):
            write_whole(self.folder / named, content)
            for path in self.folder.glob(f"{kind}-*-*"):
                if path.name != named:
                    path.unlink(missing_ok=True)

    def kept_sum(self, blocks: Iterable[Block], kind: str) -> bytes | None:
        """What was kept of exactly these blocks, as they are now; None where nothing was, or it was altered since."""
        with _explained(self.folder):
            mark = _sum_of(blocks, kind)
            for path in self.folder.glob(f"{kind}-{mark}-*"):
                content = path.read_bytes()
                if path.name == f"{kind}-{mark}-{_checksum(mark, content)}":
                    return content
        return None

    def verify(self) -> Iterator[tuple[Block, str]]:
        """Read every byte; each block that is damaged, with what is wrong. Damaged parts are set aside."""
        for path, block in self._read().items():
            if block is None:
                nothing = Block(number=int(path.stem), documents=0, tokens=0, digest="")
                yield nothing, self._set_aside(nothing, path, "cannot be read").found
                continue
            for kind in block.parts:
                try:
                    self.part(block, kind)
                except GatescopeError as error:
                    yield block, error.found
                    break

    def sweep(self) -> None:
        """Remove what writers that died have left behind."""
        with _explained(self.folder):
            for folder in (self.folder, self.blocks_folder):
                sweep(folder)

    def _read(self) -> dict[Path, Block | None]:
        """The files that say of a block that it is whole, each with what it says; None where that cannot be read."""
        paths = sorted(self.blocks_folder.glob(f"{'[0-9]' * 8}.json"))
        mark, is_sealed = self._mark() if paths else ("", True)
        return {path: read_block(path, study=mark, is_sealed=is_sealed) for path in paths}

    def _mark(self) -> tuple[str, bool]:
        """What tells this study from others, and whether all it says of its blocks must carry a checksum."""
        fields = self.recipe()
        own = {name: value for name, value in fields.items() if name not in ("corpus", "version", CHECKSUM)}
        return digest_of(own), fields["version"] != NOTHING_SEALED

    def _blocks_in_all(self) -> int | None:
        """How many blocks the corpus is; None where its end was not reached, or that cannot be read."""
        try:
            fields = json.loads((self.folder / END).read_text(encoding="utf-8"))
            return int(fields["blocks"]) if is_intact(fields, within=self._mark()[0]) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def _whole(self, read: Mapping[Path, Block | None]) -> int:
        """How many blocks are whole, of those that were read."""
        return sum(block is not None and not self._torn(block) for block in read.values())

    def _damage(self, read: Mapping[Path, Block | None]) -> list[str]:
        """What is torn, or cannot be read."""
        found = []
        for path, block in read.items():
            named = path.relative_to(self.folder)
            found += [f"{named} cannot be read"] if block is None else self._torn(block)
        return found

    def _torn(self, block: Block) -> list[str]:
        """Which parts of a block are gone, or not as long as they were."""
        sizes = {kind: (_size(self._part(block.number, kind)), size) for kind, (_, size) in block.parts.items()}
        return [
            f"{self.blocks_folder.name}/{block.number:08}.{kind} "
            + ("is gone" if is_now < 0 else f"has {is_now:,} of {was:,} bytes")
            for kind, (is_now, was) in sizes.items()
            if is_now != was
        ]

    def _part(self, number: int, kind: str) -> Path:
        return self.blocks_folder / f"{number:08}.{kind}"

    def _set_aside(self, block: Block, path: Path, why: str) -> CaptureDamagedError:
        """Move a damaged part away, and the file that called its block whole."""
        aside = self.folder / "damaged"
        if not self._sets_aside:
            return CaptureDamagedError(
                f"block {block.number} of {self.folder}: {path.name} {why}",
                expected="the bytes that were written",
                do="ask whoever captured it to run the capture again, which makes that block anew",
            )
        with _explained(self.folder):
            aside.mkdir(exist_ok=True)
            for each in (self._part(block.number, "json"), path):
                if each.exists():
                    each.replace(aside / each.name)
        return CaptureDamagedError(
            f"block {block.number} of {self.folder}: {path.name} {why}; set aside in {aside}",
            expected="the bytes that were written",
            do="run the capture again with the same options: it makes the blocks that are missing",
        )

    def _check_new(self) -> None:
        """Errors: OptionError where a folder that is to become a study holds something already."""
        held = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        foreign = [path for path in held if path != self.blocks_folder and not _OWN.fullmatch(path.name)]
        if self.blocks_folder.is_dir() and any(self.blocks_folder.iterdir()):
            foreign.append(self.blocks_folder)
        if foreign and not (self.folder / RECIPE).exists():  # another process may have begun it meanwhile
            raise OptionError(
                f"{self.folder} has no {RECIPE}, and holds {foreign[0].name}",
                expected="a study to go on with, or an empty folder",
                do="name another --out, or another --name",
            )

    def _check_same(self, recipe: Recipe) -> None:
        kept, asked = self.recipe(), json.loads(json.dumps(dict(recipe)))
        names = sorted({*kept, *asked} - {"version", CHECKSUM})
        differing = [name for name in names if kept.get(name) != asked.get(name)]
        if differing:
            fields = "; ".join(f"{name} was {kept.get(name)!r} and is {asked.get(name)!r}" for name in differing)
            raise OptionError(
                f"{self.folder} holds a study made otherwise: {fields}",
                expected="the same model, corpus and options, to go on with it",
                do="name another --out or --name, or repeat the options",
            )


def is_study(folder: Path | str) -> bool:
    """Whether a folder holds a captured study."""
    return (Path(folder) / RECIPE).is_file()


def _gaps(there: Collection[int], blocks: int) -> list[str]:
    """Which blocks of so many are not there, each run of them in a sentence.

    >>> _gaps({0, 3, 4}, 8)
    ['blocks 1 to 2 are not there', 'blocks 5 to 7 are not there']
    """
    edges = sorted({-1, *there, blocks})
    holes = [(before + 1, after - 1) for before, after in pairwise(edges) if after - before > 1]
    return [
        f"block {first} is not there" if first == last else f"blocks {first} to {last} are not there"
        for first, last in holes
    ]


def _spelt(recipe: Recipe) -> bytes:
    return json.dumps(with_checksum(json.loads(json.dumps(dict(recipe)))), indent=1).encode()


def _sum_of(blocks: Iterable[Block], kind: str) -> str:
    """A name for one kind of part of all these blocks together, whatever their order."""
    parts = sorted((block.number, block.parts[kind][0]) for block in blocks if kind in block.parts)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _checksum(mark: str, content: bytes) -> str:
    """Of a sum, and of what it is the sum of."""
    return hashlib.sha256(mark.encode() + content).hexdigest()[:16]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _unreadable(
    path: Path, why: str, *, expected: str = "a study's recipe", do: str = "check the folder"
) -> StoreError:
    return StoreError(f"{path} cannot be read: {why}", expected=expected, do=do)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Errors of the file system in our own words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFullError(
                f"{folder}: {error.strerror or error}",
                expected="a folder with room to write into",
                do="make room and run the same command again: it goes on where it stopped",
            ) from error
        raise StoreError(
            f"{folder}: {error.strerror or error}",
            expected="a folder this user may read and write",
            do="mend that, or name another folder",
        ) from error
