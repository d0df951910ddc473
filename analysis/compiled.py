"""Loops that numpy cannot say, compiled at their first call and kept on the disk for the next process."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """A function compiled by numba, that runs without the interpreter's lock.

    To compile takes a second and more. What was compiled is kept beside the source, or in the user's cache folder;
    where neither can be written it is compiled anew in every process.

    >>> @compiled
    ... def add(one, other):
    ...     return one + other
    >>> add(1, 2)
    3
    """
    made: Any
    try:
        made = numba.njit(loop, nogil=True, cache=True)
    except RuntimeError:  # numba found no folder that it may write to
        made = numba.njit(loop, nogil=True)
    return made
