"""Captures on their way out and in: files of our own, sets of them as one archive, and traces of other engines."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa

from gatescope.cache.file_checksum import CHECKSUM_BYTES, MAGIC, checksum
from gatescope.cache.folder import SUFFIX
from gatescope.cache.importers import Given, Report, importers, read_trace
from gatescope.cache.keys import capture_id, server_secret
from gatescope.cache.schema import decode, encode, open_parquet
from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import GatescopeError, OptionError, RecordError, StoreError, TraceError
from gatescope.routing.record import RoutingRecord
from gatescope.server.library import Entry, frame_of
from gatescope.server.server import Server
from gatescope.server.sources import CAPTURED, Source
from gatescope.server.study_request import RESULTS_BYTES
from gatescope.server.upload import MOST_FILES, safe_name
from gatescope.studies.export import csv_bytes, expert_load_frame, routing_trace_frame
from gatescope.studies.importing import write_records
from gatescope.studies.manifest import StudyManifest, clean_name, now, write_manifest

MOST_SET_BYTES = 300_000_000
"""Of captures in one archive: it is put together in memory."""
MOST_TRACE_TOKENS = 20_000
"""Tokens up to which the CSV beside a capture has a row for each token, layer and slot; beyond, one for each expert."""
MOST_DECODED = 1_000_000_000
MOST_LINE = 300
File = tuple[str, bytes]
_NOT_OURS = (RecordError, StoreError, pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, OSError)


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What became of an import: its id, and what was and was not understood."""

    id: str
    format: str
    documents: int
    tokens: int
    understood: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def file_of(source: Source) -> bytes:
    """A capture as a file, sealed under its id."""
    body = encode(source.record)
    return checksum(source.id, body) + bytes(body)


def file_name(entry: Entry) -> str:
    """What such a file is called."""
    return f"{entry.id}{SUFFIX}"


def archive(chosen: Sequence[Entry], find: Callable[[str], Source]) -> bytes:
    """Several captures as one ZIP: each as .gsr and as CSV, and a list of them. Errors: OptionError for too much."""
    size = sum(entry.size_bytes for entry in chosen)
    if size > MOST_SET_BYTES:
        found, expected = f"{size:,} bytes of captures", f"at most {MOST_SET_BYTES:,} in one archive"
        raise OptionError(found, expected=expected, do="choose fewer, or copy the server's folder")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("captures.csv", csv_bytes(_as_text(chosen)))
        for entry in chosen:
            source = find(entry.id)
            out.writestr(zipfile.ZipInfo(file_name(entry)), file_of(source))
            out.writestr(*_table(source))
    return file.getvalue()


def _as_text(chosen: Sequence[Entry]) -> pd.DataFrame:
    """The list, its foreign words as `app.export` writes text."""
    frame = frame_of(chosen)
    return frame.assign(**{name: frame[name].astype("category") for name in ("name", "model", "tags")})


def _table(source: Source) -> tuple[str, bytes]:
    """The routes of a short capture, the counts of a long one."""
    if source.record.tokens <= MOST_TRACE_TOKENS:
        return f"{source.id}.routes.csv", csv_bytes(routing_trace_frame(source.record, source.id))
    return f"{source.id}.counts.csv", csv_bytes(expert_load_frame(source.record))


def is_ours(content: bytes) -> bool:
    """Whether a file begins like a capture of our own."""
    return content.startswith(MAGIC)


def take_in(
    server: Server, files: Sequence[File], given: Given, *, visitor: str, format: str = ""
) -> list[ImportResult]:
    """Import files: those of our own each by itself, all others together as one trace.

    Errors: TraceError for what cannot be understood; OptionError for too much; StoreError.
    """
    if not 0 < len(files) <= MOST_FILES:
        raise OptionError(f"{len(files)} files", expected=f"1 to {MOST_FILES}", do="choose what to import")
    ours = [take_own(server, name, content, visitor=visitor) for name, content in files if is_ours(content)]
    others = [(name, content) for name, content in files if not is_ours(content)]
    return ours + ([take_trace(server, others, given, visitor=visitor, format=format)] if others else [])


def take_own(server: Server, name: str, content: bytes, *, visitor: str) -> ImportResult:
    """A capture that a Gatescope wrote, under a new id: an id of this server stands for what this server made.

    Errors: TraceError for one that is damaged or altered; OptionError for too many tokens; StoreError.
    """
    called = safe_name(name)
    record = _decoded(called, content)
    sealed_as = called.partition(SUFFIX)[0]
    is_checked = checksum(sealed_as, memoryview(content)[CHECKSUM_BYTES:]) == content[:CHECKSUM_BYTES]
    sentence = (
        "the checksum holds"
        if is_checked
        else "the file was renamed, so its checksum says nothing; its pages were checked"
    )
    report = Report(format="gsr", documents=len(record.documents), tokens=record.tokens)
    report.understood += [sentence, f"made by {record.provenance.engine} with {record.provenance.model}"]
    id = _new_id(server, sha256(content).digest(), "gsr", visitor)
    if len(record.documents) > 1:
        _keep_study(server, id, _within(server, iter([record])), report, called, visitor)
    else:
        notice = server.capture_cache.keep(id, record).notice
        report.missing += [notice] if notice else []
        book = server.labels
        book.restore(id, visitor)  # the id is of the visitor too: whoever has it is the owner
        book.own(id, visitor)
    return _taken(id, report)


