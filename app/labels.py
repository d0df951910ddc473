"""What visitors say of captures: a name, tags, and whether others may find it. The captures themselves never change.

    <cache>/library/<id>.json   the owner, whether it is shared, and what each visitor calls it

Each visitor names things alone: a name tells what somebody looked at, and is shown to others only where it is shared.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from app.study.order import clean_name, read_json, write_json
from cache.keys import check_capture_id

FOLDER = "library"
MOST_TAGS, MOST_TAG = 12, 30


@dataclass(frozen=True, kw_only=True)
class Called:
    """What one visitor calls a capture."""

    name: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is said of one capture; `called` by the key of who says it."""

    owner: str = ""
    is_shared: bool = False
    called: Mapping[str, Called] = field(default_factory=dict)

    def seen_by(self, visitor: str) -> Called:
        """What a visitor calls it; else, where it is shared, what its owner does."""
        if visitor in self.called:
            return self.called[visitor]
        return self.called.get(self.owner, Called()) if self.is_shared else Called()


class LabelBook:
    """The labels of a folder of captures. Errors: StoreError; CaptureNotFoundError for what is no id."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / FOLDER

    def of(self, id: str) -> Labels:
        """What is said of a capture: nothing, where nothing can be read."""
        try:
            said = read_json(self._path(id), within=id)
            called = {who: Called(name=each["name"], tags=tuple(each["tags"])) for who, each in said["called"].items()}
            return Labels(owner=str(said["owner"]), is_shared=said["is_shared"] is True, called=called)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return Labels()

    def call(self, id: str, visitor: str, *, name: str, tags: str) -> None:
        """Name and tag a capture, tags with commas between."""
        labels = self.of(id)
        said = Called(name=clean_name(name), tags=tags_of(tags))
        self._write(id, replace(labels, called={**labels.called, visitor: said}))

    def share(self, id: str, visitor: str, *, is_shared: bool) -> None:
        """Let others find it, or no longer."""
        self._write(id, replace(self.of(id), owner=visitor, is_shared=is_shared))

    def own(self, id: str, visitor: str) -> None:
        """Note whose it is."""
        self._write(id, replace(self.of(id), owner=visitor))

    def forget(self, id: str) -> None:
        """Remove what is said of it."""
        self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self.folder / f"{check_capture_id(id)}.json"

    def _write(self, id: str, labels: Labels) -> None:
        write_json(self._path(id), asdict(labels), within=id)


def tags_of(text: str) -> tuple[str, ...]:
    """Tags as they were typed, with commas between; each once.

    >>> tags_of(" law, German ,law,, ")
    ('law', 'German')
    """
    tags = (clean_name(tag)[:MOST_TAG] for tag in text.split(","))
    return tuple(dict.fromkeys(filter(None, tags)))[:MOST_TAGS]
