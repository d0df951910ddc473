"""One setting of the C library that training and evaluation on a CPU need."""

import ctypes


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory: returning each batch's logits to the kernel costs a quarter of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: never a mapping of its own for a large block
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never give the heap's top back
