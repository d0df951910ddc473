"""Where the parts of what stands in a workspace lie: in its own folder, or where a reference says.

place_of(folder)                where the routes and results of one entry are
find_folder(workspace, id)      the folder of a study, in this workspace or in one that was opened in it
find_named(workspace, name)     the same by the name it is called
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gatescope.cache.folder import SUFFIX, is_capture_id
from gatescope.cache.study import StudyFolder
from gatescope.cache.sums import has
from gatescope.cache.workspace import (
    ANALYSED,
    CAPTURED,
    STUDIES,
    Reference,
    check_workspace,
    read_reference,
    routes_in,
    study_folders,
    trouble_of,
)
from gatescope.routing.errors import GatescopeError, OptionError, StoreError
from gatescope.studies.manifest import read_manifest
from gatescope.studies.results import NAME as RESULTS

OPENED_SECONDS = 2.0
_opened: dict[Path, tuple[float, list[tuple[Path, Path]]]] = {}
"""The workspaces that were opened in each, and when that was last looked at."""


class Place(NamedTuple):
    """Where the parts of one entry are.

    captured    folder of the routes; None of a single capture, and of results whose routes are not known
    analysed    folder of the results, there or to come
    file        of a single capture
    trouble     what has become of files that lie elsewhere, in words; empty where nothing
    """

    captured: Path | None
    analysed: Path
    file: Path | None = None
    reference: Reference | None = None
    trouble: str = ""


def place_of(folder: Path) -> Place:
    """Where the parts of an entry are. Errors: StoreError where its reference cannot be read."""
    reference = read_reference(folder)
    own = folder / ANALYSED
    if reference is None:
        return Place(folder / CAPTURED, own)
    trouble = trouble_of(folder, reference)
    try:
        return _elsewhere(reference, folder / reference.path, own, trouble)
    except OSError:  # this user may not look there
        return Place(None, own, None, reference, trouble)


def _elsewhere(reference: Reference, path: Path, own: Path, trouble: str) -> Place:
    if reference.kind == "capture":
        return Place(None, own, path, reference, trouble)
    if reference.kind == "analysis":
        routes = routes_in(Path(reference.routes)) if reference.routes else None
        return Place(routes, path, None, reference, trouble)
    if reference.kind == "study":
        is_theirs = has(path / ANALYSED, RESULTS) and not has(own, RESULTS)
        return Place(routes_in(path), path / ANALYSED if is_theirs else own, None, reference, trouble)
    return Place(None, own, None, reference, trouble)


def opened_workspaces(workspace: Path) -> list[tuple[Path, Path]]:
    """The workspaces that were opened in this one and can be read, each behind the folder of its reference.

    What was opened in those is theirs alone. Looked for anew every `OPENED_SECONDS`: every look at a page asks.
    """
    known = _opened.get(workspace)
    if known is None or time.monotonic() - known[0] > OPENED_SECONDS:
        known = _opened[workspace] = time.monotonic(), list(_find_opened(workspace))
    return known[1]


def look_again(workspace: Path) -> None:
    """Look for opened workspaces anew: one was opened, or taken away."""
    _opened.pop(workspace, None)


def _find_opened(workspace: Path) -> Iterator[tuple[Path, Path]]:
    for folder in study_folders(workspace):
        try:
            reference = read_reference(folder)
            if reference is not None and reference.kind == "workspace":
                check_workspace(Path(reference.path))
                list(study_folders(Path(reference.path)))
                yield folder, Path(reference.path)
        except (GatescopeError, OSError):  # the Library says it in its place
            continue


def find_folder(workspace: Path, id: str) -> Path | None:
    """The folder of a study, an import or a reference by its id; None where there is none."""
    if not is_capture_id(id):
        return None
    if (own := workspace / STUDIES / id).is_dir():
        return own
    others = (other / STUDIES / id for _, other in opened_workspaces(workspace))
    return next((folder for folder in others if folder.is_dir()), None)


def capture_file(workspace: Path, id: str) -> Path | None:
    """The file of a capture in a workspace that was opened in this one; None where none has it."""
    if not is_capture_id(id):
        return None
    found = (other / f"{id}{SUFFIX}" for _, other in opened_workspaces(workspace))
    return next((path for path in found if path.is_file()), None)


def own_named(workspace: Path, name: str) -> Path | None:
    """The folder of this workspace whose entry has that id, or is called so. Errors: OptionError where several are."""
    return _only([folder for folder in study_folders(workspace) if _is_called(folder, name)], name)


def find_named(workspace: Path, name: str) -> Path:
    """The same, of the workspaces that were opened in it too. Errors: OptionError where there is none, or several."""
    found = own_named(workspace, name)
    if found is None:
        others = (folder for _, other in opened_workspaces(workspace) for folder in study_folders(other))
        found = _only([folder for folder in others if _is_called(folder, name)], name)
    if found is None:
        raise OptionError(
            f"nothing called {name!r}, neither a path nor in the workspace {workspace}",
            expected="a path, or the name or id of a study in the Library",
            do="look at the Library, or name the folder",
        )
    return found


def study_in(folder: Path) -> StudyFolder:
    """The study of an entry, of which nothing is set aside where it lies elsewhere. Errors: as `captured_in`."""
    return StudyFolder.open(captured_in(folder), sets_aside=place_of(folder).reference is None)


def captured_in(folder: Path) -> Path:
    """The routes of an entry. Errors: OptionError where it has none, StoreError where they are gone or changed."""
    place = place_of(folder)
    if place.trouble:
        raise StoreError(place.trouble, expected="the files as they were", do="delete the entry, and open it again")
    if place.captured is None:
        raise OptionError(f"{folder.name} is no study", expected="routes of a corpus", do="choose a study")
    return place.captured


def _is_called(folder: Path, name: str) -> bool:
    if folder.name == name:
        return True
    order = read_manifest(folder)
    return order is not None and order.name == name


def _only(found: list[Path], name: str) -> Path | None:
    exact = [folder for folder in found if folder.name == name]
    if len(found) > 1 and not exact:
        raise OptionError(
            f"{len(found)} studies are called {name!r}: {', '.join(folder.name for folder in found)}",
            expected="one",
            do="use the id of the one you mean, or rename one of them in the Library",
        )
    return next(iter(exact or found), None)
