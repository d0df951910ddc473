"""A lock on an open file, which ends with its process, however that ends; and when, without locks, a writer counts as
dead.

Between processes that take turns, filelock does this (see `server.metadata`). What is being written needs a lock of
another kind: on the file itself, by its descriptor, so that it holds from before the file is found until after it was
renamed, with nothing beside it. filelock locks a path: it makes a file where another has just removed or renamed that,
polls instead of waiting, and where the system has no locks it falls back to a marker that outlives its process.
Who works on a study for hours, on whichever machine, is told by a lease (see `cache.lease`).
"""

STALE_SECONDS = 3600
"""How old what somebody was writing is before its writer is taken for dead, where no lock can tell."""


def lock(descriptor: int, *, waits: bool = False) -> bool:
    """Whether an open file is locked now, until it is closed; it is not where another has it, or there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_held_elsewhere(descriptor: int) -> bool:
    """Whether another process has locked an open file; False where there are no locks, and nobody can tell."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
