"""What visitors say of captures: a name, tags, notes, and whether others may find it. The captures never change.

    <cache>/library/<id>.json      the owner, whether it is shared, and what each visitor calls it
    <cache>/library/<id>.damaged   one that could not be read, set aside when its owner began anew

Each visitor names things alone: a name tells what somebody looked at, and is shown to others only where it is shared.
A file that cannot be read is not one that is not there: its capture has an owner, who is not known, and stays private.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from gatescope.cache.keys import check_capture_id
from gatescope.routing.errors import StoreError
from gatescope.studies.manifest import clean_name, read_json, write_json

FOLDER, LOCK = "library", ".lock"
LOCK_SECONDS, POLL_SECONDS = 10.0, 0.01
MOST_TAGS, MOST_TAG, MOST_NOTES = 12, 30, 2000
# Threads of one server queue here, where each has its turn: those who wait for the file's lock take it by chance.
_here = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class DisplayName:
    """What one visitor calls a capture."""

    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What is said of one capture; `called` by the key of who says it.

    `is_damaged`: something is said that cannot be read, so that nothing is known, not even whose it is.
    """

    owner: str = ""
    is_shared: bool = False
    called: Mapping[str, DisplayName] = field(default_factory=dict)
    is_damaged: bool = False

    def seen_by(self, visitor: str) -> DisplayName:
        """What a visitor calls it; else, where it is shared, what its owner does."""
        if visitor in self.called:
            return self.called[visitor]
        return self.called.get(self.owner, DisplayName()) if self.is_shared else DisplayName()


class MetadataStore:
    """The labels of a folder of captures. Errors: StoreError; CaptureNotFoundError for what is no id."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / FOLDER

    def of(self, id: str) -> Metadata:
        """What is said of a capture: nothing, where there is nothing or it cannot be read."""
        try:
            content = read_json(self._path(id), within=id)
            called = {
                who: DisplayName(name=each["name"], tags=tuple(each["tags"]), notes=str(each.get("notes", "")))
                for who, each in content["called"].items()
            }
            return Metadata(owner=str(content["owner"]), is_shared=content["is_shared"] is True, called=called)
        except FileNotFoundError:
            return Metadata()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return Metadata(is_damaged=True)

    def call(self, id: str, visitor: str, *, name: str, tags: str, notes: str = "") -> None:
        """Name and tag a capture, tags with commas between, and note something of it."""
        content = DisplayName(name=clean_name(name), tags=tags_of(tags), notes=notes_of(notes))
        self._change(id, lambda labels: replace(labels, called={**labels.called, visitor: content}))

    def share(self, id: str, visitor: str, *, is_shared: bool) -> None:
        """Let others find it, or no longer; what was nobody's is the visitor's from then on."""
        self._change(id, lambda labels: replace(labels, owner=labels.owner or visitor, is_shared=is_shared))

    def own(self, id: str, visitor: str) -> None:
        """Note whose it is, unless it is somebody's."""
        self._change(id, lambda labels: replace(labels, owner=labels.owner or visitor))

    def restore(self, id: str, owner: str) -> None:
        """Begin anew for an owner who is known otherwise; what cannot be read is set aside. Nothing where it can be."""
        with self._locked(id) as path:
            if self.of(id).is_damaged:
                path.replace(_aside(path))
                self._write(id, path, Metadata(owner=owner))

    def forget(self, id: str) -> None:
        """Remove what is said of it."""
        with self._locked(id) as path:
            path.unlink(missing_ok=True)
            _aside(path).unlink(missing_ok=True)

    def _change(self, id: str, change: Callable[[Metadata], Metadata]) -> None:
        """Read, change and write with nobody in between, in whichever thread or process.

        Errors: StoreError where what is said cannot be read, so that nobody becomes the owner of another's capture.
        """
        with self._locked(id) as path:
            before = self.of(id)
            if before.is_damaged:
                raise StoreError(
                    f"the labels of {id} cannot be read, so that nobody knows whose it is",
                    expected=f"{FOLDER}/{path.name} as it was written",
                    do="ask who runs the server to put the file back from a copy, or to delete it",
                )
            self._write(id, path, change(before))

    def _write(self, id: str, path: Path, labels: Metadata) -> None:
        content = asdict(labels)
        write_json(path, {name: content[name] for name in ("owner", "is_shared", "called")}, within=id)

    @contextmanager
    def _locked(self, id: str) -> Iterator[Path]:
        path = self._path(id)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _here, FileLock(self.folder / LOCK, timeout=LOCK_SECONDS, poll_interval=POLL_SECONDS):
                yield path
        except (Timeout, OSError) as error:
            found = f"the labels in {self.folder.name} cannot be changed: {error}"
            expected = "a folder that this user may write, and nobody who holds its lock for long"
            raise StoreError(found, expected=expected, do="try again") from error

    def _path(self, id: str) -> Path:
        return self.folder / f"{check_capture_id(id)}.json"


def _aside(path: Path) -> Path:
    return path.with_suffix(".damaged")


def notes_of(text: str) -> str:
    """Notes as they were typed, line by line, without what no screen shows.

    >>> notes_of("before the fix \\x00\\n\\nsee run 7 ")
    'before the fix\\n\\nsee run 7'
    """
    lines = ("".join(letter if letter.isprintable() else " " for letter in line) for line in text.splitlines())
    return "\n".join(line.rstrip() for line in lines)[:MOST_NOTES].strip()


def tags_of(text: str) -> tuple[str, ...]:
    """Tags as they were typed, with commas between; each once.

    >>> tags_of(" law, German ,law,, ")
    ('law', 'German')
    """
    tags = (clean_name(tag)[:MOST_TAG] for tag in text.split(","))
    return tuple(dict.fromkeys(filter(None, tags)))[:MOST_TAGS]
