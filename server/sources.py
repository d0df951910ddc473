"""What a page shows: a capture, a captured corpus, or what ships with a bundled model, by its id.

    find_source(id)                   what an id stands for; read once, kept in memory, the same for every page
    counted(source, scope)            the routes of a scope: some documents, some tokens

A `Scope` says which of its tokens count. Every number of a page is of one source and one scope.
"""

from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatescope.analysis.registry import BOTH
from gatescope.analysis.tally.tally import TokenRole, token_roles
from gatescope.cache.folder import is_capture_id
from gatescope.cache.partial import PartialRecord
from gatescope.cache.study import StudyFolder, is_study
from gatescope.cache.sums import has
from gatescope.cache.workspace import ANALYSED as ANALYSED  # as others know them
from gatescope.cache.workspace import CAPTURED as CAPTURED
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import history, load_probe_capture, load_welcome_capture
from gatescope.routing.errors import CaptureNotFoundError, OptionError, StoreError
from gatescope.routing.record import RoutingRecord
from gatescope.server.document_ranges import numbers_in, slice_of
from gatescope.server.memo_cache import MemoCache
from gatescope.server.places import Place, place_of
from gatescope.server.view import LABELS, Span, View
from gatescope.studies.adding_up import first_routes
from gatescope.studies.compute import KEPT_TOKENS
from gatescope.studies.manifest import ORDER, clean_name, read_manifest
from gatescope.studies.results import NAME as RESULTS
from gatescope.studies.results import TALLY, lacked
from gatescope.studies.wholeness import part_of, shortly

Kind = Literal["text", "corpus"]
AT_HAND_BYTES = 200_000_000
"""About how many bytes of a study's routes are held for its pages; what it was analysed for is of all of them."""

_routes = MemoCache()
"""What was computed last. Keys are sources' keys, names and scopes, never arrays: no capture is taken for another."""

TOKEN_ROLES: dict[str, tuple[TokenRole, ...]] = {
    "own": BOTH,
    "prompt": (TokenRole.PROMPT,),
    "generated": (TokenRole.GENERATED,),
    "format": (TokenRole.FORMAT,),
}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which tokens of a source count: of some documents (None: all), a span of one of them, and of some facet."""

    facet: str = "own"
    documents: tuple[int, ...] | None = None
    span: Span | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every document counts, whole; whatever the facet."""
        return self.documents is None and self.span is None


WHOLE = Scope()


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One capture or study as every page sees it.

    record      the routes at hand, of all documents or (`is_cut`) of the first ones of a large study
    analysis    folder of results that were computed before, if there is one
    is_study    whether it has a folder among the studies of a workspace
    is_elsewhere    whether it is a capture in the store of another workspace
    version     tells what was read of a study from what is there after it changed; empty where nothing changes
    """

    id: str
    name: str
    kind: Kind
    record: RoutingRecord
    analysis: Path | None = None
    is_cut: bool = False
    is_study: bool = False
    is_elsewhere: bool = False
    notice: str = ""
    version: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What every number of this source is kept under: the id, by which it is dropped, and the version."""
        return self.id, self.version

    @property
    def counts(self) -> Path | None:
        """The file of what was counted of the whole, if there is one."""
        return self.analysis / TALLY if self.analysis is not None and has(self.analysis, TALLY) else None


def source_of(id: str, record: RoutingRecord, *, notice: str = "") -> Source:
    """A captured text, or an imported trace."""
    documents = record.documents
    sentence = clean_name(documents[0].text) if len(documents) == 1 else ""
    name = sentence or f"{len(documents):,} document{'s' * (len(documents) != 1)}"
    return Source(id=id, name=name, kind="text" if len(documents) < 2 else "corpus", record=record, notice=notice)


def shipped_ids(model: str) -> list[str]:
    """Ids of what ships with a bundled model, the probe set first; none for any other model."""
    if model not in BUNDLED_MODELS:
        return []
    steps = sorted((BUNDLED_MODELS[model] / "captures" / "history").glob("*.gsr"))
    return [f"probe.{model}", f"welcome.{model}", *(f"step{int(path.stem)}.{model}" for path in steps)]


