"""What comes into a workspace from elsewhere, opened where it lies or unpacked from an archive; and what goes out.

open_path(workspace, path)      a reference to a capture, a study, results, or another workspace; nothing is copied
pack(workspace, what)           what an archive of a study or a capture holds
unpack_archive(workspace, path) such an archive as a study of this workspace, whole or not at all
"""

from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from gatescope.cache.archive import Contents, Packed, Told, digest_of_file, files_below, unpack
from gatescope.cache.disk import explained
from gatescope.cache.folder import SUFFIX, is_capture_id
from gatescope.cache.keys import capture_id, server_secret
from gatescope.cache.lease import Lease, current
from gatescope.cache.partial import PartialRecord
from gatescope.cache.study import StudyFolder, is_study
from gatescope.cache.workspace import (
    ANALYSED,
    CAPTURED,
    REFERENCE,
    STUDIES,
    Reference,
    begin_workspace,
    check_workspace,
    kind_of,
    seal_of,
    write_reference,
)
from gatescope.routing.errors import InUseError, OptionError, StoreError
from gatescope.server.places import Place, find_named, look_again, own_named, place_of
from gatescope.studies.manifest import ORDER, StudyManifest, clean_name, now, read_manifest, write_json, write_manifest
from gatescope.studies.results import is_analysed

SAID = ("name", "model", "record", "documents", "tokens", "created", "imported", "understood", "missing", "left_out")
"""What of an order goes along in an archive: nothing of who made it, nor of this machine."""
KINDS_SAID = "a capture's file, a folder of a study or of results, another workspace, or an archive"


def open_path(workspace: Path, path: Path, *, name: str = "", routes: Path | None = None) -> str:
    """Put what lies at a path into the Library, where it lies; its id. Opened again, it is the same entry.

    routes      of results: the study that they are of
    Errors: OptionError where nothing is there, or nothing that is known; StoreError where it cannot be read, is of a
    newer version, or the workspace cannot be written.
    """
    begin_workspace(workspace)
    path = path.absolute().resolve()
    try:
        kind = kind_of(path)
    except OSError as error:
        found = f"{path} cannot be read: {error.strerror or error}"
        do = "ask its owner to let the user who runs Gatescope read it"
        raise StoreError(found, expected="a path that this user may read", do=do) from error
    if (own := _own(workspace.absolute().resolve(), path)) is not None:
        return own
    if kind is None:
        found = f"{path} holds nothing that is known" if path.exists() else f"nothing is at {path}"
        raise OptionError(found, expected=KINDS_SAID, do="check the path")
    made = _described(path)
    if routes is not None:
        if kind != "analysis" or kind_of(routes) != "study":
            found = f"{routes} as the routes of {path}"
            raise OptionError(found, expected="a study, as the routes of results", do="leave --routes out, or mend it")
        routes = routes.absolute().resolve()
    id = _id(workspace, f"{kind} at {path}")
    folder = workspace / STUDIES / id
    reference = Reference(kind=kind, path=str(path), seal=seal_of(kind, path), routes=str(routes or ""))
    write_reference(folder, reference)
    look_again(workspace)
    before = read_manifest(folder)
    if before is None:
        called = free_name(workspace, clean_name(name) or made.pop("name", "") or path.name)
        write_manifest(folder, StudyManifest(id=id, created=now(), state="done", **made | {"name": called}))
    return id


def _own(workspace: Path, path: Path) -> str | None:
    """The id of what lies in this workspace already. Errors: OptionError for the workspace itself."""
    if path == workspace:
        found = f"{path} is this workspace"
        raise OptionError(found, expected="something that lies elsewhere", do="open the Library: all is there")
    if path.is_relative_to(workspace / STUDIES):
        id = path.relative_to(workspace / STUDIES).parts[0]
        return id if is_capture_id(id) else None
    return path.stem if path.parent == workspace and path.suffix == SUFFIX and is_capture_id(path.stem) else None


def _described(path: Path) -> dict[str, Any]:
    """What is known of it before it is opened. Errors: StoreError where it cannot be read."""
    kind = kind_of(path)
    if kind == "workspace":
        check_workspace(path)
        return {"name": f"workspace {path.name}", "model": ""}
    if kind == "capture":
        with PartialRecord(path) as partial:
            made = partial.provenance.model.rstrip("/").rpartition("/")[2]
            return {"name": path.stem, "model": made, "tokens": partial.tokens, "documents": len(partial.documents)}
    if kind == "study":
        routes = path if is_study(path) else path / CAPTURED
        order = read_manifest(path)
        recipe = StudyFolder.open(routes).recipe()
        made = str(recipe.get("model", "")).rstrip("/").rpartition("/")[2]
        return {"name": order.name if order is not None else path.name, "model": made}
    return {"name": path.name, "model": ""}


class Unpacked(NamedTuple):
    """The id of an archive's study, and whether it was unpacked now."""

    id: str
    is_new: bool


class Going(NamedTuple):
    """An archive on its way out: what is in it, and where each file lies."""

    contents: Contents
    find: Callable[[str], Path]


