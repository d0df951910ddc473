"""The checksums of a folder's files, beside them in `SHA256SUMS`: `sha256sum -c SHA256SUMS` reads it too."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from gatescope.routing.errors import StoreError
from gatescope.routing.files import no_file

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_sums(folder: Path) -> None:
    """Note the checksum of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    lines = [f"{_digest(path.read_bytes())}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")


def has(folder: Path, name: str) -> bool:
    """Whether a file is there, or should be."""
    if (folder / name).exists():
        return True
    try:
        return name in (_sums(folder, "") or {})
    except StoreError:  # reading it tells
        return True


def read_checked(folder: Path, name: str, *, do: str) -> bytes:
    """The bytes of one file, as they were written; of a folder without checksums, as they are.

    Errors: StoreError, which says what to `do`.
    """
    try:
        if reason := no_file(folder / name):
            raise OSError(f"it is {reason}")
        content = (folder / name).read_bytes()
    except OSError as error:
        raise _damaged(folder, f"{name} cannot be read: {error.strerror or error}", do) from error
    sums = _sums(folder, do)
    if sums is not None and sums.get(name) != _digest(content):
        raise _damaged(folder, f"{name} has {len(content):,} bytes whose checksum does not match", do)
    return content


def verify(folder: Path, *, do: str) -> Iterator[tuple[str, str | None]]:
    """Every file that should be in a folder, with what is wrong with it."""
    try:
        sums = _sums(folder, do)
    except StoreError as error:
        yield NAME, error.found
        return
    if sums is None:
        yield NAME, f"{folder} has no {NAME} to hold its files against: {do}"
    for name in sums or ():
        try:
            read_checked(folder, name, do=do)
        except StoreError as error:
            yield name, error.found
        else:
            yield name, None


def _sums(folder: Path, do: str) -> dict[str, str] | None:
    """The checksum of each file by its name; None in a folder that has none. Errors: StoreError."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(folder, f"{NAME} cannot be read: {error}", do) from error
    found = [_LINE.fullmatch(line) for line in lines]
    if not lines or not all(found):
        raise _damaged(folder, f"{NAME} is torn or altered", do)
    return {line[2]: line[1] for line in found if line is not None}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(folder: Path, found: str, do: str) -> StoreError:
    return StoreError(f"{found} (in {folder.name})", expected="the bytes that were written", do=do)
