"""Who works on a folder now: a lease, seen by every process and machine that shares the folder.

    lease.NAME.000007.json   held or given up; the highest number of a name is the one that counts

A lock (see `cache.locks`) ends with its process, but is not seen across every network mount, and says neither who holds
it nor how far that is. A lease is a file that says both. It needs no locks: the file of the next number is made by one
process alone (`O_EXCL`, which holds on network mounts too), once the one before was given up or its holder is dead.

Whether a holder lives: on the same machine, whether a process of that id that began at that time is there; on another
one, or in another container, whether the file was written anew within `STALE_SECONDS`, by the clock of the disk that
holds it, so that clocks of machines need not agree. A holder that was taken for dead finds a higher number beside its
own at its next beat, and `check` raises.
"""

import json
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from socket import gethostname
from types import TracebackType
from typing import Any

import psutil

from gatescope.cache.disk import explained
from gatescope.cache.temporary import write_whole
from gatescope.routing.errors import InUseError

BEAT_SECONDS, STALE_SECONDS = 3.0, 30.0
WHOLE = "whole"
"""The name of a lease on everything in a folder; a lease of any other name is on a share of it."""
OFFSET_SECONDS = 60.0
_NAME = re.compile(r"lease\.([a-z0-9-]+)\.([0-9]{6})\.json")