def pack(workspace: Path, what: str) -> Going:
    """What an archive of a study or capture holds, named by its path, its name or its id.

    Errors: OptionError where there is none; InUseError while it is worked on; StoreError where it is torn, or gone.
    """
    place, about = _packable(workspace, what)
    if place.trouble:
        raise StoreError(place.trouble, expected="the files as they were", do="open it again where it is now")
    roots: dict[str, Path] = {}
    files: list[Packed] = []
    if place.file is not None:
        roots[place.file.name] = place.file
        files.append(Packed(place.file.name, place.file.stat().st_size, digest_of_file(place.file)))
    if place.captured is not None and is_study(place.captured):
        study = StudyFolder.open(place.captured)
        if torn := study.troubles():
            found = f"{place.captured} is not whole: {torn[0]}"
            raise StoreError(found, expected="every part as it was written", do="run its capture again, which mends it")
        known = {
            f"blocks/{number:08}.{kind}": digest
            for number, block in study.finished().items()
            for kind, (digest, _) in block.parts.items()
        }
        files += files_below(place.captured, prefix=f"{CAPTURED}/", known=known)
        roots[CAPTURED] = place.captured
    if is_analysed(place.analysed):
        files += files_below(place.analysed, prefix=f"{ANALYSED}/")
        roots[ANALYSED] = place.analysed
    if not files:
        raise OptionError(f"{what} holds nothing yet", expected="a study with routes or results", do="capture it first")
    kind = "capture" if place.file is not None else "study"

    def find(name: str) -> Path:
        first, _, rest = name.partition("/")
        return roots[first] / rest if rest else roots[first]

    return Going(Contents(kind=kind, about=about, files=tuple(files)), find)


def _packable(workspace: Path, what: str) -> tuple[Place, dict[str, Any]]:
    """Where it lies, and what is said of it."""
    path = Path(what)
    if (store := workspace / f"{what}{SUFFIX}").is_file() and is_capture_id(what):
        path = store
    if path.exists() and not ((path / ORDER).exists() and is_capture_id(path.name)):
        made, kind = _described(path), kind_of(path)
        about = made | {"name": clean_name(made["name"])}
        if kind == "capture":
            return Place(None, path.parent / ANALYSED, path), about
        if kind == "study":
            is_bare = is_study(path)
            nothing = path / ANALYSED
            return Place(path if is_bare else path / CAPTURED, nothing), about
        if kind == "analysis":
            return Place(None, path), about
        found = f"{path} is " + ("a workspace" if kind == "workspace" else "nothing that is known")
        raise OptionError(found, expected="one study or capture", do="name one, by its path, its name or its id")
    folder = path if path.exists() else find_named(workspace, what)
    if (holder := current(folder)) is not None:
        raise InUseError(
            f"{what} is in use: {holder.described} ({holder.what})",
            expected="a study at rest",
            do="export it when that is over, or stop it there",
        )
    order = read_manifest(folder)
    said = {} if order is None else {name: value for name, value in asdict(order).items() if name in SAID}
    return place_of(folder), {"name": folder.name} | said


def unpack_archive(
    workspace: Path, path: Path, contents: Contents, *, name: str = "", tell: Told = lambda *_: None
) -> Unpacked:
    """An archive as a study of this workspace, seen when all of it is there and checked.

    An archive that was unpacked before is found again; one that was interrupted goes on. Errors: as `archive.unpack`;
    InUseError where another process unpacks it.
    """
    begin_workspace(workspace)
    id = _id(workspace, f"archive {sha256(contents.spelt()).hexdigest()}")
    folder, made = workspace / STUDIES / id, workspace / STUDIES / f".import-{id}"
    if folder.is_dir():
        return Unpacked(id, is_new=False)
    with explained(workspace):
        made.mkdir(mode=0o700, exist_ok=True)
    with Lease.take(made, "gatescope import", called=f"the archive {path.name}"):
        unpack(path, made, tell=tell)
        if contents.kind == "capture":
            write_json(
                made / REFERENCE,
                asdict(Reference(kind="capture", path=contents.files[0].name)),
                within=id,
            )
        called = free_name(workspace, clean_name(name or str(contents.about.get("name", ""))) or path.stem)
        write_json(made / ORDER, asdict(_order(id, called, contents, path)), within=id)
    with explained(workspace):
        if not folder.is_dir():
            made.rename(folder)
    return Unpacked(id, is_new=True)


def unpack_beside(path: Path, out: Path, *, tell: Told = lambda *_: None) -> None:
    """An archive as a folder of the user's own, seen when all is there. Errors: as `unpack_archive`; OptionError."""
    if out.exists():
        raise OptionError(f"{out} is there already", expected="a new folder", do="name another --out, or remove it")
    with explained(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        made = out.with_name(f".{out.name}.import")
        made.mkdir(mode=0o700, exist_ok=True)
    lease = Lease.take(made, "gatescope import", called=f"the archive {path.name}")
    with lease:
        unpack(path, made, tell=tell)
    lease.forget()
    with explained(out.parent):
        made.rename(out)


def _order(id: str, name: str, contents: Contents, path: Path) -> StudyManifest:
    """What is said of an unpacked study: what the archive says, each thing of the kind it must be."""
    said, plain = contents.about, StudyManifest(id=id, name=name, model="")
    taken = {each: said[each] for each in SAID if each in said and each != "name"}
    taken |= {each: tuple(map(str, said.get(each, ()))) for each in ("understood", "missing", "left_out")}
    sound = {each: value for each, value in taken.items() if type(value) is type(getattr(plain, each))}
    return StudyManifest(
        **{"id": id, "name": name, "model": "", "created": now()}
        | sound
        | {"state": "done", "command": f"gatescope import {path.name}"}
    )


def free_name(workspace: Path, name: str) -> str:
    """A name that nothing in the workspace has yet: this one, or with a number behind it."""
    tried, number = name, 1
    while own_named(workspace, tried) is not None:
        number += 1
        tried = f"{name[:70]} ({number})"
    return tried


def _id(workspace: Path, text: str) -> str:
    return capture_id(fingerprint="", text=text, options={"opened": True}, secret=server_secret(workspace))
