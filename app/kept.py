"""Answers that are expensive, computed once for everybody: the last few, by key."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

from routing.errors import OptionError

Answer = TypeVar("Answer")
Key = tuple[Any, ...]
_EVERY: WeakSet["Kept"] = WeakSet()


def forget(id: str) -> None:
    """Drop every answer, wherever it is kept, that has an id in its key: its capture was removed or changed."""
    for kept in list(_EVERY):
        kept.forget(lambda key: id in key)


class Kept:
    """The answers asked for last, at most `most` of them.

    Two who ask for the same wait for one computation. What cannot be had (OptionError) is
    kept and raised again: to ask twice would not change it. Keys are ids, names and numbers, never arrays.

    >>> kept = Kept(2)
    >>> kept.get(("a",), lambda: 1), kept.get(("a",), lambda: 2)
    (1, 1)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Guards both: the threads of all sessions read and reorder them.
        self._lock = threading.Lock()
        self._answers: OrderedDict[Key, Any] = OrderedDict()
        self._computing: dict[Key, threading.Lock] = {}
        _EVERY.add(self)

    def get(self, key: Key, compute: Callable[[], Answer]) -> Answer:
        """The answer of that key, computed if nobody asked before."""
        with self._lock:
            if key in self._answers:
                known: Answer | OptionError = self._known(key)
                return _said(known)
            mine = self._computing.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                if key in self._answers:
                    known = self._known(key)
                    return _said(known)
            return _said(self._keep(key, compute))

    def forget(self, is_gone: Callable[[Key], bool]) -> None:
        """Drop the answers of some keys."""
        with self._lock:
            for key in [key for key in self._answers if is_gone(key)]:
                del self._answers[key]

    def _keep(self, key: Key, compute: Callable[[], Answer]) -> Answer | OptionError:
        found: Answer | OptionError
        try:
            found = compute()
        except OptionError as error:
            found = error.with_traceback(None)
        with self._lock:
            self._answers[key] = found
            self._computing.pop(key, None)
            while len(self._answers) > max(self._most, 1):
                self._answers.popitem(last=False)
        return found

    def _known(self, key: Key) -> Any:
        """With the lock held."""
        self._answers.move_to_end(key)
        return self._answers[key]


def _said(found: Answer | OptionError) -> Answer:
    if isinstance(found, OptionError):
        raise found
    return found
