"""Files that `torch.save` wrote, read without torch and without unpickling: data goes in, nothing is ever called.

Such a file is an archive: a pickle that describes lists, dictionaries, numbers and tensors, and one member of raw
numbers for each storage. The pickle is a program for a small machine. The machine here knows only those instructions
that put numbers, texts and containers together, and four names that stand for tensors. Whatever else a pickle asks for,
above all to look up or to call something, is refused by the name of the instruction and its place.

`torch.load(weights_only=True)` runs no foreign code either, but it does not do for a stranger's file (seen in torch
2.13). A key of the pickle that is nested 200,000 deep ends the whole process. Storages are read at once, whatever they
grow to when they are decompressed (512 MiB out of half a megabyte), and no view is too large (2**40 numbers, by a
stride of 0). With `mmap=True` nothing is read at once, but a storage that is compressed, or shorter than its tensor
says, gives the archive's own bytes for numbers, without an error. Here a tensor is read when it is asked for, after its
size was compared with that of its member, and torch need not be imported, which takes longer than reading most dumps.
"""

import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.reading.npz import AT_ONCE, BROKEN, explained
from gatescope.routing.errors import TraceError

MOST_INSTRUCTIONS = 2**26  # bytes of the pickle alone; about eight million tokens
ORDERS: Mapping[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}
STORAGES = {
    "IntStorage": "i4",
    "LongStorage": "i8",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
}


class Name(Enum):
    """What a name in the pickle stands for; nothing is imported."""

    TENSOR = "torch._utils _rebuild_tensor_v2"
    ORDERED = "collections OrderedDict"


@dataclass(frozen=True)
class Storage:
    """Numbers of one type in one member of the archive."""

    dtype: np.dtype[Any]
    member: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, read when `array` is called."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    read: Callable[[Storage], NDArray[Any]]

    def array(self) -> NDArray[Any]:
        """The numbers. TraceError where the view reaches out of its storage, or the storage out of the file."""
        size = self.storage.dtype.itemsize
        last = self.offset + sum((length - 1) * step for length, step in zip(self.shape, self.strides, strict=True))
        cells = int(np.prod(self.shape, dtype=object))
        if not cells:
            return np.empty(self.shape, self.storage.dtype)
        if not 0 <= self.offset <= last < self.storage.count or cells * size > AT_ONCE:
            raise _refused(f"a tensor {self.shape} of {cells:,} numbers in a storage of {self.storage.count:,}")
        numbers = self.read(self.storage)[self.offset :]
        steps = tuple(step * size for step in self.strides)
        return np.lib.stride_tricks.as_strided(numbers, self.shape, steps, writeable=False).copy()


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """What a file holds: containers, numbers, texts, and tensors that are read while it is open.

    Errors: TraceError where it is no such archive, is cut, or asks for anything but data.
    """
    with explained(str(path)):
        archive = zipfile.ZipFile(path)
    with archive:
        root = _root(archive, path)
        data = _bytes(archive, f"{root}data.pkl", MOST_INSTRUCTIONS, path)
        order: Literal["<", ">"] | None = "<"
        if f"{root}byteorder" in archive.namelist():
            order = ORDERS.get(_bytes(archive, f"{root}byteorder", 16, path))
        if order is None:
            raise _refused(f"{path}: an unknown order of bytes")

        def read(storage: Storage) -> NDArray[Any]:
            raw = _bytes(archive, f"{root}data/{storage.member}", AT_ONCE, path)
            if len(raw) != storage.count * storage.dtype.itemsize:
                raise _refused(f"{path}: storage {storage.member} of {len(raw):,} bytes for {storage.count:,} numbers")
            return np.frombuffer(raw, storage.dtype.newbyteorder(order))

        yield _Machine(data, str(path), read).run()


