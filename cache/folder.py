"""What lies in the folder of a store, how large it is, and when it was used last. Nothing here reads a capture.

Files with other names than a store gives are not seen, so they are never counted or removed.

    <folder>/used/<id>   empty; its time of change is when that capture was last read

That a capture was read is noted in a file of its own, and not in the capture's time of access: file systems are
mounted so that reading sets that time at most once a day or never, and a backup that reads everything would make
everything look used. Noting is one system call. Where it is not allowed the capture is read all the same.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gatescope.cache.keys import check_capture_id
from gatescope.routing.errors import CaptureNotFoundError

SUFFIX = ".gsr"
DAMAGED = "damaged"
USED = "used"

_CAPTURE = re.compile(r"[a-z2-7]{16}\.gsr")
_TEMPORARY = re.compile(r"\.([a-z2-7]{16}|secret)\..+\.tmp")
_ASIDE = re.compile(r"[a-z2-7]{16}\.[0-9]+\.gsr")
_MARK = re.compile(r"[a-z2-7]{16}")


class Found(NamedTuple):
    """A file as it was found; `used_ns` is when it was last written or read, in nanoseconds since 1970."""

    folder: Path
    name: str
    size_bytes: int
    written_ns: int
    used_ns: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.name

    @property
    def id(self) -> str:
        """The capture it is about; empty for one that is being written."""
        return self.name.partition(".")[0]

    def is_unused_for(self, seconds: float) -> bool:
        """Whether nobody has used it for so long; a time far in the future, of a clock set wrong, counts as long."""
        return abs(time.time_ns() - self.used_ns) > seconds * 1e9


def captures(folder: Path) -> list[Found]:
    """The files that are called like captures; `used_ns` is when they were written, see `with_use`."""
    return list(_files(folder, _CAPTURE))


def with_use(folder: Path, found: list[Found]) -> list[Found]:
    """The same captures, each with the time when it was last written or read."""
    read_ns = {mark.name: mark.written_ns for mark in marks(folder)}
    return [each._replace(used_ns=max(each.written_ns, read_ns.get(each.id, 0))) for each in found]


def damaged(folder: Path) -> list[Found]:
    """What was set aside; its time is that, not when the capture was written."""
    return [found._replace(used_ns=int(found.name.split(".")[1])) for found in _files(folder / DAMAGED, _ASIDE)]


def temporaries(folder: Path) -> list[Found]:
    """What is being written, or was when its writer died."""
    return list(_files(folder, _TEMPORARY))


def marks(folder: Path) -> list[Found]:
    """The notes of when captures were read."""
    return list(_files(folder / USED, _MARK))


def mark_used(folder: Path, id: str) -> None:
    """Note that a capture was read just now; where that is not allowed, it stays as it was."""
    path = folder / USED / id
    with suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)


def forget(folder: Path, id: str) -> None:
    """Remove the note of when a capture was read."""
    with suppress(OSError):
        (folder / USED / id).unlink()


def is_as_found(found: Found) -> bool:
    """Whether a capture is still the file that was found, and nobody has read it since."""
    try:
        now = found.path.stat()
        if (now.st_mtime_ns, now.st_size) != (found.written_ns, found.size_bytes):
            return False
        return (found.folder / USED / found.id).stat().st_mtime_ns <= found.used_ns
    except FileNotFoundError:
        return found.path.exists()


def is_capture_id(text: str) -> bool:
    """Whether a name is the id of a capture."""
    try:
        check_capture_id(text)
    except CaptureNotFoundError:
        return False
    return True


def _files(folder: Path, called: re.Pattern[str]) -> Iterator[Found]:
    """Files of a folder that are called so; none where there is no such folder, and none that is gone meanwhile."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if called.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield Found(folder, entry.name, status.st_size, status.st_mtime_ns, status.st_mtime_ns)
