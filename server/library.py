"""What a server holds: captures of texts, studies, imported traces, what ships with the models, and what each takes.

Nothing here is a use of a capture: listing leaves the order in which a full store removes them as it is.
"""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from gatescope.cache.folder import captures
from gatescope.cache.lease import Holder, current
from gatescope.cache.sums import read_checked
from gatescope.cache.workspace import study_folders
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import CaptureNotFoundError, InUseError, OptionError, StoreError
from gatescope.server import memo_cache
from gatescope.server.descriptions import describe_capture, describe_study
from gatescope.server.metadata import Metadata, MetadataStore
from gatescope.server.places import find_folder, look_again, opened_workspaces, place_of
from gatescope.server.server import Server
from gatescope.server.sources import shipped_ids, shipped_name
from gatescope.server.study_progress import StudyProgress, progress_from
from gatescope.studies.manifest import StudyManifest, clean_name, read_manifest, write_manifest
from gatescope.studies.results import AGAIN

Kind = Literal["shipped", "text", "study", "import", "workspace"]
State = Literal["ready", "waiting", "running", "stopped", "failed"]
KINDS: dict[Kind, str] = {
    "shipped": "ships with a model",
    "text": "text",
    "study": "study",
    "import": "imported",
    "workspace": "another workspace",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the Library.

    recorded    what is known of every token, in words
    is_own      whether who looks may rename, share and remove it
    problem     why it cannot be opened; empty where it can
    note        what must be known of its labels; empty where nothing
    notes       what the visitor wrote of it
    where       the path of what lies elsewhere; empty of what lies in this workspace
    is_analysed whether metrics of it were computed
    lacks       what its files lack of what was captured; empty where nothing
    """

    id: str
    name: str
    kind: Kind
    model: str = ""
    tokens: int = 0
    documents: int = 0
    when: datetime | None = None
    size_bytes: int = 0
    recorded: str = ""
    tags: tuple[str, ...] = ()
    state: State = "ready"
    is_shared: bool = False
    is_own: bool = False
    problem: str = ""
    note: str = ""
    notes: str = ""
    where: str = ""
    is_analysed: bool = False
    lacks: str = ""
    order: StudyManifest | None = field(default=None, repr=False)

    def matches(self, words: str) -> bool:
        """Whether every one of some words is somewhere in what the line says."""
        text = " ".join(
            (self.id, self.name, KINDS[self.kind], self.model, self.recorded, self.state, self.notes, *self.tags)
        )
        return all(word in text.casefold() for word in words.casefold().split())


class Usage(NamedTuple):
    """Bytes on the disk, and how many there may be (None: no limit but the disk); what commands made is apart."""

    captures: int
    studies: int
    most: int | None
    commanded: int = 0

    @property
    def total(self) -> int:
        """What counts against the most."""
        return self.captures + self.studies


class Library:
    """What a server holds, line by line, and what may be done with it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def entries(self, visitor: str, opened: Collection[str]) -> list[Entry]:
        """What the Library lists for a visitor, who has opened some captures: the newest first, what ships last."""
        found = [*self._studies(visitor), *self._captures(visitor, opened)]
        everything = self._server.settings.library_lists == "all"
        listed = [entry for entry in found if is_listed(entry, opened, everything=everything)]
        listed.sort(key=lambda entry: (entry.when or datetime.min.replace(tzinfo=UTC), entry.id), reverse=True)
        return listed + list(self._shipped())

    def usage(self) -> Usage:
        """What captures and studies take."""
        quota = self._server.quota
        made = quota.by_maker()
        return Usage(quota.captures(), made.visitors, quota.most_bytes, made.commands)

    def rename(self, entry: Entry, visitor: str, *, name: str, tags: str, notes: str = "") -> None:
        """Name something, tag it and note something of it; what was captured stays as it is.

        Errors: OptionError for what ships, or a study under way; StoreError.
        """
        _check_changeable(entry)
        labels = self._labels_for(entry, visitor)
        labels.call(entry.id, visitor, name=name, tags=tags, notes=notes)
        new_name = clean_name(name)
        if entry.order is None or not new_name or not entry.is_own:
            return
        write_manifest(self._server.studies_folder / entry.id, replace(entry.order, name=new_name))
        memo_cache.invalidate(entry.id)

    def share(self, entry: Entry, visitor: str, *, is_shared: bool) -> None:
        """Let others find something of one's own, or no longer. Errors: StoreError."""
        self._labels_for(entry, visitor).share(entry.id, visitor, is_shared=is_shared)

    def _labels_for(self, entry: Entry, visitor: str) -> MetadataStore:
        """The labels, begun anew where they cannot be read and the visitor is known to be the owner all the same."""
        labels = self._server.labels
        if entry.is_own:
            labels.restore(entry.id, visitor)
        return labels

    def remove(self, entry: Entry) -> None:
        """Delete something for good. Errors: OptionError for what ships, or is not one's own; StoreError."""
        _check_changeable(entry)
        if not entry.is_own:
            raise OptionError("this is somebody else's", expected="something of your own", do="ask who made it")
        if entry.kind == "text" and not entry.where:
            self._server.capture_cache.remove(entry.id)
        else:
            folder = self._server.studies_folder / entry.id
            if (holder := current(folder)) is not None:  # it began since it was listed
                found = f"{entry.name} is in use: {holder.described}"
                raise InUseError(found, expected="a study at rest", do="stop it there first")
            _remove_study(folder)
            look_again(self._server.settings.workspace)
        self._server.labels.forget(entry.id)
        memo_cache.invalidate(entry.id)

    def entry_of(self, id: str, visitor: str, opened: Collection[str]) -> Entry:
        """One line by its id. Errors: CaptureNotFoundError."""
        for entry in self.entries(visitor, opened):
            if entry.id == id:
                return entry
        raise CaptureNotFoundError(f"no capture {id}", expected="one that is listed here", do="look at the list again")

    def doing(self, id: str) -> StudyProgress | None:
        """How far a study is that waits or runs, here or elsewhere; None of one that does not."""
        if (found := self._server.studies.doing(id)) is not None:
            return found
        holder = self.holder_of(id)
        return None if holder is None else progress_from(holder.progress)

    def holder_of(self, id: str) -> Holder | None:
        """Who works on a study."""
        folder = find_folder(self._server.settings.workspace, id)
        return None if folder is None else current(folder)

    def under_way(self) -> frozenset[tuple[str, bool]]:
        """What stands here, and whether it is worked on: another answer means that the list is another one."""
        return frozenset((folder.name, current(folder) is not None) for folder in self._folders())

    def _folders(self) -> Iterator[Path]:
        yield from study_folders(self._server.settings.workspace)
        for workspace, _ in self._opened():
            yield from study_folders(workspace)

    def report(self, id: str) -> bytes:
        """The page that was written of a study's results. Errors: CaptureNotFoundError, StoreError."""
        folder = find_folder(self._server.settings.workspace, id)
        if folder is None:
            raise CaptureNotFoundError(f"no study {id}", expected="one of the list", do="look at the list again")
        return read_checked(place_of(folder).analysed, "report.html", do=AGAIN)

    def order_of(self, id: str) -> StudyManifest:
        """What was asked of a study. Errors: CaptureNotFoundError."""
        folder = find_folder(self._server.settings.workspace, id)
        if folder is None or (order := read_manifest(folder)) is None:
            raise CaptureNotFoundError(f"no study {id}", expected="one of this server's", do="look at the list again")
        return order

    def _shipped(self) -> Iterator[Entry]:
        """What comes with the models that are offered."""
        for model in self._server.settings.offered:
            for id in shipped_ids(model):
                what = id.partition(".")[0]
                path = BUNDLED_MODELS[model] / "captures" / f"{what}.gsr"
                if what.startswith("step"):
                    step = int(what.removeprefix("step"))
                    path = next(each for each in (path.parent / "history").glob("*.gsr") if int(each.stem) == step)
                fields = describe_capture(path)
                yield Entry(**fields | {"id": id, "kind": "shipped", "name": shipped_name(id), "when": None})

    def _captures(self, visitor: str, opened: Collection[str]) -> Iterator[Entry]:
        """The store's, by what the ends of their files say, and those of workspaces that were opened here."""
        store, book = self._server.capture_cache.store, self._server.labels
        for each in store.ids():
            labels = book.of(each.id)
            is_own = self._is_own(labels.owner, visitor, is_open=each.id in opened and not labels.is_damaged)
            yield _entry(
                describe_capture(store.path(each.id)) | {"kind": "text"}, each.id, labels, visitor,
                when=each.written, is_own=is_own, is_shared=labels.is_shared,
            )  # fmt: skip
        for workspace, is_shared in self._opened():
            for found in captures(workspace):
                written = datetime.fromtimestamp(found.written_ns / 1e9, UTC)
                fields = describe_capture(found.path) | {"kind": "text", "where": str(found.path)}
                yield _entry(fields, found.id, book.of(found.id), visitor, when=written, is_shared=is_shared)

    def _studies(self, visitor: str) -> Iterator[Entry]:
        """Studies and imported traces, begun or whole, and what lies elsewhere."""
        book = self._server.labels
        for folder in study_folders(self._server.settings.workspace):
            order, labels = read_manifest(folder), book.of(folder.name)
            is_own = self._is_own(order.owner if order is not None else labels.owner, visitor)
            yield _entry(
                describe_study(folder), folder.name, labels, visitor, order=order, is_own=is_own,
                state=self.state_of(folder.name, order), is_shared=labels.is_shared,
            )  # fmt: skip
        for workspace, is_shared in self._opened():
            for folder in study_folders(workspace):
                order, fields = read_manifest(folder), {"where": str(folder)} | describe_study(folder)
                if fields["kind"] != "workspace":
                    state = self.state_of(folder.name, order)
                    yield _entry(
                        fields,
                        folder.name,
                        book.of(folder.name),
                        visitor,
                        order=order,
                        state=state,
                        is_shared=is_shared,
                    )

    def _opened(self) -> Iterator[tuple[Path, bool]]:
        """The workspaces that were opened in this one, and whether everybody may see what is in them."""
        book = self._server.labels
        for folder, workspace in opened_workspaces(self._server.settings.workspace):
            yield workspace, book.of(folder.name).is_shared

    def state_of(self, id: str, order: StudyManifest | None) -> State:
        """How a study stands: one that should be under way, and that no living process works on, was stopped."""
        if self._server.studies.live(id) is not None:
            return "running" if order is not None and order.state == "running" else "waiting"
        if self.holder_of(id) is not None:
            return "waiting" if order is None or order.state == "waiting" else "running"
        if order is None or order.state == "done":
            return "ready"
        return "failed" if order.state == "failed" else "stopped"

    def _is_own(self, owner: str, visitor: str, *, is_open: bool = False) -> bool:
        """Whether a visitor may change something: its owner, and of a text without one whoever has opened it."""
        if self._server.settings.library_lists == "all":
            return True
        return owner == visitor if owner else is_open


def is_listed(entry: Entry, opened: Collection[str], *, everything: bool) -> bool:
    """Whether a visitor is shown that something is there: own, shared, or opened by its link before."""
    return everything or entry.kind == "shipped" or entry.is_shared or entry.is_own or entry.id in opened


def _remove_study(folder: Path) -> None:
    """Errors: StoreError where some of it stays; what is said of it then stays too, so that it can be tried again."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        if folder.exists():  # another removed a part of it first
            _remove_study(folder)
    except OSError as error:
        raise StoreError(
            f"the study cannot be deleted: {error.strerror or error}",
            expected="a folder that the server may change",
            do="ask who runs the server to give its folder back to it, and delete it again",
        ) from error


def frame_of(listed: Collection[Entry]) -> pd.DataFrame:
    """The list as a table, foreign words as they are: for a grid, or for a CSV by `app.export`."""
    rows = [
        {
            "name": entry.name,
            "kind": KINDS[entry.kind] if entry.state == "ready" else f"{KINDS[entry.kind]}, {entry.state}",
            "model": entry.model,
            "tokens": entry.tokens,
            "documents": entry.documents,
            "when": entry.when,
            "bytes": entry.size_bytes,
            "recorded": entry.problem or entry.recorded,
            "tags": ", ".join(entry.tags),
            "shared": entry.is_shared,
            "id": entry.id,
        }
        for entry in listed
    ]
    return pd.DataFrame(rows)


def _entry(fields: dict[str, Any], id: str, labels: Metadata, visitor: str, **more: Any) -> Entry:
    """One line: what the files say, under what the visitor calls it."""
    called, is_own = labels.seen_by(visitor), bool(more.get("is_own"))
    named = {"name": called.name or fields["name"], "tags": called.tags, "notes": called.notes}
    return Entry(**fields | named | {"id": id, "note": _note(labels, is_own=is_own)} | more)


def _check_changeable(entry: Entry) -> None:
    if entry.kind == "shipped":
        raise OptionError(f"{entry.name} ships with its model", expected="a capture made here", do="choose another")
    if entry.state in ("running", "waiting"):
        raise OptionError(f"{entry.name} is under way", expected="a study at rest", do="cancel it first")


def _note(labels: Metadata, *, is_own: bool) -> str:
    """What is said where labels cannot be read."""
    if not labels.is_damaged:
        return ""
    if is_own:
        return "Its name, its tags and whether it is shared cannot be read any more. It is private: name it anew."
    return (
        "Whose this is cannot be read any more. It is private, and nobody can name, share or delete it, until who runs "
        "the server puts its labels back or deletes them."
    )
