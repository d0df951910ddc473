"""The native code of the evaluation callback, compiled by numba: it is asked of every node, hundreds of times a token.

The scheduler asks whether a node's values are wanted, and shows those that are before their memory is used again.
Nodes are known by name, "ffn_moe_topk-7" for the chosen experts of block 7. A view, which the chosen experts are, is
copied by its strides.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gatescope.engines.llamacpp.structures import CAPACITY, F32, HEAD, I32, KINDS, LOST, TAPE, USED, WANTED

PREFIX = int.from_bytes(b"ffn_moe_", "little")
NAMES = np.frombuffer(b"".join(kind.encode().ljust(16, b"\0") for kind in KINDS), np.uint8).reshape(-1, 16)
NE, NB, DATA, NAME = 2, 6, 31, 32  # where a tensor holds them, in words of 8 bytes
DASH = ord("-")


def _pointer(_typing_context: Any, _address: Any) -> Any:
    """How native code makes a pointer to 4-byte words of an address."""

    def make(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.int32_t.as_pointer())

    return types.CPointer(types.int32)(types.int64), make


_at: Any = intrinsic(_pointer)


@numba.njit
def _letter(tensor: Any, place: int) -> int:
    """A letter of a tensor's name."""
    letter: int = (tensor[NAME + (place >> 3)] >> (8 * (place & 7))) & 255
    return letter


@numba.njit
def _kind(tensor: Any, state: Any) -> int:
    """The wanted kind that a tensor's name speaks of; -1 where it is none, or where the name goes on ("(reshaped)")."""
    if tensor[NAME] != PREFIX:
        return -1
    for kind in range(len(KINDS)):
        place = 0
        while NAMES[kind, place] and NAMES[kind, place] == _letter(tensor, 8 + place):
            place += 1
        if not NAMES[kind, place] and _letter(tensor, 8 + place) == DASH and (state[WANTED] >> kind) & 1:
            return kind if _block(tensor, 9 + place) >= 0 else -1
    return -1


@numba.njit
def _block(tensor: Any, place: int) -> int:
    """The number that a name ends with, from this letter on; -1 where anything else follows."""
    number = 0
    while 48 <= _letter(tensor, place) <= 57:
        number = 10 * number + _letter(tensor, place) - 48
        place += 1
    return -1 if _letter(tensor, place) else number


@numba.njit
def _append(tensor: Any, kind: int, state: Any) -> None:
    """Write a tensor to the tape, row by row, or count what does not fit; of an unknown type, write that alone."""
    words, number_type = tensor[NE] * tensor[NE + 1] * tensor[NE + 2] * tensor[NE + 3], tensor[0] & 0xFFFFFFFF
    if number_type != F32 and number_type != I32:
        words = 0
    if state[USED] + HEAD + words > state[CAPACITY]:
        state[LOST] += HEAD + words
        return
    tape, at, name = _at(state[TAPE]), state[USED], 9
    while _letter(tensor, name - 1) != DASH:
        name += 1
    tape[at], tape[at + 1], tape[at + 2], tape[at + 3] = kind, _block(tensor, name), number_type, words
    state[USED] += HEAD + words
    if words:
        _copy_rows(tensor, tape, at + HEAD)


@numba.njit
def _copy_rows(tensor: Any, tape: Any, at: int) -> None:
    """Copy a tensor's numbers, of 4 bytes each, as its strides place them."""
    for outer in range(tensor[NE + 3]):
        for middle in range(tensor[NE + 2]):
            for row in range(tensor[NE + 1]):
                start = outer * tensor[NB + 3] + middle * tensor[NB + 2] + row * tensor[NB + 1]
                values, step = _at(tensor[DATA] + start), tensor[NB] >> 2
                for column in range(tensor[NE]):
                    tape[at] = values[column * step]
                    at += 1


def _copy(tensor: Any, is_asked: int, state: Any) -> int:
    """Asked whether a node is wanted, answer; shown one, copy it. To go on, every answer to a shown one is yes."""
    kind = _kind(tensor, state)
    if is_asked:
        return 1 if kind >= 0 else 0
    if kind >= 0:
        _append(tensor, kind, state)
    return 1


@cache
def native_callback() -> Any:
    """The callback as native code, compiled once per process; its `address` is what llama.cpp is given."""
    words = types.CPointer(types.int64)
    return numba.cfunc(types.uint8(words, types.uint8, words))(_copy)
