"""Arrays of an `.npz` file, read in pieces: nothing is unpickled, and nothing is allocated on a header's word."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import TraceError

AT_ONCE = 2**28  # bytes that are read together
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


@dataclass
class Member:
    """One array of the file, at the row that is read next."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: IO[bytes]
    where: str
    row: int = 0

    def read(self, rows: int) -> NDArray[Any]:
        """The next rows (fewer at the end). TraceError where the file ends before them."""
        rows = min(rows, self.shape[0] - self.row)
        bytes_needed = rows * self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=object))
        self._check(bytes_needed)
        with explained(self.where):
            data = self.stream.read(bytes_needed)
        if len(data) != bytes_needed:
            raise cut_short(self.where, f"after {len(data):,} of {bytes_needed:,} bytes at row {self.row}")
        self.row += rows
        return np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])

    def whole(self) -> NDArray[Any]:
        """The whole array, a single value too."""
        if self.shape:
            return self.read(self.shape[0])
        return Member((1,), self.dtype, self.stream, self.where).read(1).reshape(())

    def _check(self, size: int) -> None:
        if size > AT_ONCE:
            found, expected = f"{self.where}: {size:,} bytes at once", f"at most {AT_ONCE:,}"
            raise TraceError(found, expected=expected, do="save shorter texts, or several traces")


@contextmanager
def open_npz(path: Path) -> Iterator[Mapping[str, Member]]:
    """The arrays of a file by name, each to be read on its own. TraceError where the file is not what it says."""
    with explained(str(path)):
        archive = zipfile.ZipFile(path)
    with archive, ExitStack() as streams:
        members = {}
        for name in (name for name in archive.namelist() if name.endswith(".npy")):
            where = f"{path}, {name.removesuffix('.npy')}"
            with explained(where):
                stream = streams.enter_context(archive.open(name))
                members[name.removesuffix(".npy")] = _member(stream, archive.getinfo(name).file_size, where)
        yield members


def names_of(path: Path) -> set[str]:
    """The names of the arrays; empty where the file is no archive. Never raises."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    except BROKEN:
        return set()


def _member(stream: IO[bytes], size: int, where: str) -> Member:
    """The array that begins here. TraceError where it is not what its header says."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_by_column, dtype = read[np.lib.format.read_magic(stream)](stream)
    held = size - stream.tell()
    if dtype.hasobject:
        raise TraceError(
            f"{where}: pickled Python objects, which may run anything",
            expected="numbers or text",
            do='save text as np.array(texts, dtype="U"), lists of lists as one array',
        )
    needed = dtype.itemsize * int(np.prod(shape, dtype=object))
    if needed != held:
        raise cut_short(where, f"with {held:,} bytes for an array {shape} of {dtype}")
    if is_by_column and len(shape) > 1:
        raise TraceError(f"{where}: in column order", expected="row order", do="save np.ascontiguousarray(array)")
    return Member(shape, dtype, stream, where)


def cut_short(where: str, how: str) -> TraceError:
    """The error of a file that holds less, or more, than it says."""
    return TraceError(f"{where}: it ends {how}", expected="as much as its header says", do="write or copy it again")


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Trouble of a container in our own words."""
    try:
        yield
    except KeyError as error:
        found = f"{where}: an array of format version {error}"
        raise TraceError(found, expected="1.0 or 2.0", do="save it with numpy.savez") from error
    except BROKEN as error:
        raise TraceError(
            f"{where}: {error or type(error).__name__}", expected="a whole file", do="write or copy it again"
        ) from error
