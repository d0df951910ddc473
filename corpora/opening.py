"""Files of text as streams of UTF-8: unpacked, recoded from UTF-16, cut into lines of bounded length."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from gatescope.corpora.place import Place
from gatescope.routing.files import no_file

MAX_ROW_BYTES = 64 * 2**20
"""The longest row: it is held in memory whole. 64 MiB is a long novel a hundred times over."""
PACKED = (".gz", ".zst")

_CHUNK = 2**18
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A text file as a stream of UTF-8 bytes, whatever it is packed or encoded in; byte order marks are taken off.

    Errors      RowError (of line 0) when it cannot be opened or unpacked, is empty, or holds no text
    """
    place = Place(path)
    check_file(place)
    try:
        with _unpacked(path) as stream:
            yield _as_utf8(stream, place)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(place, error) from error
    except OSError as error:
        if error.errno is None:  # pyarrow's way to say that a stream is torn
            raise _damaged(place, error) from error
        raise unreadable(place, error) from error


def check_file(place: Place) -> None:
    """Errors: RowError for a pipe or a device: a corpus is read more than once, and to its end."""
    if reason := no_file(Path(place.path)):
        do = "write what comes through it into a file first"
        raise place.error(f"it is {reason}", expected="a file", do=do, reason="no file")


def unreadable(place: Place, error: OSError) -> Exception:
    """The error that this user may not, or cannot, read a file."""
    do = "give the path of a file that this user may read"
    found = error.strerror or str(error)
    return place.error(found, expected="a readable file", do=do, reason="unreadable file")


def _damaged(place: Place, error: Exception) -> Exception:
    found = f"cannot be unpacked: {error}"
    return place.error(found, expected="a whole compressed file", do="copy or pack it again", reason="damaged file")


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The file's bytes, through gzip or zstd where its name ends in .gz or .zst."""
    suffix = path.suffix.lower()
    if suffix not in PACKED:
        with path.open("rb") as file:
            yield file
    elif suffix == ".gz":
        with gzip.open(path) as packed:
            yield io.BufferedReader(cast(io.RawIOBase, packed), _CHUNK)
    else:
        with path.open("rb") as file, pa.CompressedInputStream(pa.PythonFile(file), "zstd") as packed:
            yield io.BufferedReader(packed, _CHUNK)


def _as_utf8(stream: io.BufferedReader, place: Place) -> io.BufferedReader:
    """The stream after its byte order mark, recoded where that says UTF-16."""
    head = stream.peek(_CHUNK)
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    elif head.startswith(_UTF16) and not head.startswith(_UTF32):
        stream, head = io.BufferedReader(_FromUtf16(stream, place), _CHUNK), b""
    if not stream.peek(1):
        do = "write at least one line; docs/corpora.md shows one"
        raise place.error("an empty file", expected="text in it", do=do, reason="empty file")
    if b"\0" in head:
        found = f"a zero byte at byte {head.index(0) + 1}: not text, or UTF-16 without a byte order mark"
        do = "save the file again with the encoding UTF-8"
        raise place.error(found, expected="text in UTF-8", do=do, reason="not text")
    return stream


class _FromUtf16(io.RawIOBase):
    """UTF-16 with a byte order mark, read as UTF-8."""

    def __init__(self, stream: BinaryIO, place: Place) -> None:
        self._stream, self._place = stream, place
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._ready, self._taken = b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 at the end."""
        raw = b" "
        while raw and not self._ready:
            raw = self._stream.read(_CHUNK)
            self._ready = self._recoded(raw)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _recoded(self, raw: bytes) -> bytes:
        start = self._taken - len(self._decoder.getstate()[0])
        self._taken += len(raw)
        try:
            return self._decoder.decode(raw, final=not raw).encode("utf-8")
        except UnicodeDecodeError as error:
            found, do = f"not UTF-16 from byte {start + error.start + 1}", "save the file again with the encoding UTF-8"
            raise self._place.error(found, expected="text in UTF-16", do=do, reason="encoding") from error


def lines(stream: io.BufferedReader) -> Iterator[bytes]:
    """Every line with its end; of one longer than `MAX_ROW_BYTES`, the first `MAX_ROW_BYTES` + 1 bytes."""
    while raw := stream.readline(MAX_ROW_BYTES + 1):
        yield raw
        rest = raw if len(raw) > MAX_ROW_BYTES else b""
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(_CHUNK)


def decoded(raw: bytes, place: Place) -> str:
    """The bytes as text. Errors: RowError, with the byte that is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        within = "the line" if place.line else "the file"
        found = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of {within}"
        do = "save the file again with the encoding UTF-8"
        raise place.error(found, expected="text in UTF-8", do=do, reason="encoding") from error