def shipped_name(id: str) -> str:
    """What a shipped capture is called.

    >>> shipped_name("step400.sift-softmax")
    'sift-softmax after 400 steps of training'
    """
    what, _, model = id.partition(".")
    if what.startswith("step"):
        return f"{model} after {int(what.removeprefix('step')):,} steps of training"
    return f"{model} on the probe set" if what == "probe" else f"{model} reading an example"


def read_shipped(id: str) -> Source:
    """A capture that ships with a bundled model. Errors: CaptureNotFoundError."""
    what, _, model = id.partition(".")
    if id not in shipped_ids(model):
        raise CaptureNotFoundError(f"no capture {id}", expected="one that ships with a model", do="open the Library")
    if what == "welcome":
        return Source(id=id, name=shipped_name(id), kind="text", record=load_welcome_capture(model))
    if what == "probe":
        analysed = BUNDLED_MODELS[model] / "captures" / "probe"
        found = analysed if has(analysed, RESULTS) else None
        return Source(id=id, name=shipped_name(id), kind="corpus", record=load_probe_capture(model), analysis=found)
    step = int(what.removeprefix("step"))
    record = next(moment.record for moment in history(model) if moment.step == step)
    return Source(id=id, name=shipped_name(id), kind="corpus", record=record)


def read_study(id: str, folder: Path, *, is_own: bool = True) -> Source:
    """What lies in a study's folder, or is named there: a corpus, or a capture.

    In a folder of another workspace, unless `is_own`, and where a reference leads, nothing is written.

    Results without routes are no source: every page reads some. Errors: CaptureNotFoundError, StoreError.
    """
    version = version_of(folder)  # before anything is read: what changes meanwhile is of no later version
    place = place_of(folder)
    if place.trouble:
        raise StoreError(place.trouble, expected="the files as they were", do="open the Library")
    if place.file is not None:
        found = read_capture(id, place.file)
        return replace(found, name=_called(folder) or found.name, version=version, is_study=True, is_elsewhere=False)
    captured = place.captured
    if captured is None or not is_study(captured):  # of one that begins, the folder stands before the recipe
        raise CaptureNotFoundError(f"no study {id}", expected="one that was captured", do="open the Library")
    return _read_routes(
        id, folder, place, StudyFolder.open(captured, sets_aside=is_own and not place.reference), version
    )


def _read_routes(id: str, folder: Path, place: Place, captured: StudyFolder, version: str) -> Source:
    record = first_routes(captured, KEPT_TOKENS, most_bytes=AT_HAND_BYTES)
    pa.default_memory_pool().release_unused()  # what the blocks were unpacked in
    if record is None:
        raise StoreError(
            f"study {id} holds no routes of tokens" + " yet" * (not captured.finished()),
            expected="the experts of its tokens: a capture with --detail ids or weights",
            do="read the report of its results, or capture it with more detail",
        )
    documents = sum(block.documents for block in captured.finished().values())
    return Source(
        id=id,
        name=_called(folder) or clean_name(str(captured.recipe().get("corpus", id))) or id,
        kind="corpus",
        record=record,
        analysis=place.analysed if has(place.analysed, RESULTS) else None,
        is_cut=len(record.documents) < documents,
        notice=_not_whole(folder, place.analysed, captured),
        is_study=True,
        version=version,
    )


def read_capture(id: str, path: Path) -> Source:
    """A capture's file that lies outside the store, every byte read. Errors: StoreError, CaptureDamagedError."""
    try:
        with PartialRecord(path) as partial:
            record = partial.verify() if is_capture_id(path.stem) else partial.decoded()
    except FileNotFoundError as error:
        raise StoreError(f"{path} is gone", expected="the file that was opened", do="open the Library") from error
    return replace(source_of(id, record), is_elsewhere=True)


def version_of(folder: Path) -> str:
    """Another one whenever blocks, results or tables of a study were written, or it was named anew, by whomever."""
    place = place_of(folder)
    results = tuple(place.analysed / name for name in ("", RESULTS, TALLY, "tables"))
    routes = () if place.captured is None else (place.captured, place.captured / "blocks")
    read = (*routes, *results, folder / ORDER, *((place.file,) if place.file else ()))
    read = (*read, folder / place.reference.path) if place.reference else read
    stats = []
    for path in read:
        try:
            found = path.stat()
        except OSError:
            stats.append("")
        else:
            stats.append(f"{found.st_ino} {found.st_size} {found.st_mtime_ns}")
    return blake2b("|".join(stats).encode(), digest_size=8).hexdigest()


