"""What llama.cpp's evaluation callback copies while a graph runs: the routers' tensors, one behind another on a tape.

The scheduler asks of every node whether its values are wanted, and shows those that are before their memory is used
again. Asking happens hundreds of times per token, so the callback is native code (numba); it knows the nodes by name,
"ffn_moe_topk-7" for the chosen experts of block 7. A view, which the chosen experts are, is copied by its strides.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from engines.llamacpp.structures import F32, I32
from routing.errors import RouterOutputError

KINDS = (
    "topk",
    "weights",
    "weights_softmax",
    "weights_norm",
    "weights_scaled",
    "logits",
    "logits_biased",
    "probs",
    "probs_biased",
    "probs_masked",
)
"""What may be copied, as the node is called behind "ffn_moe_"."""

PREFIX = int.from_bytes(b"ffn_moe_", "little")
NAMES = np.frombuffer(b"".join(kind.encode().ljust(16, b"\0") for kind in KINDS), np.uint8).reshape(-1, 16)
HEAD = 4  # words before each copy: kind, block, type, number of words
CAPACITY, USED, LOST, WANTED, TAPE = range(5)
"""Words of what the callback is handed: the tape's length, how much of it is used, how many words did not fit, which
kinds are wanted (a bit each), and the tape's address."""
NE, NB, DATA, NAME = 2, 6, 31, 32  # where a tensor holds them, in words of 8 bytes
DASH = ord("-")


class Tape:
    """Memory that the callback writes to, and what it is to copy."""

    def __init__(self) -> None:
        self._words: NDArray[np.int32] = np.zeros(0, np.int32)
        self._state = np.zeros(5, np.int64)

    @property
    def callback(self) -> int:
        """Address of the native callback."""
        return _callback().address

    @property
    def handed(self) -> int:
        """Address of what the callback is handed."""
        return self._state.ctypes.data

    def rewind(self, kinds: Iterable[str], words: int) -> None:
        """Forget what was copied, and make room for so many words of these kinds; none: copy nothing."""
        if words > len(self._words):
            self._words = np.zeros(words, np.int32)
        self._state[[CAPACITY, USED, LOST]] = len(self._words), 0, 0
        self._state[WANTED] = sum(1 << KINDS.index(kind) for kind in kinds)
        self._state[TAPE] = self._words.ctypes.data

    def read(self) -> Mapping[tuple[int, str], NDArray[Any]]:
        """What was copied since the last rewind, flat, by block and kind; copies of its own.

        Errors: RouterOutputError for more than there was room for, and for numbers of another type.
        """
        if self._state[LOST]:
            raise unread(f"{self._state[LOST]} numbers more than its shape explains", "every router once per pass")
        parts: dict[tuple[int, str], list[NDArray[Any]]] = {}
        at, end = 0, int(self._state[USED])
        while at < end:
            kind, block, kind_of_number, words = (int(word) for word in self._words[at : at + HEAD])
            wanted = I32 if KINDS[kind] == "topk" else F32
            if kind_of_number != wanted:
                raise unread(
                    f"ffn_moe_{KINDS[kind]}-{block} in type {kind_of_number}", f"type {wanted} of ggml's numbers"
                )
            values = self._words[at + HEAD : at + HEAD + words]
            parts.setdefault((block, KINDS[kind]), []).append(values if wanted == I32 else values.view(np.float32))
            at += HEAD + words
        return {place: np.concatenate(values) for place, values in parts.items()}


def unread(found: str, expected: str) -> RouterOutputError:
    """The error for a graph whose routers cannot be read."""
    return RouterOutputError(
        f"llama.cpp's graph gave {found}", expected=expected, do="report the architecture: its graph is not yet known"
    )


def _pointer(typing_context: Any, address: Any) -> Any:
    """How native code makes a pointer to 4-byte words of an address."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.int32_t.as_pointer())

    return types.CPointer(types.int32)(types.int64), make


_at: Any = intrinsic(_pointer)


@numba.njit
def _letter(tensor: Any, place: int) -> int:
    """A letter of a tensor's name."""
    return (tensor[NAME + (place >> 3)] >> (8 * (place & 7))) & 255


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
def _callback() -> Any:
    """The callback as native code, compiled once per process."""
    words = types.CPointer(types.int64)
    return numba.cfunc(types.uint8(words, types.uint8, words))(_copy)
