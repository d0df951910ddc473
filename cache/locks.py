"""A lock on an open file, which ends with its process, however that ends; and when, without locks, a writer counts as
dead.
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
