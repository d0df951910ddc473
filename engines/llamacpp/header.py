"""What a GGUF says of itself before its weights are loaded: architecture, counts, names and places of tensors."""

import ctypes
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatescope.engines.llamacpp.library import Library
from gatescope.engines.llamacpp.structures import ReadParams
from gatescope.routing.errors import DenseModelError, ModelError, ModelMemoryError, ModelNotFoundError, WeightsError

MAGIC = b"GGUF"
STRING, ARRAY, BOOLEAN = 8, 9, 7
NUMBERS: Mapping[int, Any] = {
    0: ctypes.c_uint8,
    1: ctypes.c_int8,
    2: ctypes.c_uint16,
    3: ctypes.c_int16,
    4: ctypes.c_uint32,
    5: ctypes.c_int32,
    6: ctypes.c_float,
    BOOLEAN: ctypes.c_bool,
    10: ctypes.c_uint64,
    11: ctypes.c_int64,
    12: ctypes.c_double,
}
"""GGUF's numbers of types, and what they are in C."""
LONGEST = 4096  # numbers of an array that are read; vocabularies are longer, counts per block are not
PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
WHOLE_FILE = 2**30  # files up to this size are hashed whole; of larger ones, evenly spread blocks
BLOCKS, BLOCK = 64, 2**20
MEMORY = Path("/proc/meminfo")
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
Value = str | int | float | bool | tuple[int | float | bool, ...]


@dataclass(frozen=True, kw_only=True)
class Header:
    """A GGUF without its weights: the values it states, its tensors' names, and the files it is made of."""

    files: tuple[Path, ...]
    values: Mapping[str, Value]
    tensors: frozenset[str]
    size_bytes: int

    @property
    def architecture(self) -> str:
        """Which of llama.cpp's graphs it is for."""
        return str(self.values.get("general.architecture", ""))

    @property
    def name(self) -> str:
        """What its maker called it, else the file's name."""
        return str(self.values.get("general.name", "")) or self.files[0].name.removesuffix(".gguf")

    def count(self, name: str, block: int = 0) -> int:
        """A whole number that the architecture states, for one block where it differs between blocks; 0 unstated."""
        value = self.values.get(f"{self.architecture}.{name}", 0)
        if isinstance(value, tuple):
            value = value[block] if block < len(value) else 0
        return int(value) if isinstance(value, int | float) else 0

    @property
    def most_experts(self) -> int:
        """Routed experts of the block that has most of them; 0 in a dense model."""
        return max(self.count("expert_count", block) for block in range(max(self.count("block_count"), 1)))

    def has(self, block: int, name: str) -> bool:
        """Whether a block has a tensor of this name, e.g. "ffn_up_shexp.weight"."""
        return f"blk.{block}.{name}" in self.tensors


def read_header(library: Library, path: Path) -> Header:
    """The header of a GGUF and of the parts beside it, each as long as it says.

    Errors: ModelNotFoundError (no such file), WeightsError (no GGUF, damaged, a part missing).
    """
    files = _files(path)
    headers = [_read(library, file) for file in files]
    return Header(
        files=files,
        values=headers[0].values,
        tensors=frozenset().union(*(header.tensors for header in headers)),
        size_bytes=sum(header.size_bytes for header in headers),
    )


def check_routed(header: Header) -> None:
    """Refuse a model without experts. Errors: DenseModelError."""
    if header.most_experts < 2:
        key = f"{header.architecture}.expert_count"
        raise DenseModelError(
            f"dense: {header.files[0]} states {key}={header.most_experts}",
            expected=f"{key} above 1",
            do="load a Mixture-of-Experts model: a dense one sends every token through the same weights",
        )


def check_causal(header: Header) -> None:
    """Refuse what reads a text in both directions: it puts out no scores over the vocabulary. Errors: ModelError."""
    if header.values.get(f"{header.architecture}.attention.causal") is False:
        raise ModelError(
            f"{header.files[0]} is an encoder ({header.architecture}.attention.causal is false)",
            expected="a language model that reads from left to right",
            do="capture encoders with transformers",
        )


def check_memory(header: Header) -> None:
    """Compare the weights with the memory that is free, where the system tells. Errors: ModelMemoryError."""
    free = free_memory()
    if free is not None and header.size_bytes > free:
        raise ModelMemoryError(
            f"{header.name} has {header.size_bytes / 2**30:.1f} GiB of weights; {free / 2**30:.1f} GiB are free",
            expected="weights that fit into free memory",
            do="choose a file of a smaller quantisation, or a machine with more memory",
        )


