"""Captures in a folder, each an immutable file under its content key: written whole or not at all, checked when read.

    <folder>/<id>.gsr      a capture: 8 bytes magic, 32 bytes SHA-256 over the id and the rest, then a Parquet file
    <folder>/.<id>.*.tmp   being written; swept when older than an hour
    <folder>/damaged/      torn or altered captures, set aside under their id and the time; never read, never deleted

A file gets its final name only when every byte is on the disk, so a reader sees a whole capture or none, and two
processes that write the same capture both succeed. `tail -c +41 <id>.gsr` is the Parquet file alone.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from cache.keys import check_capture_id
from cache.schema import decode, encode
from routing import RoutingRecord
from routing.errors import CaptureDamagedError, CaptureNotFoundError, RecordError, StorageFullError, StoreError

MAGIC = b"GSROUTE\n"
STALE_SECONDS = 3600

_HEADER = len(MAGIC) + hashlib.sha256().digest_size
_FULL = {
    errno.ENOSPC: "the disk of {}",
    errno.EDQUOT: "the disk of {} (this user's share is used up)",
    errno.EFBIG: "the disk of {} (one file may not be that large here)",
}
_NOT_A_RECORD = (RecordError, pa.ArrowException, KeyError, TypeError, ValueError, OSError)


class Entry(NamedTuple):
    """One stored capture: its id, its size on disk, and when it was written (UTC)."""

    id: str
    size_bytes: int
    written: datetime


class Store:
    """Captures of a folder, made 0700 when it is missing. Safe for any number of processes and threads at once.

    `quota_bytes` bounds what the captures take together, those set aside included; None leaves it to the disk. It is
    checked before each write, so processes that write at the same moment may pass it by what they write.
    Errors      CaptureNotFoundError, CaptureDamagedError, StorageFullError; StoreError when the folder cannot be used.
    """

    def __init__(self, folder: Path | str, *, quota_bytes: int | None = None) -> None:
        self.folder, self.quota_bytes = Path(folder), quota_bytes
        with _explained(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()

    def has(self, id: str) -> bool:
        """Whether a capture of that id is kept (its bytes are checked when it is read)."""
        return self._path(id).is_file()

    def get(self, id: str) -> RoutingRecord:
        """The record of that id. A damaged file is set aside, so that the next `put` can write it anew."""
        path = self._path(id)
        try:
            with _explained(self.folder), path.open("rb") as stream:
                found, data = os.fstat(stream.fileno()), stream.read()
        except FileNotFoundError:
            raise _not_found(id) from None
        complaint = _complaint(id, data)
        if complaint is None:
            try:
                return decode(memoryview(data)[_HEADER:])
            except _NOT_A_RECORD as error:
                complaint = f"its content is not a record ({error})"
        raise self._set_aside(path, found, complaint)

    def put(self, id: str, record: RoutingRecord) -> None:
        """Keep a record under an id. An intact capture of that id stays as it is; a damaged one is replaced."""
        path = self._path(id)
        if self._is_intact(id):
            return
        body = encode(record)
        needed = _HEADER + len(body)
        self._check_quota(needed)
        with self._temporary(id, needed) as (descriptor, temporary):
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(MAGIC + _digest(id, body))
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        _sync_folder(self.folder)

    def ids(self) -> list[Entry]:
        """Every capture, newest first."""
        entries = []
        for path in self.folder.glob("*.gsr"):
            with suppress(FileNotFoundError, CaptureNotFoundError):
                check_capture_id(path.stem)
                status = path.stat()
                entries.append((status.st_mtime_ns, path.stem, status.st_size))
        return [
            Entry(id, size, datetime.fromtimestamp(ns / 1e9, UTC)) for ns, id, size in sorted(entries, reverse=True)
        ]

    def remove(self, id: str) -> None:
        """Delete a capture for good."""
        try:
            with _explained(self.folder):
                self._path(id).unlink()
        except FileNotFoundError:
            raise _not_found(id) from None

    def _path(self, id: str) -> Path:
        return self.folder / f"{check_capture_id(id)}.gsr"

    def _is_intact(self, id: str) -> bool:
        try:
            with _explained(self.folder):
                return _complaint(id, self._path(id).read_bytes()) is None
        except FileNotFoundError:
            return False

    def _set_aside(self, path: Path, found: os.stat_result, complaint: str) -> StoreError:
        """Move a damaged file into `damaged/`, unless a good one took its place meanwhile; the error to raise."""
        aside = self.folder / "damaged" / f"{path.stem}.{time.time_ns()}.gsr"
        outcome = f"it was set aside as {aside}"
        try:
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            if os.path.samestat(path.stat(), found):
                path.rename(aside)
        except FileNotFoundError:
            outcome = "another process has already taken it away"
        except OSError as error:
            outcome = f"it could not be set aside ({error.strerror})"
        return CaptureDamagedError(
            f"capture {path.stem} is damaged: {complaint}; {outcome}",
            expected="the bytes that were written",
            do="capture again; if it repeats, check the disk",
        )

    def _check_quota(self, needed: int) -> None:
        if self.quota_bytes is None:
            return
        used = sum(_size(path) for path in self.folder.rglob("*") if path.suffix in (".gsr", ".tmp"))
        if used + needed > self.quota_bytes:
            raise _full(needed, max(0, self.quota_bytes - used), f"the quota of {self.quota_bytes:,} bytes")

    @contextmanager
    def _temporary(self, id: str, needed: int) -> Iterator[tuple[int, Path]]:
        """A new file in the folder, gone afterwards unless it was renamed; trouble with the disk in our own words."""
        with _explained(self.folder, needed):
            descriptor, name = tempfile.mkstemp(prefix=f".{id}.", suffix=".tmp", dir=self.folder)
            try:
                yield descriptor, Path(name)
            finally:
                Path(name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what writers that died have left behind."""
        for path in self.folder.glob(".*.tmp"):
            with suppress(FileNotFoundError, PermissionError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()


def _digest(id: str, body: memoryview) -> bytes:
    """SHA-256 over the id and the Parquet bytes: a file under another capture's name does not pass either."""
    digest = hashlib.sha256(id.encode("ascii"))
    digest.update(body)
    return digest.digest()


def _complaint(id: str, data: bytes) -> str | None:
    """What is wrong with a file's bytes; None when nothing is."""
    if len(data) < _HEADER:
        return f"it ends after {len(data)} bytes"
    if data[: len(MAGIC)] != MAGIC:
        return "it does not begin like a capture"
    if data[len(MAGIC) : _HEADER] != _digest(id, memoryview(data)[_HEADER:]):
        return "its checksum does not match"
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(folder: Path, needed: int = 0) -> Iterator[None]:
    """Errors of the file system in our own words; a missing file is the caller's business."""
    try:
        yield
    except FileNotFoundError:
        if folder.is_dir():
            raise
        raise _unusable(folder, "it does not exist") from None
    except OSError as error:
        if error.errno in _FULL:
            raise _full(needed, shutil.disk_usage(folder).free, _FULL[error.errno].format(folder)) from error
        raise _unusable(folder, error.strerror or str(error)) from error


def _full(needed: int, free: int, where: str) -> StorageFullError:
    return StorageFullError(
        f"{needed:,} bytes are needed and {free:,} are free on {where}; nothing was written",
        expected="room for the whole capture",
        do="remove captures that are no longer needed, or make room",
    )


def _unusable(folder: Path, why: str) -> StoreError:
    return StoreError(
        f"the folder {folder} cannot be used: {why}",
        expected="a folder this user may read and write",
        do="name another folder for captures, or give this one to the user who runs Gatescope",
    )


def _not_found(id: str) -> CaptureNotFoundError:
    return CaptureNotFoundError(
        f"the store holds no capture {id}",
        expected="the id of a stored capture",
        do="capture the text again: the same text, model and options give the same id",
    )
