"""A study or a capture as one file: a plain tar, what is in it said first.

    gatescope-archive.json      the version of this form, what it is of, and each file with its size and SHA-256
    capture/blocks/00000000.routes      the files, in the order in which they were named

A tar is written and read from front to back in memory that does not grow, has no limit of size, and any system unpacks
it. Nothing is compressed again: routes and tallies are compressed already. Because sizes and checksums are known before
the first byte is written, it is known where every file begins, so that an export that was interrupted goes on, and a
reader knows from the first block on what must follow. Every name is checked before anything is written; what is in the
tar and not in the list, or is no plain file, is refused by its name.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import IO, Any, NamedTuple

from gatescope.cache.checksum import is_intact, with_checksum
from gatescope.cache.disk import explained, full, sync_folder
from gatescope.cache.locks import is_held_elsewhere, lock
from gatescope.cache.temporary import sweep, whole_file
from gatescope.routing.errors import CaptureDamagedError, InUseError, OptionError, StoreError, TraceError

VERSION = 1
LIST = "gatescope-archive.json"
MOST_LIST_BYTES = 1 << 28
BLOCK, CHUNK = tarfile.BLOCKSIZE, 1 << 20
_MOST_USTAR = 8 << 30
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]*")

Told = Callable[[int, int], object]
"""Is told how many bytes are done, of how many."""


class Packed(NamedTuple):
    """A file of an archive: its name, its size, and its checksum."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an archive holds: of what kind it is, what is said of it, and its files in their order."""

    kind: str
    about: Mapping[str, Any]
    files: tuple[Packed, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def spelt(self) -> bytes:
        """As it stands in the archive; the same contents are spelt the same."""
        fields = {
            "version": VERSION,
            "kind": self.kind,
            "about": dict(self.about),
            "files": [list(f) for f in self.files],
        }
        return json.dumps(with_checksum(fields), indent=0, sort_keys=True).encode("ascii")


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_archive(out: Path, contents: Contents, find: Callable[[str], Path], *, tell: Told = lambda *_: None) -> None:
    """Write an archive, which appears whole or not at all. One that was interrupted goes on where it was.

    `find` gives the path of a file by its name in the archive. What was written before is read again and checked.
    Errors: OptionError where something is there; InUseError where another writes it; CaptureDamagedError for a file
    that is not what the list says; StoreError, StorageFullError, after which the same call goes on.
    """
    if out.exists():
        raise OptionError(f"{out} is there already", expected="a new file", do="name another --out, or remove it")
    for file in contents.files:
        check_name(file.name, out)
    with explained(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    with explained(out.parent, contents.size), _kept(partial) as stream:
        done = _already(stream, contents)
        needed = contents.size - sum(file.size for file in contents.files[:done])
        if needed > disk_usage(out.parent).free:
            raise full(needed, disk_usage(out.parent).free, f"the disk of {out.parent}")
        if not stream.tell():
            _write_member(stream, LIST, contents.spelt())
        written = sum(file.size for file in contents.files[:done])
        for file in contents.files[done:]:
            _copy(stream, file, find(file.name))
            written += file.size
            tell(written, contents.size)
        stream.write(bytes(2 * BLOCK))
        stream.flush()
        os.fsync(stream.fileno())
        partial.replace(out)
        sync_folder(out.parent)


def is_archive(path: Path) -> bool:
    """Whether a file begins like an archive of ours."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return tarfile.TarInfo.frombuf(stream.read(BLOCK), "utf-8", "strict").name == LIST
    except (OSError, UnicodeDecodeError, tarfile.HeaderError):
        return False


def contents_of(path: Path) -> Contents:
    """What an archive says that it holds, of which only the beginning is read.

    Errors: TraceError for what is none, is torn there, or names files that it may not; StoreError for a newer version.
    """
    with explained(path.parent), path.open("rb") as stream:
        return _read_list(stream, path)


def unpack(path: Path, into: Path, *, tell: Told = lambda *_: None) -> Contents:
    """Unpack an archive into a folder, each file whole and checked under its name, or not there.

    What is there from a run that was interrupted is not written again. Errors: as `contents_of`; TraceError where the
    archive is torn, altered, or holds something else; StoreError, StorageFullError. What is whole stays.
    """
    with explained(path.parent), path.open("rb") as stream:
        contents = _read_list(stream, path)
        missing = [file for file in contents.files if not _is_there(into / file.name, file)]
        needed = sum(file.size for file in missing)
        with explained(into.parent):
            into.mkdir(mode=0o700, parents=True, exist_ok=True)
            if needed > (free := disk_usage(into).free):
                raise full(needed, free, f"the disk of {into.parent}")
            for folder in {(into / file.name).parent for file in contents.files}:
                sweep(folder)  # of a run that was killed
        done = 0
        with explained(into.parent):
            for file in contents.files:
                _check_header(stream, file, path)
                if _is_there(into / file.name, file):
                    stream.seek(_padded(file.size), os.SEEK_CUR)
                else:
                    _take(stream, file, into / file.name, path)
                done += file.size
                tell(done, contents.size)
            _check_end(stream, path)
    return contents


def check_name(name: str, path: Path) -> None:
    """Errors: TraceError for a name that leads out of the folder, or that some system cannot have."""
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) > 4 or len(name) > 200:
        raise TraceError(
            f"{path} holds {name!r}, which leaves the folder or is no name of ours",
            expected="files below one folder, named in letters, digits, dots and dashes",
            do="trust it no further; ask for one that gatescope export wrote",
        )


@contextmanager
def _kept(partial: Path) -> Iterator[IO[bytes]]:
    """What was written of an archive, or nothing yet, as long as this process alone writes it."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as stream:
        if is_held_elsewhere(descriptor):
            raise InUseError(f"{partial} is being written", expected="one export of a file", do="wait for the other")
        lock(descriptor)
        yield stream


def _already(stream: IO[bytes], contents: Contents) -> int:
    """How many files are whole in what was written before; behind them, or at the front, the stream then is cut off."""
    spelt, done = contents.spelt(), 0
    first = _header(LIST, len(spelt)) + spelt
    end = len(first) + _padded(len(spelt)) - len(spelt)
    if stream.read(len(first)) != first:
        end = 0
    else:
        for file in contents.files:
            stream.seek(end)
            header = _header(file.name, file.size)
            if stream.read(len(header)) != header or _digest_of_next(stream, file.size) != file.sha256:
                break
            done, end = done + 1, end + len(header) + _padded(file.size)
    stream.seek(end)
    stream.truncate()
    return done


def _digest_of_next(stream: IO[bytes], size: int) -> str:
    digest = hashlib.sha256()
    while size and (part := stream.read(min(CHUNK, size))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest() if not size else ""


def _header(name: str, size: int) -> bytes:
    """The block before a file. Always of the same owner and time, so that the same contents give the same archive."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT if size < _MOST_USTAR else tarfile.GNU_FORMAT, "ascii", "strict")


def _padding(size: int) -> int:
    return -size % BLOCK


def _padded(size: int) -> int:
    return size + _padding(size)


def _write_member(stream: IO[bytes], name: str, content: bytes) -> None:
    stream.write(_header(name, len(content)) + content + bytes(_padding(len(content))))


def _copy(stream: IO[bytes], file: Packed, path: Path) -> None:
    """A file as one member. Errors: CaptureDamagedError where it is not what the list says; it is then taken back."""
    begin, digest, size = stream.tell(), hashlib.sha256(), 0
    stream.write(_header(file.name, file.size))
    with path.open("rb") as content:
        while part := content.read(CHUNK):
            digest.update(part)
            size += len(part)
            if size > file.size:
                break
            stream.write(part)
    if size != file.size or digest.hexdigest() != file.sha256:
        stream.seek(begin)
        stream.truncate()
        raise CaptureDamagedError(
            f"{path} is not what was written: its size or checksum does not match",
            expected="files that nobody changes",
            do="run: gatescope cache verify, and mend what it names; or export again when nobody writes there",
        )
    stream.write(bytes(_padding(size)))


def _read_list(stream: IO[bytes], path: Path) -> Contents:
    info = _next(stream, path)
    if info is None or info.name != LIST or info.type != tarfile.REGTYPE or not 0 <= info.size <= MOST_LIST_BYTES:
        raise _no_archive(path, f"it does not begin with {LIST}")
    spelt = stream.read(info.size)
    try:
        fields = json.loads(spelt)
        version = fields["version"]
        if version == VERSION and not is_intact(fields):
            raise ValueError("the checksum of its list does not match")
        contents = Contents(
            kind=str(fields["kind"]),
            about=dict(fields["about"]),
            files=tuple(Packed(str(name), int(size), str(sha)) for name, size, sha in fields["files"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_archive(path, str(error) or type(error).__name__) from error
    if version != VERSION:
        raise StoreError(
            f"{path} is an archive of version {version!r}",
            expected=f"version {VERSION}",
            do="import it with the Gatescope that wrote it, or a newer one",
        )
    stream.seek(_padding(info.size), os.SEEK_CUR)
    for file in contents.files:
        check_name(file.name, path)
    if len({file.name.casefold() for file in contents.files}) < len(contents.files) or any(
        file.size < 0 for file in contents.files
    ):
        raise _no_archive(path, "its list names a file twice, or one of a negative size")
    return contents


def _next(stream: IO[bytes], path: Path) -> tarfile.TarInfo | None:
    """The next header; None at the end of the archive. Errors: TraceError for what is none."""
    block = stream.read(BLOCK)
    if block == bytes(BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise _torn(path, f"after {stream.tell():,} bytes: {error}") from error


def _check_header(stream: IO[bytes], file: Packed, path: Path) -> None:
    """Errors: TraceError where what comes next is not this file."""
    info = _next(stream, path)
    if info is None:
        raise _torn(path, f"before {file.name}")
    if info.type != tarfile.REGTYPE:
        fields = "a link" if info.issym() or info.islnk() else "a device" if info.isdev() else "no plain file"
        raise _foreign(path, f"{info.name!r}, which is {fields}")
    if info.name != file.name:
        check_name(info.name, path)
        raise _foreign(path, f"{info.name!r} where its list names {file.name}")
    if info.size != file.size:
        raise _foreign(path, f"{file.name} of {info.size:,} bytes where its list says {file.size:,}")


def _take(stream: IO[bytes], file: Packed, target: Path, path: Path) -> None:
    """Unpack the next file. Errors: TraceError where its bytes are not those of the list; then it is not there."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with whole_file(target) as made:
        digest, left = hashlib.sha256(), file.size
        while left:
            part = stream.read(min(CHUNK, left))
            if not part:
                raise _torn(path, f"in {file.name}, {left:,} bytes before its end")
            digest.update(part)
            made.write(part)
            left -= len(part)
        if digest.hexdigest() != file.sha256:
            raise TraceError(
                f"{file.name} in {path} is not what was packed: its checksum does not match",
                expected="the bytes that gatescope export wrote",
                do="copy the archive again, and run the same command: it goes on with what is whole",
            )
    stream.seek(_padding(file.size), os.SEEK_CUR)


def _check_end(stream: IO[bytes], path: Path) -> None:
    """Errors: TraceError where more is in the archive than its list says, or its end is not there."""
    info = _next(stream, path)
    if info is not None:
        raise _foreign(path, f"{info.name!r}, which its list does not name")


def _is_there(path: Path, file: Packed) -> bool:
    """Whether a run before has written it: a file takes its name only when it is whole and checked."""
    with suppress(OSError):
        return path.is_file() and not path.is_symlink() and path.stat().st_size == file.size
    return False


def _torn(path: Path, where: str) -> TraceError:
    return TraceError(
        f"{path} ends too early, or is torn, {where}",
        expected="a whole archive",
        do="copy it again, and run the same command: it goes on with what is whole",
    )


def _foreign(path: Path, what: str) -> TraceError:
    return TraceError(
        f"{path} holds {what}",
        expected="the files of its list, in their order, and nothing else",
        do="trust it no further; ask for one that gatescope export wrote",
    )


def _no_archive(path: Path, why: str) -> TraceError:
    return TraceError(
        f"{path} is no archive that can be read: {why}", expected="what gatescope export wrote", do="check the file"
    )


def files_below(folder: Path, *, prefix: str, known: Mapping[str, str] | None = None) -> Sequence[Packed]:
    """The files of a folder as an archive names them, in their order.

    Left out are links, what is being written, what was set aside, and files with names that Gatescope gives to none.

    known   checksums by path below the folder, which are then not computed; writing the archive holds files to them
    """
    found = []
    for path in sorted(folder.rglob("*")):
        named = path.relative_to(folder)
        if any(part.startswith("lease.") or part == "damaged" or not _PART.fullmatch(part) for part in named.parts):
            continue
        if path.is_file() and not path.is_symlink():
            sha256 = (known or {}).get(named.as_posix()) or digest_of_file(path)
            found.append(Packed(f"{prefix}{named.as_posix()}", path.stat().st_size, sha256))
    return found