def free_memory() -> int | None:
    """Bytes that programs may still take, also within the container's limit; None where the system does not say."""
    if not MEMORY.is_file():
        return None
    stated = re.search(r"^MemAvailable:\s+(\d+) kB$", MEMORY.read_text(), re.MULTILINE)
    limits = [file.read_text().strip() for file in CGROUP_LIMITS if file.is_file()]
    known = [int(limit) for limit in limits if limit.isdigit()] + ([int(stated[1]) * 1024] if stated else [])
    return min(known, default=None)


def fingerprint(header: Header) -> str:
    """16 hex digits that change when the files do; above 1 GiB, length and 64 evenly spread blocks of 1 MiB count."""
    digest = hashlib.sha256()
    for file in header.files:
        size = file.stat().st_size
        digest.update(f"{size}:".encode())
        with file.open("rb") as stream:
            if size <= WHOLE_FILE:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                continue
            for at in range(BLOCKS):
                stream.seek(at * (size - BLOCK) // (BLOCKS - 1))
                digest.update(stream.read(BLOCK))
    return digest.hexdigest()[:16]


def _files(path: Path) -> tuple[Path, ...]:
    """The file, or all parts of which it is the first."""
    if not path.is_file():
        raise ModelNotFoundError(
            f"{path} is {'a folder' if path.is_dir() else 'not there'}",
            expected="a GGUF file",
            do="give the path of the file (of several parts, the first)",
        )
    part = PART.fullmatch(path.name)
    if part is None:
        return (path,)
    parts = [path.with_name(f"{part[1]}-{number:05}-of-{part[3]}.gguf") for number in range(1, int(part[3]) + 1)]
    missing = [file.name for file in parts if not file.is_file()]
    if missing or int(part[2]) != 1:
        raise WeightsError(
            f"{path} is part {int(part[2])} of {int(part[3])}; missing are {', '.join(missing) or 'none'}",
            expected="the first part, the others beside it",
            do="give the path that ends in -00001-of-" + part[3] + ".gguf, and download the parts that are missing",
        )
    return tuple(parts)


def _read(library: Library, file: Path) -> Header:
    with file.open("rb") as stream:
        start = stream.read(len(MAGIC))
    if start != MAGIC:
        raise _damaged(file, f"begins with {start!r}", expected="a GGUF, which begins with b'GGUF'")
    call = library.call
    with library.complaints() as complaints:
        it = call.gguf_init_from_file(str(file).encode(), ReadParams(no_alloc=True, ctx=None))
        if not it:
            raise _damaged(file, f"cannot be read: {complaints() or 'its header breaks off'}")
    try:
        keys, count = call.gguf_get_n_kv(it), call.gguf_get_n_tensors(it)
        values = {_text(call.gguf_get_key(it, key)): _value(call, it, key) for key in range(keys)}
        names = frozenset(_text(call.gguf_get_tensor_name(it, number)) for number in range(count))
        ends = [call.gguf_get_tensor_offset(it, n) + call.gguf_get_tensor_size(it, n) for n in range(count)]
        needed, size = call.gguf_get_data_offset(it) + max(ends, default=0), file.stat().st_size
    finally:
        call.gguf_free(it)
    if needed > size:
        raise _damaged(file, f"is {size} bytes long, and its header speaks of {needed}")
    known = {key: value for key, value in values.items() if value is not None}
    if count and not known.get("general.architecture") and not known.get("split.no"):
        raise _damaged(file, "does not say its architecture (general.architecture)")
    return Header(files=(file,), values=known, tensors=names, size_bytes=max(ends, default=0))


def _value(call: Any, it: int, key: int) -> Value | None:
    """One stated value; None for texts in arrays and for long arrays."""
    kind = call.gguf_get_kv_type(it, key)
    if kind == STRING:
        return _text(call.gguf_get_val_str(it, key))
    if kind == ARRAY:
        number, length = NUMBERS.get(call.gguf_get_arr_type(it, key)), call.gguf_get_arr_n(it, key)
        if number is None or length > LONGEST:
            return None
        return tuple((number * length).from_address(call.gguf_get_arr_data(it, key))) if length else ()
    single: int | float | bool = NUMBERS[kind].from_address(call.gguf_get_val_data(it, key)).value
    return single


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _damaged(file: Path, why: str, *, expected: str = "a whole GGUF file") -> WeightsError:
    return WeightsError(f"{file} {why}", expected=expected, do="check the path, or download the file again")
