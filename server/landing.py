"""What a command makes comes to lie in the workspace under a name, and stands in the Library while it is made.

    with landing(settings, asked, what="capture", command="…") as place:
        place.captured      where the routes go
        place.analysed      where the results go
        place.doing         how far it is; whoever looks at the Library is told

Two commands that name one study make one study: the second goes on with it, or is refused while the first runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gatescope.cache.keys import capture_id, server_secret
from gatescope.cache.lease import WHOLE, Lease
from gatescope.cache.study import StudyFolder, is_study
from gatescope.cache.workspace import (
    ANALYSED,
    CAPTURED,
    STUDIES,
    Reference,
    begin_workspace,
    seal_of,
    write_reference,
)
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.server.places import captured_in, own_named, place_of
from gatescope.server.settings import Settings
from gatescope.server.study_progress import StudyProgress
from gatescope.studies.manifest import StudyManifest, clean_name, now, read_manifest, write_manifest


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where the result of a command shall go.

    out         a folder of the user's own; None: into the workspace
    name        what it is called in the Library; empty beside `out`: it does not stand there
    suggested   what it is called where nobody named it
    """

    out: Path | None
    name: str
    suggested: str

    @property
    def is_listed(self) -> bool:
        """Whether it stands in the Library."""
        return self.out is None or bool(self.name)

    @property
    def called(self) -> str:
        """Its name there. Errors: OptionError for one that shows nothing."""
        found = clean_name(self.name or self.suggested)
        if not found:
            raise OptionError(f"--name {self.name!r}", expected="letters that can be seen", do="choose another name")
        return found


@dataclass(kw_only=True)
class Landing:
    """Where what is made goes; `id` in the Library, empty where it does not stand there.

    `facts` is what is known of it in the end, by the names of a `StudyManifest`.
    """

    captured: Path
    analysed: Path
    id: str = ""
    doing: StudyProgress = field(default_factory=StudyProgress)
    facts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def landing(
    settings: Settings,
    asked: Asked,
    *,
    what: str,
    command: str,
    model: str = "",
    imported: str = "",
    share: str = WHOLE,
) -> Iterator[Landing]:
    """The place for what a command makes, leased as long as the command runs.

    what        is done, in words; `command` goes on with it; `share` of the work, where several commands share it
    Errors: InUseError where another works on a study of that name; StoreError where the workspace cannot be written or
    is of a newer version; OptionError for a name that several studies have.
    """
    if not asked.is_listed:
        out = asked.out or Path()
        yield Landing(captured=out, analysed=out)
        return
    begin_workspace(settings.workspace)
    folder = _folder(settings.workspace, asked.called)
    folder.mkdir(mode=0o700, exist_ok=True)
    doing = StudyProgress(metrics_follow=False)
    with Lease.take(folder, what, name=share, called=asked.called, progress=doing.to_dict):
        before = read_manifest(folder)
        order = before or StudyManifest(id=folder.name, name=asked.called, model=model, created=now())
        order = replace(order, command=command, imported=imported or order.imported)
        captured = folder / CAPTURED
        if asked.out is not None:
            captured = asked.out.absolute()
            write_reference(folder, Reference(kind="study", path=str(captured)))
        elif (place := place_of(folder)).reference is not None:
            if place.reference.kind != "study":
                found = f"{asked.called} is no study: it was opened from {place.reference.path}"
                raise OptionError(found, expected="a name of a study, or a new one", do="choose another --name")
            captured = place.captured or captured
        made = Landing(captured=captured, analysed=folder / ANALYSED, id=folder.name, doing=doing)
        with _under_way(folder, order, made):
            yield made
        if asked.out is not None:
            write_reference(folder, Reference(kind="study", path=str(captured), seal=seal_of("study", captured)))


@contextmanager
def working_on(folder: Path, *, what: str) -> Iterator[Landing]:
    """An entry that is there, leased while a command computes something of it. Errors: as `landing`."""
    order = read_manifest(folder) or StudyManifest(id=folder.name, name=folder.name, model="", created=now())
    doing = StudyProgress(documents=order.documents, of_documents=order.documents, characters=1, of_characters=1)
    with Lease.take(folder, what, called=order.name, progress=doing.to_dict):
        made = Landing(captured=captured_in(folder), analysed=folder / ANALYSED, id=folder.name, doing=doing)
        with _under_way(folder, order, made):
            yield made


@contextmanager
def _under_way(folder: Path, order: StudyManifest, made: Landing) -> Iterator[None]:
    """What becomes of a study while something works on it: running, then done, stopped or failed with why."""
    write_manifest(folder, replace(order, state="running", problem=()))
    try:
        yield
    except GatescopeError as error:
        write_manifest(folder, _counted(folder, order).failed(error))
        raise
    except BaseException:
        write_manifest(folder, replace(_counted(folder, order), state="stopped"))
        raise
    write_manifest(folder, replace(_counted(folder, order), state="done", **made.facts))


def _counted(folder: Path, order: StudyManifest) -> StudyManifest:
    """The order with what is whole of it."""
    captured = place_of(folder).captured
    if captured is None or not is_study(captured):
        return order
    try:
        blocks = StudyFolder.open(captured).finished().values()
    except GatescopeError:
        return order
    documents, tokens = (sum(getattr(block, name) for block in blocks) for name in ("documents", "tokens"))
    return replace(order, documents=documents, tokens=tokens)


def _folder(workspace: Path, name: str) -> Path:
    """The folder of the study of that name, there or to come: two commands that begin it at once mean the same."""
    if (found := own_named(workspace, name)) is not None:
        return found
    secret, number = server_secret(workspace), 0
    while True:
        id = capture_id(fingerprint="", text=name, options={"named": number}, secret=secret)
        folder = workspace / STUDIES / id
        order = read_manifest(folder)
        if order is None or order.name == name:  # else it was begun under this name, and is called otherwise since
            return folder
        number += 1