def begins_with(path: Path, words: tuple[bytes, ...]) -> bool:
    """Whether the pickle of such a file names one of these near its beginning. Never raises."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{_root(archive, path)}data.pkl") as stream:
            begins = stream.read(4096)
    except (*BROKEN, KeyError, TraceError):
        return False
    return any(word in begins for word in words)


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    roots = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise _refused(f"{path}: an archive with {len(roots)} descriptions of data")
    return roots[0]


def _bytes(archive: zipfile.ZipFile, name: str, most: int, path: Path) -> bytes:
    """A whole member, if it is not too large."""
    with explained(f"{path}, {name}"):
        size = archive.getinfo(name).file_size if name in archive.namelist() else -1
        if size < 0 or size > most:
            found = f"{path}, {name}: {size:,} bytes" if size >= 0 else f"{path}: no {name}"
            raise TraceError(found, expected=f"at most {most:,}", do="dump more often, into several files")
        return archive.read(name)


def _refused(found: str) -> TraceError:
    return TraceError(found, expected="numbers, texts, containers and tensors", do="write or copy the dump again")


class _Machine:
    """Runs the instructions of one pickle that only put data together."""

    def __init__(self, data: bytes, where: str, read: Callable[[Storage], NDArray[Any]]) -> None:
        self.data, self.at, self.where, self.read = data, 0, where, read
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle describes."""
        begin = 0
        try:
            while True:
                begin, code = self.at, self.data[self.at]
                self.at += 1
                if code == STOP:
                    (value,) = self.stack
                    return value
                INSTRUCTIONS[code](self)
        except KeyError:
            code = self.data[begin]
            named = NAMES.get(code, f"{code:#x}") if code not in INSTRUCTIONS else "what it never made"
            raise _refused(f"{self.where}: the pickle asks for {named} at byte {begin}") from None
        except (IndexError, struct.error, ValueError, TypeError, OverflowError) as error:
            raise _refused(f"{self.where}: a broken pickle at byte {begin} ({error})") from error

    def take(self, form: str) -> Any:
        """The next bytes as one number."""
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def take_bytes(self, length: int) -> bytes:
        """So many bytes."""
        taken = self.data[self.at : self.at + length]
        if len(taken) != length:
            raise ValueError("it ends early")
        self.at += length
        return taken

    def take_line(self) -> str:
        """Everything up to the end of a line."""
        end = self.data.index(b"\n", self.at)
        line = self.data[self.at : end].decode("ascii")
        self.at = end + 1
        return line

    def since_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def global_(self) -> None:
        """A name: one of those that stand for tensors, or refused."""
        module, name = self.take_line(), self.take_line()
        if module == "torch" and name in STORAGES:
            self.stack.append(np.dtype(STORAGES[name]))
        elif f"{module} {name}" in {known.value for known in Name}:
            self.stack.append(Name(f"{module} {name}"))
        else:
            raise _refused(f"{self.where}: the pickle asks for {module}.{name}"[:200])

    def reduce(self) -> None:
        """A tensor out of its parts, or an empty dictionary; nothing is called."""
        parts, name = self.stack.pop(), self.stack.pop()
        if name is Name.TENSOR and isinstance(parts, tuple):
            self.stack.append(self._tensor(*parts[:4]))
        elif name is Name.ORDERED and parts == ():
            self.stack.append({})
        else:
            raise ValueError("a call")

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
        whole = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or not all(type(number) is int and 0 <= number < 2**48 for number in whole):
            raise ValueError("a tensor of no storage, or of odd numbers")
        if not isinstance(shape, tuple) or len(shape) != len(strides) or len(shape) > 8:
            raise ValueError("a tensor of no shape")
        return Tensor(storage, offset, shape, strides, self.read)

    def persistent(self) -> None:
        """A storage."""
        kind, dtype, member, _, count = self.stack.pop()
        if (
            kind != "storage"
            or not isinstance(dtype, np.dtype)
            or not isinstance(member, str)
            or type(count) is not int
        ):
            raise ValueError("no storage")
        self.stack.append(Storage(dtype, member, count))

    def set_items(self, items: list[Any]) -> None:
        """Keys and values into the dictionary on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2 or not all(type(key) in (str, int) for key in items[::2]):
            raise TypeError("keys that are no texts or numbers, or no dictionary")
        target.update(zip(items[::2], items[1::2], strict=True))

    def append_all(self, items: list[Any]) -> None:
        """Values to the list on the stack."""
        if type(self.stack[-1]) is not list:
            raise TypeError("no list")
        self.stack[-1].extend(items)

    def push(self, value: Any) -> None:
        """A value onto the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """A new stack on the old one."""
        self.marks.append(self.stack)
        self.stack = []

    def take_last(self, count: int) -> list[Any]:
        """The last few values off the stack."""
        items = self.stack[len(self.stack) - count :] if len(self.stack) >= count else []
        if len(items) != count:
            raise IndexError("an empty stack")
        del self.stack[len(self.stack) - count :]
        return items

    def remember(self, at: int) -> None:
        """Keep what is on the stack."""
        self.memo[at] = self.stack[-1]


def _protocol(machine: _Machine) -> None:
    if machine.take("<B") > 2:
        raise ValueError("a later protocol than torch writes")


STOP = ord(".")
NAMES = {ord(instruction.code): instruction.name for instruction in pickletools.opcodes}
INSTRUCTIONS: Mapping[int, Callable[[_Machine], None]] = {
    0x80: _protocol,
    ord("K"): lambda m: m.push(m.take("<B")),
    ord("M"): lambda m: m.push(m.take("<H")),
    ord("J"): lambda m: m.push(m.take("<i")),
    0x8A: lambda m: m.push(int.from_bytes(m.take_bytes(m.take("<B")), "little", signed=True)),
    ord("G"): lambda m: m.push(m.take(">d")),
    ord("X"): lambda m: m.push(m.take_bytes(m.take("<I")).decode("utf-8", "surrogatepass")),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    ord("("): _Machine.mark,
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.push(tuple(m.take_last(1))),
    0x86: lambda m: m.push(tuple(m.take_last(2))),
    0x87: lambda m: m.push(tuple(m.take_last(3))),
    ord("a"): lambda m: m.append_all(m.take_last(1)),
    ord("e"): lambda m: m.append_all(m.since_mark()),
    ord("s"): lambda m: m.set_items(m.take_last(2)),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    ord("q"): lambda m: m.remember(m.take("<B")),
    ord("r"): lambda m: m.remember(m.take("<I")),
    ord("h"): lambda m: m.push(m.memo[m.take("<B")]),
    ord("j"): lambda m: m.push(m.memo[m.take("<I")]),
    ord("c"): _Machine.global_,
    ord("R"): _Machine.reduce,
    ord("Q"): _Machine.persistent,
}
