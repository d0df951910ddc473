"""Loops that numpy cannot say, compiled at their first call and kept on the disk for the next process."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numba
from numba.core.dispatcher import Dispatcher

Loop = TypeVar("Loop", bound=Callable[..., Any])


def jit(loop: Loop) -> Loop:
    """A function compiled by numba, that runs without the interpreter's lock.

    To compile takes a second and more. What was compiled is kept beside the source, or in the user's cache folder;
    where neither can be written it is compiled anew in every process.

    >>> @jit
    ... def add(one, other):
    ...     return one + other
    >>> add(1, 2)
    3
    """
    made: Loop
    try:
        made = numba.njit(loop, nogil=True, cache=True)
    except RuntimeError:  # numba found no folder that it may write to
        made = numba.njit(loop, nogil=True)
    return made


def threads() -> int:
    """How many threads loops may have: one a processor, unless NUMBA_NUM_THREADS or OMP_NUM_THREADS says fewer."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    return min(most, max(int(first), 1)) if first.isdigit() else most


def in_threads(take: Callable[[slice], object], size: int) -> None:
    """Do something for `size` things, such as layers, a share of them in each thread; a loop runs beside the others."""
    shares = min(threads(), max(size, 1))
    bounds = [size * share // shares for share in range(shares + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    if len(parts) == 1:
        take(parts[0])
        return
    with ThreadPoolExecutor(max_workers=shares) as pool:
        list(pool.map(take, parts))


def cache_compiled(package: str) -> int:
    """Have numba keep what a library, already imported, compiles as well; how many of its loops are kept so.

    UMAP compiles for some ten seconds in each process that lays out its first points, unless this is asked for before.
    Numba compiles a loop anew when the file it stands in has changed.
    """
    modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == package]
    loops = {id(loop): loop for module in modules for loop in vars(module).values() if isinstance(loop, Dispatcher)}
    own = [loop for loop in loops.values() if loop.py_func.__module__.split(".")[0] == package]
    for number, loop in enumerate(own):
        try:
            loop.enable_caching()
        except RuntimeError:  # numba found no folder that it may write to
            return number
    return len(own)
