"""Every error of the project, in one tree.

GatescopeError
├── ModelError               a model could not be loaded
│   ├── ModelNotFoundError   no such folder, hub id or revision, or no network to look
│   ├── ModelAccessError     the hub asks for permission (gated or private)
│   ├── ModelMemoryError     the weights do not fit into memory
│   └── WeightsError         a weights file is missing, truncated or altered
├── RouterError              a router could not be read
│   ├── DenseModelError      there is no router: the model is dense
│   └── RouterOutputError    a router answered in a shape nobody can read
├── RecordError              a record breaks one of its own rules
├── PromptError              the text cannot be captured (empty, too long, not text)
├── OptionError              a setting or option is out of range
├── CorpusError              a corpus file cannot be read
├── TraceError               routes recorded by another engine cannot be understood
├── CaptureCancelledError    the last watcher left, or Cancel was pressed
├── QueueFullError           too many captures are waiting
└── StoreError               a capture could not be kept or found
    ├── CaptureNotFoundError the store holds no capture of that id
    ├── CaptureDamagedError  a stored capture is torn or altered; it was set aside
    ├── InUseError           another process works on a study now
    └── StorageFullError     the disk or the quota is full; nothing was half-written

Each carries three parts, kept apart so that the page, the log and the command line show each where it fits:
`found` (with values), `expected`, and `do` (an imperative that names something that exists).

    try:
        model = load_model("somewhere")
    except GatescopeError as error:
        print(error.found, error.expected, error.do)
"""

from pathlib import PurePath


class GatescopeError(Exception):
    """Base of every error the project raises on purpose: what was found, what was expected, what to do."""

    def __init__(self, found: str, *, expected: str, do: str) -> None:
        self.found, self.expected, self.do = found, expected, do
        super().__init__(f"{found}\n  expected: {expected}\n  do: {do}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.found, self.expected, self.do)


def _rebuild(kind: type[GatescopeError], found: str, expected: str, do: str) -> GatescopeError:
    """Unpickle: exceptions rebuild from positional arguments only, ours has keywords."""
    return kind(found, expected=expected, do=do)


class ModelError(GatescopeError):
    """A model could not be loaded."""


class ModelNotFoundError(ModelError):
    """No such folder, hub id or revision, or no network to look."""


class ModelAccessError(ModelError):
    """The hub asks for permission (gated or private)."""


class ModelMemoryError(ModelError):
    """The weights do not fit into memory."""


class WeightsError(ModelError):
    """A weights file is missing, truncated or altered."""


class RouterError(GatescopeError):
    """A router could not be read."""


class DenseModelError(RouterError):
    """There is no router: the model is dense."""


class RouterOutputError(RouterError):
    """A router answered in a shape nobody can read."""


class RecordError(GatescopeError):
    """A record breaks one of its own rules."""


class PromptError(GatescopeError):
    """The text cannot be captured (empty, too long, not text)."""


class OptionError(GatescopeError):
    """A setting or option is out of range."""


class CorpusError(GatescopeError):
    """A corpus file cannot be read."""


class TraceError(GatescopeError):
    """Routes recorded by another engine cannot be understood."""


class CaptureCancelledError(GatescopeError):
    """The last watcher left, or Cancel was pressed."""


class QueueFullError(GatescopeError):
    """Too many captures are waiting."""


class StoreError(GatescopeError):
    """A capture could not be kept or found."""


class CaptureNotFoundError(StoreError):
    """The store holds no capture of that id."""


class CaptureDamagedError(StoreError):
    """A stored capture is torn or altered; it was set aside."""


class InUseError(StoreError):
    """Another process works on a study now."""


class StorageFullError(StoreError):
    """The disk or the quota is full; nothing was half-written."""


SERVER_LOG = "the server's log"


def explained(error: BaseException, *, log: str = SERVER_LOG) -> GatescopeError:
    """Any error as the three parts a page or a command line shows; `log` is where the rest of it is found."""
    if isinstance(error, GatescopeError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return GatescopeError(
            f"memory ran out ({error})", expected="room for the whole pass", do="shorten the text, or record less"
        )
    if isinstance(error, OSError) and error.strerror:
        name = str(error.filename or "a file")
        shown = PurePath(name).name if log == SERVER_LOG else name  # visitors are told of no folders
        return StoreError(
            f"{shown}: {error.strerror}",
            expected="a file or folder that this user may read and write",
            do="give it to this user, or name another",
        )
    if isinstance(error, OverflowError):
        return OptionError(
            f"a number out of range: {error}", expected="numbers that fit into 64 bits", do="choose a smaller one"
        )
    return GatescopeError(
        f"{type(error).__name__}: {error}",
        expected="no such failure: this is one nobody foresaw",
        do=f"look into {log}, and report it with the model's name",
    )
