"""What `gatescope cache verify` reads: everything that a reader would stumble over, each thing with its fault."""

from collections.abc import Iterator
from pathlib import Path

from gatescope.analysis.tally.files import from_bytes
from gatescope.cache import sums
from gatescope.cache.folder import is_capture_id
from gatescope.cache.partial import PartialRecord
from gatescope.cache.store import Store
from gatescope.cache.study import COUNTS, ROUTES, SCORES, StudyFolder, is_study
from gatescope.cache.workspace import REFERENCE, STUDIES
from gatescope.routing.errors import GatescopeError, OptionError, StoreError
from gatescope.server.metadata import FOLDER as LABELS
from gatescope.server.places import place_of
from gatescope.server.sources import ANALYSED, CAPTURED
from gatescope.studies.manifest import ORDER, TEXTS, read_json, read_manifest, read_texts
from gatescope.studies.results import AGAIN, is_analysed

Checked = tuple[str, str | None]
"""The name of something, and what is wrong with it."""


def verified(paths: list[Path]) -> Iterator[Checked]:
    """Everything under these paths. Errors: OptionError where nothing is."""
    for path in paths:
        if is_study(path):
            yield from _study(path)
        elif is_analysed(path):
            yield from _results(path)
        elif (path / ORDER).exists() or (path / CAPTURED).is_dir():
            yield from _server_study(path)
        elif path.is_file():
            yield str(path), _problem(path)
        elif path.is_dir():
            yield from _store(path)
        else:
            raise OptionError(f"nothing at {path}", expected="a study, a capture or a folder of them", do="check it")


def _store(path: Path) -> Iterator[Checked]:
    """The captures of a folder, what is said of them, and a server's studies."""
    yield from ((entry.id, error.found if error else None) for entry, error in Store(path).verify())
    for label in sorted((path / LABELS).glob("*.json")):
        yield str(label), _unread(label)
    for study in sorted((path / STUDIES).glob("*")):
        if study.is_dir() and is_capture_id(study.name):
            yield from _server_study(study)


def _server_study(path: Path) -> Iterator[Checked]:
    """A study in the background: what was asked, its texts as long as they are needed, its routes and results."""
    order = read_manifest(path)
    yield str(path / ORDER), None if order is not None else "cannot be read: delete the study, and begin it again"
    if (path / TEXTS).exists():
        try:
            read_texts(path)
        except GatescopeError as error:
            yield str(path / TEXTS), error.found
        else:
            yield str(path / TEXTS), None
    if (path / REFERENCE).exists():
        yield from _reference(path)
        return
    if is_study(path / CAPTURED):
        yield from _study(path / CAPTURED, is_ended=order is not None and order.state == "done")
    elif (path / CAPTURED).exists() or (order is not None and order.state == "done"):
        yield str(path / CAPTURED), "its recipe is gone"
    if is_analysed(path / ANALYSED):
        yield from _results(path / ANALYSED)
    elif order is not None and order.state == "done" and not order.command:
        yield str(path / ANALYSED), f"its results are gone: {AGAIN}"


def _reference(path: Path) -> Iterator[Checked]:
    """What lies elsewhere: whether it is still there and the same, and the results that lie here."""
    try:
        place = place_of(path)
    except GatescopeError as error:
        yield str(path / REFERENCE), error.found
        return
    yield str(path / REFERENCE), place.trouble or None
    if place.file is not None and place.file.parent == path:
        yield str(place.file), _problem(place.file)
    if is_analysed(path / ANALYSED):
        yield from _results(path / ANALYSED)


def _results(path: Path) -> Iterator[Checked]:
    yield from ((f"{path}/{name}", wrong) for name, wrong in sums.verify(path, do=AGAIN))


def _study(path: Path, *, is_ended: bool = False) -> Iterator[Checked]:
    """Every block of a study: its checksums, and whether its routes and counts decode; then what it lacks."""
    try:
        study = StudyFolder.open(path)
    except GatescopeError as error:
        yield str(path), error.found
        return
    lacks = study.lacking(is_ended=is_ended)  # before what is found damaged is set aside
    for block, wrong in study.verify():
        yield f"{path} block {block.number}", wrong
    for block in study.finished().values():
        problem = None
        for kind in (ROUTES, SCORES, COUNTS):
            if kind in block.parts and problem is None:
                try:
                    from_bytes(study.part(block, kind)) if kind == COUNTS else study.routes(block, kind)
                except (GatescopeError, OSError, ValueError, KeyError, TypeError) as error:
                    problem = f"its {kind} do not decode: {error}"
        yield f"{path} block {block.number}", problem
    for lack in lacks:
        yield str(path), lack


def _problem(path: Path) -> str | None:
    """What is wrong with one file."""
    try:
        check_in_folder(path)
        with PartialRecord(path) as partial:
            partial.verify()
    except GatescopeError as error:
        return error.found
    return None


def check_in_folder(path: Path) -> None:
    """Hold a capture without a seal against what its folder says of it: a shard of a study, or one that ships.

    Errors: StoreError, CaptureDamagedError where it is not as it was written.
    """
    study, number, kind = path.absolute().parents[1], path.stem, path.suffix.removeprefix(".")
    if path.parent.name == "blocks" and is_study(study) and number.isdigit():
        folder = StudyFolder.open(study)
        block = folder.finished().get(int(number))
        if block is None or kind not in block.parts:
            do = "run the capture again: it makes the blocks that are missing"
            raise StoreError(f"{path} is of no whole block", expected="a part of a block that is whole", do=do)
        folder.part(block, kind)
    elif (path.parent / sums.NAME).exists() and sums.has(path.parent, path.name):
        sums.read_checked(path.parent, path.name, do="restore the file")


def _unread(label: Path) -> str | None:
    """What is wrong with what is said of a capture."""
    try:
        read_json(label, within=label.stem)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return f"cannot be read: {error}"
    return None