def take_trace(server: Server, files: Sequence[File], given: Given, *, visitor: str, format: str = "") -> ImportResult:
    """Routes that another engine recorded, as a study. Errors: as `take_in`."""
    whole = sha256()
    with TemporaryDirectory(prefix="gatescope-import-") as folder:
        place = Path(folder)
        for name, content in files:
            (place / safe_name(name)).write_bytes(content)
            whole.update(content)
        path = place if len(files) > 1 else next(place.iterdir())
        try:
            records, report = read_trace(path, given, format=format)
            id = _new_id(server, whole.digest(), f"{given.model} {given.experts} {given.k} {format}", visitor)
            _keep_study(
                server, id, _within(server, records), report, path.name if len(files) == 1 else "a trace", visitor
            )
        except GatescopeError as error:
            parts = (error.found, error.expected, error.do)
            found, expected, do = (text.replace(f"{place}/", "").replace(folder, "the upload") for text in parts)
            raise TraceError(found, expected=expected, do=do) from error
    return _taken(id, report)


def formats() -> dict[str, str]:
    """Every format that can be imported, with what writes it."""
    return {"gsr": "captures of Gatescope"} | {each.name: each.title for each in importers()}


def _within(server: Server, records: Iterator[RoutingRecord]) -> Iterator[RoutingRecord]:
    """Records, as long as they are not too many for a visitor, nor for the disk. Errors: OptionError; StorageFullError.

    What is read in between has been written: room is looked for again before each.
    """
    tokens, most, quota = 0, server.settings.max_study_tokens, server.quota
    for record in records:
        quota.make_room(RESULTS_BYTES)
        tokens += record.tokens
        if tokens > most:
            do = "import fewer, or on the command line: gatescope import"
            raise OptionError(f"{tokens:,} tokens and more", expected=f"at most {most:,} here", do=do)
        yield record


def _decoded(name: str, content: bytes) -> RoutingRecord:
    """The record in a file. Errors: TraceError."""
    try:
        body = memoryview(content)[CHECKSUM_BYTES:]
        about = open_parquet(body).metadata
        size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        size += int(json.loads((about.metadata or {}).get(b"gatescope", b"{}")).get("texts_bytes", 0))
        if size > MOST_DECODED:
            found = f"{name} says that it unpacks to {size:,} bytes"
            raise TraceError(found, expected=f"at most {MOST_DECODED:,}", do="import it on the command line")
        return decode(body, checks_pages=True)
    except _NOT_OURS as error:
        sentence = error.found if isinstance(error, GatescopeError) else str(error).partition("\n")[0][:160]
        found = f"{name} is torn, altered or of another kind: {sentence}"
        raise TraceError(found, expected="a capture that Gatescope wrote", do="download it again") from error


def _keep_study(
    server: Server, id: str, records: Iterator[RoutingRecord], report: Report, name: str, visitor: str
) -> None:
    """Records as a study's folder, and its analysis begun. Nothing stays where it fails."""
    folder, studies = server.studies_folder / id, server.studies
    if studies.live(id) is not None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    called = clean_name(name)
    try:
        folder.mkdir(mode=0o700, parents=True)
        study = StudyFolder.create(
            folder / CAPTURED, {"imported": report.format, "corpus": called, "model": "", "detail": "weights"}
        )
        write_records(records, study)
        server.quota.make_room(RESULTS_BYTES)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    taken = _taken(id, report)
    order = StudyManifest(
        id=id,
        name=called,
        model="",
        owner=visitor,
        created=now(),
        documents=taken.documents,
        tokens=taken.tokens,
        imported=report.format,
        understood=taken.understood,
        missing=taken.missing,
        left_out=taken.left_out,
    )
    write_manifest(folder, order)
    studies.go_on(id)


def _taken(id: str, report: Report) -> ImportResult:
    left_out = (
        f"{times:,} {reason} ({', '.join(report.where.get(reason, []))})" for reason, times in report.left_out.items()
    )
    return ImportResult(
        id=id,
        format=report.format,
        documents=report.documents,
        tokens=report.tokens,
        understood=tuple(map(_line, report.understood)),
        missing=tuple(map(_line, report.missing)),
        left_out=tuple(map(_line, left_out)),
    )


def _line(text: str) -> str:
    """A sentence about a foreign file, not longer than anyone reads."""
    sentence = " ".join(text.split())
    return sentence if len(sentence) <= MOST_LINE else f"{sentence[: MOST_LINE - 1]}…"


def _new_id(server: Server, digest: bytes, how: str, visitor: str) -> str:
    """The id of an import: of its bytes, how they were read, and whose it is. Two visitors never share an import."""
    options = {"imported": how} | ({"owner": visitor} if visitor else {})
    return capture_id(
        fingerprint="", text=digest.hex(), options=options, secret=server_secret(server.settings.workspace)
    )
