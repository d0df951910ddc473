"""Files that appear whole: written under names that no reader looks for, and what is left of them when a writer dies.

    .NAME.@HOST.*.tmp   what is to become NAME, written on HOST
    PREFIX*/            a folder in which several files come together; its file `lock` holds the name they will have

A writer holds a lock on its file, or on that of its folder, which ends with its process, however that ends. So those of
dead writers on one's own machine are told from others at once. What was written on other machines, whose locks need not
be seen here, or where there are no locks, counts as left behind after an hour.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname
from typing import IO

from gatescope.cache.locks import STALE_SECONDS, lock

LOCK = "lock"


def write_whole(path: Path, content: bytes | memoryview, *, is_first: bool = False, or_last: bool = False) -> None:
    """A file that appears whole, on the disk and under its name, or not at all; options as of `whole_file`."""
    with whole_file(path, is_first=is_first, or_last=or_last) as stream:
        stream.write(content)


@contextmanager
def whole_file(path: Path, *, is_first: bool = False, or_last: bool = False) -> Iterator[IO[bytes]]:
    """What is written into this file is on the disk, whole and under its name, when the block ends, or is nowhere.

    Only its owner may read it. If `is_first`, one that is there by then stays; where the disk knows no hard links that
    cannot be had, which is an error (OSError), unless whoever comes last may have the name as well (`or_last`).
    """
    descriptor, made = _locked_file(path)
    held = os.dup(descriptor) if os.name != "nt" else None  # there, what is open cannot be renamed
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if is_first:
            _name_first(made, path, or_last=or_last)
        else:
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


def sweep(folder: Path) -> None:
    """Remove what writers that died have left behind in a folder."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
            elif _own_mark() in path.name:
                _remove_if_dead(path)


@contextmanager
def working_folder(place: Path, *, prefix: str, name: str) -> Iterator[Path]:
    """A new folder in `place` for what is to be called `name`, locked while this process works in it, then removed."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as made, _held(Path(made), name):
        yield Path(made)


def nothing_to_finish(_left: Path, _name: str) -> None:
    """Called with what a dead writer left and its name, where it is only to be removed."""


def sweep_folders(place: Path, *, prefix: str, finish: Callable[[Path, str], None] = nothing_to_finish) -> None:
    """Remove the working folders that writers that died have left behind in a place, each `finish`ed before."""
    for left in place.glob(f"{prefix}*"):
        with suppress(OSError):
            if not (left / LOCK).exists():
                if left.is_dir() and time.time() - left.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(left)
                continue
            with (left / LOCK).open("r+", encoding="utf-8") as file:
                if lock(file.fileno()):
                    finish(left, file.read())
                    shutil.rmtree(left)


@contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    """A lock in a folder that is to be called `name`, for as long as this process works on it."""
    with (folder / f"{LOCK}.new").open("w+", encoding="utf-8") as file:
        lock(file.fileno())
        file.write(name)
        file.flush()
        Path(file.name).rename(folder / LOCK)  # whoever finds it finds it locked
        yield


def _name_first(made: Path, path: Path, *, or_last: bool) -> None:
    """Give a file its name unless another has it; if `or_last`, where the disk knows no links, whoever comes last."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:
        if not or_last:
            raise
        made.replace(path)


def _own_mark() -> str:
    return f".@{gethostname()}."


def _locked_file(path: Path) -> tuple[int, Path]:
    """A new file, locked; another one where somebody took it for left behind before it was."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}{_own_mark()}", suffix=".tmp", dir=path.parent)
        try:
            lock(descriptor, waits=True)
            if _is_still(Path(name), descriptor):
                return descriptor, Path(name)
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)
            raise


def _remove_if_dead(path: Path) -> None:
    """Remove a file that nobody holds a lock on."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        if lock(descriptor) and _is_still(path, descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