Progress = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease, or held it.

    place       which machine and container; process ids mean something within one alone
    started     when the process began, as its system counts
    what        what it does, in words
    progress    how far it is, as it says
    """

    host: str
    place: str
    pid: int
    started: str
    token: str
    what: str
    since: float
    is_over: bool = False
    progress: Progress = field(default_factory=dict)

    @property
    def described(self) -> str:
        """In words."""
        return f"process {self.pid} on {self.host}"


class Lease:
    """A lease of this process, renewed by a thread until it is given up. Made by `take`."""

    def __init__(self, folder: Path, name: str, number: int, holder: Holder, progress: Callable[[], Progress]) -> None:
        self.folder, self.name, self.number = folder, name, number
        self._holder, self._progress = holder, progress
        self._is_lost = False
        self._over = threading.Event()
        # Held while the file is written: the thread that beats and `release` never write at the same time.
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name=f"lease of {folder.name}", daemon=True)
        self._thread.start()

    @classmethod
    def take(
        cls,
        folder: Path,
        what: str,
        *,
        name: str = WHOLE,
        called: str = "",
        progress: Callable[[], Progress] = dict,
    ) -> "Lease":
        """A lease on a folder, or on the share of that name. `progress` is asked at every beat.

        `what` is done, in words, and what the folder is `called`, where its name says nothing.
        Errors: InUseError where another holds it; StoreError, StorageFullError where the folder cannot be written.
        """
        holder = _this(what)
        while True:  # another turn only where somebody took the next number and has given it up since
            _refuse(called or folder.name, _conflicting(folder, name))
            with explained(folder):
                number = _create(folder, name, holder)
            if number is None:
                continue
            made = cls(folder, name, number, holder, progress)
            other = _conflicting(folder, name, but=holder.token)
            if other is None and made._highest() == number:
                made._tidy()
                return made
            made.release()
            _refuse(called or folder.name, other)

    def check(self) -> None:
        """Errors: InUseError where another took this process for dead and took over."""
        if self._is_lost:
            _refuse(self.folder.name, current(self.folder) or self._holder)

    def release(self) -> None:
        """Give it up; the file stays, and says so: whoever comes next takes the number behind it."""
        self._over.set()
        with self._writing:
            if self._is_lost or self._holder.is_over:
                return
            self._holder = replace(self._holder, is_over=True)
            with suppress(OSError):
                self._write()

    def forget(self) -> None:
        """Remove the file of a lease that was given up, where nobody else will ever take one of its name."""
        with suppress(OSError):
            self._path.unlink()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _path(self) -> Path:
        return _file(self.folder, self.name, self.number)

    def _highest(self) -> int:
        return max(_leases(self.folder, self.name).values(), default=0)

    def _tidy(self) -> None:
        for path, number in _leases(self.folder, self.name).items():
            if number < self.number:
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_whole(self._path, _spelt(self._holder))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with self._writing:
                if self._holder.is_over:
                    return
                with suppress(OSError):
                    if self._highest() > self.number:
                        self._is_lost = True
                        self._path.unlink(missing_ok=True)
                        return
                self._renew()

    def _renew(self) -> None:
        """Say how far it is; on a full disk, only that this process lives."""
        self._holder = replace(self._holder, progress=dict(self._progress()))
        try:
            self._write()
        except OSError:
            with suppress(OSError):
                os.utime(self._path)


def current(folder: Path) -> Holder | None:
    """Who works on a folder now, on all of it or on a share; None where nobody does."""
    return _conflicting(folder, WHOLE)


def holders(folder: Path) -> list[Holder]:
    """Everybody who holds a lease on a folder, whatever its name, and lives."""
    return [holder for name in sorted(_names(folder)) if (holder := _holder(folder, name)) is not None]


def _names(folder: Path) -> set[str]:
    """The names of the leases of a folder, held or given up."""
    return {found[1] for path in folder.glob("lease.*.json") if (found := _NAME.fullmatch(path.name))}


def _conflicting(folder: Path, name: str, *, but: str | None = None) -> Holder | None:
    """Who holds what a lease of this name would be on: the same share, the whole, or for the whole any share."""
    names = _names(folder)
    asked = names if name == WHOLE else names & {WHOLE, name}
    held = (holder for each in sorted(asked) if (holder := _holder(folder, each)) is not None)
    return next((holder for holder in held if holder.token != but), None)


def _holder(folder: Path, name: str) -> Holder | None:
    """Who holds the lease of one name and lives."""
    numbers = _leases(folder, name)
    if not numbers:
        return None
    path = max(numbers, key=lambda each: numbers[each])
    age = _age(path)
    if age is None:  # given up meanwhile, or taken over: whoever is next is at a file with another number
        return None
    parsed = _read(path)
    if parsed is None:  # it is being written for the first time, or its writer died over that
        unknown = Holder(host="an unknown machine", place="", pid=0, started="", token="", what="", since=0.0)
        return unknown if age < STALE_SECONDS else None
    if parsed.is_over:
        return None
    if parsed.place == _place() and parsed.started:
        return parsed if _started(parsed.pid) == parsed.started else None
    return parsed if age < STALE_SECONDS else None


def _this(what: str) -> Holder:
    """This process, which does something."""
    return Holder(
        host=gethostname(),
        place=_place(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        token=secrets.token_hex(8),
        what=what,
        since=time.time(),
    )


def _create(folder: Path, name: str, holder: Holder) -> int | None:
    """The file of the next number, which one process alone makes; None where another did. Errors: OSError."""
    number = max(_leases(folder, name).values(), default=0) + 1
    path = _file(folder, name, number)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_spelt(holder))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return number


def _leases(folder: Path, name: str) -> dict[Path, int]:
    """The files of one name, each with its number."""
    found = ((path, _NAME.fullmatch(path.name)) for path in folder.glob(f"lease.{name}.*.json"))
    return {path: int(match[2]) for path, match in found if match is not None}


def _file(folder: Path, name: str, number: int) -> Path:
    return folder / f"lease.{name}.{number:06}.json"


def _spelt(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode("ascii")


def _read(path: Path) -> Holder | None:
    """What a file says; None where it cannot be read."""
    try:
        parsed = Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    is_sound = (
        isinstance(parsed.pid, int) and isinstance(parsed.progress, dict) and isinstance(parsed.since, int | float)
    )
    return parsed if is_sound else None


def _refuse(called: str, holder: Holder | None) -> None:
    """Errors: InUseError where somebody holds it."""
    if holder is not None:
        raise InUseError(
            f"{called} is in use: {holder.described}" + (f" ({holder.what})" if holder.what else ""),
            expected="a study that nobody else works on",
            do="wait until that is over, or stop it there; what is whole on the disk stays",
        )


def _age(path: Path) -> float | None:
    """Seconds since a file was written, by the clock of its disk; None where it is gone. The future is long ago."""
    try:
        written = path.stat().st_mtime
    except OSError:
        return None
    return abs(time.time() + _offset(path.parent) - written)


_offsets: dict[int, tuple[float, float]] = {}
"""How far the clock of a disk is ahead of this machine's, by its device: when that was measured, and seconds."""


def _offset(folder: Path) -> float:
    """How far the clock that stamps files in a folder is ahead; 0 where nothing can be written there."""
    device, now = folder.stat().st_dev, time.monotonic()
    measured, offset = _offsets.get(device, (-OFFSET_SECONDS, 0.0))
    if now - measured < OFFSET_SECONDS:
        return offset
    probe = folder / f".clock.@{gethostname()}.{secrets.token_hex(4)}.tmp"
    offset = 0.0
    with suppress(OSError):
        probe.touch(mode=0o600)
        offset = probe.stat().st_mtime - time.time()
        probe.unlink()
    _offsets[device] = now, offset
    return offset


def _place() -> str:
    """This machine since it was started, and the container: within it a process id is of one process."""
    marks = [gethostname()]
    with suppress(OSError):
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


def _started(pid: int) -> str | None:
    """When a process began, as its system counts; None where there is none, or it has ended and waits to be reaped."""
    try:
        if sys.platform == "linux":  # in ticks since the machine started, which setting the clock does not change
            parsed = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            return None if parsed[0] in "ZX" else parsed[19]
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except (OSError, IndexError, psutil.Error):
        return None
