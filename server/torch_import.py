"""The first import of torch and transformers, which takes seconds and stands no company."""

import threading

# Guards the import: parts of transformers import one another in circles, which two threads at once break.
_lock = threading.Lock()


def import_hooks() -> None:
    """Import what reads models; to be called before any thread of the dashboard imports a part of `hooks`."""
    with _lock:
        from gatescope import hooks  # noqa: F401  # for what it imports