def _called(folder: Path) -> str:
    order = read_manifest(folder)
    return "" if order is None else clean_name(order.name)


def _not_whole(folder: Path, analysed: Path, captured: StudyFolder) -> str:
    """What must be said of a study that lacks some of its corpus; nothing where it is whole."""
    order = read_manifest(folder)
    if lacks := lacked(analysed):
        return part_of(lacks)
    lacks = tuple(captured.lacking(is_ended=order is not None and order.state == "done"))
    if lacks and has(analysed, RESULTS):
        return f"The routes of this study are no longer whole, and what is computed now lacks some: {shortly(lacks)}."
    return part_of(lacks) if lacks else ""


def scope_of(source: Source, view: View) -> Scope:
    """The scope that a view asks for. Errors: OptionError for a slice that this source does not have."""
    documents = None if view.slice is None else documents_of(source.record, view.slice)
    if view.span is not None:
        number = view.document or 0
        return Scope(facet=view.facet, documents=(number,), span=view.span)
    return Scope(facet=view.facet, documents=documents)


def documents_of(record: RoutingRecord, chosen: str) -> tuple[int, ...]:
    """The numbers of a slice's documents. Errors: OptionError when there are none.

    `domain:code` and `language:de` name a label, `documents:0-2.7` numbers.
    """
    kind, _, what = chosen.partition(":")
    if kind == "documents":
        found = numbers_in(what, len(record.documents))
    else:
        found = [number for number, document in enumerate(record.documents) if getattr(document, kind) == what]
    if not found:
        raise OptionError(
            f"no documents of the slice {chosen}", expected=f"some of {len(record.documents):,}", do="release the slice"
        )
    return tuple(found)


def select_routes(source: Source, scope: Scope) -> RoutingRecord:
    """The routes of a scope; the same record where everything counts. Facets are left to who counts."""
    if scope.is_whole:
        return source.record
    return _routes.get((*source.key, replace(scope, facet="own")), lambda: _taken(source.record, scope))


def _taken(record: RoutingRecord, scope: Scope) -> RoutingRecord:
    own = record if scope.documents is None else record.of_documents(scope.documents)
    return own if scope.span is None else span_of(own, scope.span)


def span_of(record: RoutingRecord, span: Span) -> RoutingRecord:
    """The tokens of a range, of a record of one document."""
    return record.take(slice(span.first, span.last + 1))


def document_of(source: Source, number: int) -> RoutingRecord:
    """One document of a source, its tokens counted from 0."""
    if len(source.record.documents) == 1:
        return source.record
    return select_routes(source, Scope(documents=(number,)))


def scope_words(source: Source, scope: Scope) -> str:
    """A scope in a few words.

    >>> scope_words(read_shipped("welcome.sift-softmax"), Scope(documents=(0,), span=Span(3, 5), facet="prompt"))
    'tokens 3 to 5 of document 0, prompt tokens'
    """
    if scope.span is not None and scope.documents is not None:
        sentence = f"tokens {scope.span.first} to {scope.span.last} of document {scope.documents[0]}"
    elif scope.documents is not None:
        label = label_of(source, scope.documents)
        sentence = f"{label[0]}:{label[1]}" if label is not None else slice_of(scope.documents)
    else:
        sentence = "all documents"
    return sentence if scope.facet == WHOLE.facet else f"{sentence}, {scope.facet} tokens"


def label_of(source: Source, numbers: tuple[int, ...]) -> tuple[str, str] | None:
    """The label that these documents bear and no other does: its kind and itself; None where there is none."""
    documents = source.record.documents
    for by in LABELS:
        label = getattr(documents[numbers[0]], by)
        if label and numbers == tuple(at for at, each in enumerate(documents) if getattr(each, by) == label):
            return by, label
    return None


def role_mask(record: RoutingRecord, facet: str) -> NDArray[np.bool_]:
    """Which tokens are of a facet, shape (tokens,)."""
    return np.isin(token_roles(record), [int(each) for each in TOKEN_ROLES[facet]])
