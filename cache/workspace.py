"""A workspace on disk: what servers and commands share, and what stands in it without lying in it.

    <workspace>/workspace.json          the version of this form; absent where an older Gatescope began it
    <workspace>/<id>.gsr                captured texts (see `cache.store`)
    <workspace>/studies/<id>/           a study, an imported trace, or something that lies elsewhere
    <workspace>/studies/<id>/reference.json     where that is, and by what it is known again
    <workspace>/library/<id>.json       names, tags and notes
    <workspace>/servers/                a lease of each server that runs on it (see `cache.lease`), with its address

A reference names a path. Taking it away takes away nothing else.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, get_args

from gatescope.cache.checksum import CHECKSUM, is_intact, with_checksum
from gatescope.cache.disk import explained
from gatescope.cache.file_checksum import CHECKSUM_BYTES
from gatescope.cache.folder import captures, is_capture_id
from gatescope.cache.study import StudyFolder, is_study
from gatescope.cache.sums import NAME as SUMS
from gatescope.cache.temporary import write_whole
from gatescope.routing.errors import OptionError, StoreError

VERSION = 1
ABOUT, STUDIES, SERVERS, REFERENCE = "workspace.json", "studies", "servers", "reference.json"
CAPTURED, ANALYSED = "capture", "analysis"
"""The two parts of a study's folder: the routes, and the results."""

Kind = Literal["capture", "study", "analysis", "workspace"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Something that lies elsewhere.

    path    of a capture's file, of the folder of a study or of results, or of another workspace; relative: in the
            folder of the reference
    seal    what tells that it is still the same; empty where it may change
    routes  of results: the study that they are of; empty where that is not known
    """

    kind: Kind
    path: str
    seal: str = ""
    routes: str = ""


def begin_workspace(folder: Path) -> None:
    """See to it that a folder is a workspace of this version, and that it can be written.

    Errors: StoreError where it is of a newer version, or this user may not write it; StorageFullError.
    """
    check_workspace(folder)
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / STUDIES).mkdir(mode=0o700, exist_ok=True)
        for place in (folder, folder / STUDIES):
            with TemporaryFile(dir=place):  # whether this user may write is known once something was written
                pass
        if not (folder / ABOUT).exists():
            write_whole(folder / ABOUT, json.dumps(with_checksum({"version": VERSION})).encode())


def check_workspace(folder: Path) -> None:
    """Errors: StoreError where a workspace is of a newer version, or what it says of itself cannot be read."""
    try:
        content = json.loads((folder / ABOUT).read_bytes())
        version = content["version"]
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(
            f"{folder / ABOUT} cannot be read: {error}",
            expected=f"what Gatescope wrote: version {VERSION}",
            do="copy it again from where the workspace came from; or, if it never was another one's, remove that file",
        ) from error
    if not isinstance(version, int) or isinstance(version, bool) or version > VERSION:
        raise StoreError(
            f"the workspace {folder} is of version {version!r}",
            expected=f"version {VERSION}, or older",
            do="use the Gatescope that wrote it, or a newer one; or name another folder: GATESCOPE_WORKSPACE",
        )


def is_workspace(folder: Path) -> bool:
    """Whether a folder holds a workspace, or the captures and studies of an older Gatescope."""
    return (folder / ABOUT).is_file() or (folder / STUDIES).is_dir() or bool(captures(folder))


def study_folders(workspace: Path) -> Iterator[Path]:
    """The folders of what stands in a workspace, whatever lies in them; those of no other workspace."""
    place = workspace / STUDIES
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        if is_capture_id(folder.name) and folder.is_dir():
            yield folder


def write_reference(folder: Path, reference: Reference) -> None:
    """Write it into its folder, which is made. Errors: StoreError, StorageFullError."""
    with explained(folder.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = with_checksum(asdict(reference), within=folder.name)
        write_whole(folder / REFERENCE, json.dumps(content, indent=1).encode())


def read_reference(folder: Path) -> Reference | None:
    """The reference in a folder; None where there is none. Errors: StoreError where it cannot be read."""
    try:
        content: dict[str, Any] = json.loads((folder / REFERENCE).read_bytes())
        if not is_intact(content, within=folder.name):
            raise ValueError("its checksum does not match")
        found = Reference(**{name: value for name, value in content.items() if name != CHECKSUM})
        if found.kind not in KINDS:
            raise ValueError(f"it speaks of {found.kind!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{REFERENCE} of {folder.name} cannot be read: {error}",
            expected="what was written when it was opened",
            do="delete it in the Library, which deletes nothing else, and open the files again",
        ) from error
    else:
        return found


def kind_of(path: Path) -> Kind | None:
    """What lies at a path; None for nothing that is known. Errors: OSError where this user may not look there."""
    if path.is_file():
        return "capture"
    if is_study(path) or is_study(path / CAPTURED):
        return "study"
    if (path / SUMS).is_file() or (path / "results.npz").is_file():
        return "analysis"
    return "workspace" if is_workspace(path) else None


def routes_in(path: Path) -> Path:
    """Where the routes of a study's folder are: in it, or in its part of that name."""
    return path if is_study(path) or not (path / CAPTURED).is_dir() else path / CAPTURED


def seal_of(kind: Kind, path: Path) -> str:
    """What tells that something is still what it was, read in no time; empty for what may change.

    Of a study its recipe, so that one that is still being captured stays the same; of a capture its size and the
    checksum that it begins with; of results nothing: they have checksums of their own, and are made anew.
    Errors: StoreError, OptionError where it is not there, or cannot be read.
    """
    if kind == "study":
        return StudyFolder.open(routes_in(path)).mark
    if kind == "capture":
        with explained(path.parent), path.open("rb") as file:
            return f"{path.stat().st_size} {hashlib.sha256(file.read(CHECKSUM_BYTES)).hexdigest()[:32]}"
    return ""


def trouble_of(folder: Path, reference: Reference) -> str:
    """What has become of the files of a reference, in words; empty where they are as they were."""
    path = folder / reference.path
    try:
        found = kind_of(path)
    except OSError as error:
        return f"It was opened from {path}, which cannot be read now: {error.strerror or error}."
    if found != reference.kind:
        if reference.kind == "study" and not reference.seal:
            return ""  # a command has named it, and has not begun yet
        there = "something else lies there now" if path.exists() else "nothing is there any more"
        return f"It was opened from {path}, and {there}. Put it back, or delete this entry and open it where it is now."
    try:
        same = not reference.seal or seal_of(reference.kind, path) == reference.seal
    except (OptionError, StoreError, OSError) as error:
        return f"It was opened from {path}, which cannot be read now: {getattr(error, 'found', error)}."
    if same:
        return ""
    return f"{path} is not what it was when it was opened: it has changed. Delete this entry, and open it again."
