"""How many bytes of memory a value holds, about: what a cache counts against its budget."""

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

_NO_DATA = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_PLAIN = (str, bytes, bytearray, int, float, complex, type(None), range, *_NO_DATA)
"""What holds nothing else, or nothing of its own."""


def size_of(value: object) -> int:
    """Bytes of a value and of everything it holds, each thing once; a view counts for what it shows.

    >>> size_of(np.zeros(1_000_000)) // 1_000_000
    8
    """
    seen: set[int] = set()
    waiting: list[Any] = [value]
    total = 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        total += _own_size(each)
        if not isinstance(each, _PLAIN):
            waiting.extend(_parts(each))
    return total


def _own_size(value: Any) -> int:
    """Bytes of a value without its parts."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes) + 112
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(deep=True).sum())
    if isinstance(value, pd.Series | pd.Index):
        return int(value.memory_usage(deep=True))
    if isinstance(value, pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray):
        return int(value.nbytes)
    return sys.getsizeof(value, 64)


def _parts(value: Any) -> Iterator[Any]:
    """What a value holds, where that is not counted with it."""
    if isinstance(value, np.ma.MaskedArray):
        yield value.mask
    elif isinstance(value, np.ndarray):
        yield from value.flat if value.dtype.hasobject else ()
    elif isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif not isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        yield from getattr(value, "__dict__", {}).values()
        yield from (getattr(value, name) for name in _slots(type(value)) if hasattr(value, name))


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
