"""Captures in a folder, each an immutable file under its content key: written whole or not at all, checked when read.

    <folder>/<id>.gsr      a capture: 40 bytes of checksum (`cache.file_checksum`), then a Parquet file (`cache.schema`)
    <folder>/.<id>.*.tmp   being written (see `cache.temporary`); swept when older than an hour
    <folder>/damaged/      torn or altered captures, set aside under their id and the time; never read
    <folder>/used/<id>     empty: when that capture was last read (see `cache.folder`)

A file gets its final name only when every byte is on the disk, so a reader sees a whole capture or none, and two
processes that write the same capture both succeed. `tail -c +41 <id>.gsr` is the Parquet file alone.

Where a quota would be passed, a write first removes what was set aside, then the captures used longest ago. What was
used in the last minutes stays: the write is refused instead.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from gatescope.cache.disk import explained, full, sync_folder
from gatescope.cache.eviction import RECENT_SECONDS, leftovers, make_room, remove, spare, used_bytes
from gatescope.cache.file_checksum import CHECKSUM_BYTES, checksum, complaint
from gatescope.cache.folder import DAMAGED, SUFFIX, captures, forget, mark_used, with_use
from gatescope.cache.keys import check_capture_id
from gatescope.cache.partial import PartialRecord
from gatescope.cache.schema import decode, encode
from gatescope.cache.temporary import whole_file
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import CaptureDamagedError, CaptureNotFoundError, RecordError, StoreError

_NOT_A_RECORD = (RecordError, pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, OSError)


class Entry(NamedTuple):
    """One stored capture: its id, its size on disk, when it was written and when it was last used (UTC)."""

    id: str
    size_bytes: int
    written: datetime
    used: datetime


class Store:
    """Captures of a folder, made 0700 when it is missing. Safe for any number of processes and threads at once.

    `quota_bytes` bounds what the captures take together, those set aside and those being written included; None leaves
    it to the disk. `when_full` says whether a write then removes what was used longest ago, or is refused. What was
    written or read in the last `recent_seconds` is never removed for another. `beside` says how many bytes of something
    else count against the same quota.
    Errors      CaptureNotFoundError, CaptureDamagedError, StorageFullError; StoreError when the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        quota_bytes: int | None = None,
        when_full: Literal["evict", "refuse"] = "evict",
        recent_seconds: float = RECENT_SECONDS,
        beside: Callable[[], int] = lambda: 0,
    ) -> None:
        self.folder, self.quota_bytes = Path(folder), quota_bytes
        self.when_full, self.recent_seconds, self._beside = when_full, recent_seconds, beside
        with explained(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(OSError):  # where nothing may be removed, captures may still be read
                remove(self.folder, leftovers(self.folder))

    def has(self, id: str) -> bool:
        """Whether a capture of that id is kept (its bytes are checked when it is read)."""
        return self.path(id).is_file()

    def get(self, id: str) -> RoutingRecord:
        """The record of that id. A damaged file is set aside, so that the next `put` can write it anew."""
        record = self._read(id)
        mark_used(self.folder, id)
        return record

    def open(self, id: str) -> PartialRecord:
        """The record of that id, of which only what is asked for is read; its checksum is then not checked."""
        try:
            opened = PartialRecord(self.path(id))
        except FileNotFoundError:
            raise _not_found(id) from None
        mark_used(self.folder, id)
        return opened

    def put(self, id: str, record: RoutingRecord) -> None:
        """Keep a record under an id. An intact capture of that id stays as it is; a damaged one is replaced."""
        path = self.path(id)
        if path.exists():
            mark_used(self.folder, id)  # first: from now on it is not removed for another
            if self._is_intact(id):
                return
        body = encode(record)
        needed = CHECKSUM_BYTES + len(body)
        with explained(self.folder, needed), whole_file(path) as stream:
            stream.truncate(needed)  # from now on others see what this will take
            self._make_room(id, needed)
            stream.write(checksum(id, body))
            stream.write(body)
        sync_folder(self.folder)

    def ids(self) -> list[Entry]:
        """Every capture, newest first."""
        with explained(self.folder):
            found = with_use(self.folder, captures(self.folder))
        found.sort(key=lambda each: (each.written_ns, each.id), reverse=True)
        return [Entry(each.id, each.size_bytes, _time(each.written_ns), _time(each.used_ns)) for each in found]

    def verify(self) -> Iterator[tuple[Entry, StoreError | None]]:
        """Read every byte of every capture: each with what is wrong with it. Damaged ones are set aside.

        This is no use of a capture. One that is removed meanwhile is left out.
        """
        for entry in self.ids():
            try:
                self._read(entry.id)
            except CaptureNotFoundError:
                continue
            except StoreError as error:
                yield entry, error
            else:
                yield entry, None

    def remove(self, id: str) -> None:
        """Delete a capture for good."""
        try:
            with explained(self.folder):
                self.path(id).unlink()
        except FileNotFoundError:
            raise _not_found(id) from None
        forget(self.folder, id)

    def path(self, id: str) -> Path:
        """Where a capture of that id lies, or would."""
        return self.folder / f"{check_capture_id(id)}{SUFFIX}"

    def _read(self, id: str) -> RoutingRecord:
        path = self.path(id)
        try:
            with explained(self.folder), path.open("rb") as stream:
                found, data = os.fstat(stream.fileno()), stream.read()
        except FileNotFoundError:
            raise _not_found(id) from None
        wrong = complaint(id, data)
        if wrong is None:
            try:
                return decode(memoryview(data)[CHECKSUM_BYTES:])
            except _NOT_A_RECORD as error:
                wrong = f"its content is not a record ({error})"
        raise self._set_aside(path, found, wrong)

    def _is_intact(self, id: str) -> bool:
        try:
            with explained(self.folder):
                return complaint(id, self.path(id).read_bytes()) is None
        except FileNotFoundError:
            return False

    def _set_aside(self, path: Path, found: os.stat_result, wrong: str) -> StoreError:
        """Move a damaged file into `damaged/`, unless a good one took its place meanwhile; the error to raise."""
        aside = self.folder / DAMAGED / f"{path.stem}.{time.time_ns()}{SUFFIX}"
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
            f"capture {path.stem} is damaged: {wrong}; {outcome}",
            expected="the bytes that were written",
            do="capture again; if it repeats, check the disk",
        )

    def _make_room(self, id: str, needed: int) -> None:
        """Remove others until this one fits, or nothing at all where it could not. Errors: StorageFullError."""
        if self.quota_bytes is None:
            return
        excess = used_bytes(self.folder, but=id) + self._beside() - self.quota_bytes
        if excess <= 0:
            return
        others = spare(self.folder, recent_seconds=self.recent_seconds, but=id) if self.when_full == "evict" else []
        missing = excess - sum(removal.found.size_bytes for removal in others)
        if missing <= 0:
            missing = make_room(self.folder, excess, others)
        if missing > 0:
            where = f"the quota of {self.quota_bytes:,} bytes"
            if self.when_full == "evict":
                where += f" without captures that were used in the last {self.recent_seconds / 60:g} minutes"
            raise full(needed, max(0, needed - missing), where)


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)


def _not_found(id: str) -> CaptureNotFoundError:
    return CaptureNotFoundError(
        f"the store holds no capture {id}",
        expected="the id of a stored capture",
        do="capture the text again: the same text, model and options give the same id",
    )
