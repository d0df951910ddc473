"""What a capture's file or a study's folder says of itself, for the Library: nothing here is a use of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gatescope.cache.partial import PartialRecord
from gatescope.cache.study import ROUTES, StudyFolder, is_study
from gatescope.cache.sums import has
from gatescope.routing.errors import GatescopeError
from gatescope.server.memo_cache import MemoCache
from gatescope.server.places import Place, place_of
from gatescope.server.quota import size_of_folder
from gatescope.server.sources import version_of
from gatescope.studies.manifest import ORDER, TEXTS, StudyManifest, clean_name, read_manifest
from gatescope.studies.results import NAME as RESULTS
from gatescope.studies.wholeness import shortly

SHOWN_WORDS = 60

_seen = MemoCache()
"""What files say of themselves, by path, time and size."""


def describe_capture(path: Path) -> dict[str, Any]:
    """What the end of a capture's file says of it."""
    try:
        found = path.stat()
    except OSError:
        return {"name": path.stem, "problem": "it is gone"}
    return _seen.get((str(path), found.st_mtime_ns, found.st_size), lambda: _read_end(path, found.st_size))


def _read_end(path: Path, size: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": path.stem, "size_bytes": size}
    try:
        with PartialRecord(path) as partial:
            documents = partial.documents
            text = words_of(documents[0].text) if len(documents) == 1 else f"{len(documents):,} documents"
            return fields | {
                "name": text or path.stem,
                "model": words_of(partial.provenance.model),
                "tokens": partial.tokens,
                "documents": len(documents),
                "recorded": _recorded(partial),
            }
    except (GatescopeError, OSError) as error:
        return fields | {"problem": error.found if isinstance(error, GatescopeError) else str(error)}


def describe_study(folder: Path) -> dict[str, Any]:
    """What an entry's folder says of it: what was asked, what is whole of it, and what has become of its files."""
    try:
        version = version_of(folder)
    except GatescopeError as error:  # its reference cannot be read
        fields = {"name": folder.name, "kind": "study", "when": _time("", folder)}
        return fields | {"problem": f"{error.found}: {error.do}"}
    return _seen.get((folder.name, str(folder), version), lambda: _read_study(folder))


def _read_study(folder: Path) -> dict[str, Any]:
    order, place = read_manifest(folder), place_of(folder)
    fields: dict[str, Any] = {"name": order.name if order else folder.name, "kind": "study", "problem": place.trouble}
    if order is None and (folder / ORDER).exists():
        fields["problem"] = f"what was asked of it ({ORDER}) cannot be read: delete it, and begin it again"
    fields |= {"kind": "import"} if order is not None and order.imported else {}
    fields |= {"model": order.model, "documents": order.documents} if order else {}
    fields |= {"when": _time(order.created if order else "", folder), "size_bytes": size_of_folder(folder)}
    if place.reference is not None:
        fields["where"] = place.reference.path
    if place.reference is not None and place.reference.kind == "workspace":
        return fields | {"kind": "workspace"}
    if fields["problem"]:
        return fields
    if place.file is not None:
        found = describe_capture(place.file)
        return found | {"name": fields["name"], "when": fields["when"], "where": fields["where"], "kind": "text"}
    return fields | _of_routes(folder, order, place)


def _of_routes(folder: Path, order: StudyManifest | None, place: Place) -> dict[str, Any]:
    """What is whole of a study, and what cannot be done with it."""
    is_analysed = has(place.analysed, RESULTS)
    if place.captured is None or not is_study(place.captured):
        problem = _without_routes(folder, order, place, is_analysed=is_analysed)
        return {"problem": problem, "is_analysed": is_analysed}
    try:
        study = StudyFolder.open(place.captured)
        recipe, blocks = study.recipe(), list(study.finished().values())
    except GatescopeError as error:
        return {"problem": f"{error.found}; needs {error.expected}"}
    fields: dict[str, Any] = {"tokens": sum(block.tokens for block in blocks), "is_analysed": is_analysed}
    fields["documents"] = sum(block.documents for block in blocks)
    if model := words_of(str(recipe.get("model", "")).rstrip("/").rpartition("/")[2]):
        fields["model"] = model
    with_routes = [block for block in blocks if ROUTES in block.parts]
    if with_routes:
        end = describe_capture(study.blocks_folder / f"{with_routes[0].number:08}.{ROUTES}")
        fields |= {"recorded": end.get("recorded", "")}
    elif blocks:
        fields |= {
            "recorded": "counts",
            "problem": "Counts alone were kept: no page can show its tokens. Its report can.",
        }
    is_ended = order is not None and order.state == "done" and place.reference is None
    return fields | {"lacks": shortly(study.lacking(is_ended=is_ended))}


def _without_routes(folder: Path, order: StudyManifest | None, place: Place, *, is_analysed: bool) -> str:
    """Why an entry without routes cannot be opened; empty for one that has not begun."""
    if place.reference is not None and place.reference.kind == "analysis":
        return (
            "Results alone, without the routes they are of. The pages need both: "
            f"gatescope open {place.analysed} --routes FOLDER"
        )
    if (order is not None and order.state == "done") or (is_analysed and not (folder / TEXTS).exists()):
        return "Its routes are not here: it was copied in part, or they were removed. Copy its folder again as a whole."
    return ""


def _recorded(partial: PartialRecord) -> str:
    """What is known of every token, in words, and whether an intervention was open, or no model made it."""
    made = partial.provenance
    simulated, changed = ", simulated" * made.is_simulated, ", under an intervention" * bool(made.intervention)
    return _columns_in_words(partial) + simulated + changed


def _columns_in_words(partial: PartialRecord) -> str:
    if partial.provenance.options.get("logits"):
        return "all scores"
    if "margin" in partial.columns:
        return "experts, weights, margins"
    return "experts, weights" if partial.has_weights else "experts"


def _time(written: str, folder: Path) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC)


def words_of(text: str) -> str:
    """The beginning of a text, on one line."""
    words = clean_name(text[: 4 * SHOWN_WORDS])
    return words if len(words) <= SHOWN_WORDS else f"{words[: SHOWN_WORDS - 1]}…"
