"""The disk below a folder of captures: its errors in our own words, and names that survive a power cut."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatescope.routing.errors import StorageFullError, StoreError

_FULL = {
    errno.ENOSPC: "the disk of {}",
    errno.EDQUOT: "the disk of {} (this user's share is used up)",
    errno.EFBIG: "the disk of {} (one file may not be that large here)",
}


@contextmanager
def explained(folder: Path, needed: int = 0) -> Iterator[None]:
    """Errors of the file system in our own words; a missing file is the caller's business."""
    try:
        yield
    except FileNotFoundError:
        if folder.is_dir():
            raise
        raise unusable(folder, "it does not exist") from None
    except OSError as error:
        if error.errno in _FULL:
            raise full(needed, shutil.disk_usage(folder).free, _FULL[error.errno].format(folder)) from error
        raise unusable(folder, error.strerror or str(error)) from error


def full(needed: int, free: int, where: str) -> StorageFullError:
    """The error of a place without room; `needed` is 0 where that is not known before."""
    needs = f"{needed:,} bytes are needed" if needed else "more bytes are needed"
    return StorageFullError(
        f"{needs} and {free:,} are free on {where}; nothing was written",
        expected="room for the whole capture",
        do="remove captures that are no longer needed, or make room",
    )


def unusable(folder: Path, why: str) -> StoreError:
    """The error of a folder that cannot be read or written."""
    return StoreError(
        f"the folder {folder} cannot be used: {why}",
        expected="a folder this user may read and write",
        do="name another folder for captures, or give this one to the user who runs Gatescope",
    )


def sync_folder(folder: Path) -> None:
    """Make a new name itself survive a power cut, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
