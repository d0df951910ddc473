"""What was copied of the routers while a graph ran: tensors, one behind another on a tape that native code writes."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.engines.llamacpp.structures import CAPACITY, F32, HEAD, I32, KINDS, LOST, TAPE, USED, WANTED
from gatescope.routing.errors import RouterOutputError


class Tape:
    """Memory that a native callback (its address) writes to, and what it is to copy."""

    def __init__(self, callback: int) -> None:
        self.callback = callback
        self._words: NDArray[np.int32] = np.zeros(0, np.int32)
        self._state = np.zeros(5, np.int64)

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
