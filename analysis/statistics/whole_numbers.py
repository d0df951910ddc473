"""Large tables of whole numbers: in as few bytes as hold them, and added up in place."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Whole = TypeVar("Whole", bound=np.integer)


def narrow(table: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same whole numbers in as few bytes as hold them all: most are small, and tables are large.

    >>> narrow(np.array([0, 255])).dtype, narrow(np.array([0, 256])).dtype, narrow(np.array([-1])).dtype
    (dtype('uint8'), dtype('uint16'), dtype('int64'))
    """
    is_signed = table.dtype.kind == "i"
    least, most = int(table.min(initial=0)) if is_signed else 0, int(table.max(initial=0))
    fitting = (kind for kind in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(kind).max and least >= 0)
    return table.astype(next(fitting, np.int64), copy=False)


def kind_for(tokens: int) -> type[np.unsignedinteger]:
    """Of counts that a token adds 1 to, or nothing: small tables stay longer in the processor's cache."""
    return np.uint16 if tokens <= np.iinfo(np.uint16).max else np.uint32


def narrow_sum(tables: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
    """Tables of one shape added up and made narrow, with 4 bytes a cell on the way wherever those hold the sum.

    >>> narrow_sum([np.array([200], np.uint8), np.array([100], np.uint8)])
    array([300], dtype=uint16)
    """
    if len(tables) == 1:
        return narrow(tables[0])
    most = sum(int(table.max(initial=0)) for table in tables)
    is_small = most <= np.iinfo(np.uint32).max and all(table.dtype.kind == "u" for table in tables)
    kind: type[np.integer] = np.uint32 if is_small else np.int64
    return narrow(added(tables, np.zeros(tables[0].shape, kind)))


def added(tables: Sequence[NDArray[np.integer]], total: NDArray[Whole]) -> NDArray[Whole]:
    """Tables added to a total, in its own numbers."""
    for table in tables:
        np.add(total, table, out=total, casting="same_kind")
    return total
