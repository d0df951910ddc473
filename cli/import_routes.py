"""`python -m app import`: routes that another engine recorded, as a study like any other."""

from collections.abc import Callable, Iterator
from hashlib import blake2b, file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gatescope.routing.errors import OptionError, TraceError
from gatescope.routing.record import RoutingRecord, joined
from gatescope.routing.router import RouterRule

if TYPE_CHECKING:
    from gatescope.cache.importers import Report
    from gatescope.cache.study import StudyFolder

BLOCK_TOKENS = 40_000
_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)


def import_trace(
    trace: Annotated[Path, typer.Argument(help="File or folder that another engine wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    model: Annotated[str, typer.Option(help="Folder or hub id whose config.json says the layers; no weights.")] = "",
    experts: Annotated[int, typer.Option(min=0, help="Of each layer, where the trace does not say it.")] = 0,
    slots: Annotated[int, typer.Option(min=0, help="Experts of a token, where the trace does not say it.")] = 0,
    format: Annotated[str, typer.Option(help="Name of the format, where it cannot be told.")] = "",
    bad: Annotated[str, typer.Option(help="A row that cannot be read: stop or skip.")] = "stop",
) -> None:
    """Read routes that vLLM, SGLang, llama.cpp or a trainer recorded, and keep them as a study."""
    from gatescope.cli.capture import going_on
    from gatescope.cli.main import errors_shown

    with errors_shown(), going_on(out):
        from gatescope.cache.importers import Given, read_trace
        from gatescope.cache.study import StudyFolder

        if bad not in ("stop", "skip"):
            raise OptionError(f"--bad {bad}", expected="stop or skip", do="choose one of the two")
        layers: tuple[RouterRule, ...] = ()
        if model:
            from gatescope.hooks.outline import outline

            layers = outline(model)
        given = Given(layers=layers, model=model, experts=experts, k=slots, on_fault=bad)
        records, report = read_trace(trace, given, format=format)
        with _err.status(f"reading {trace}"):
            digest = digest_of(trace)
        recipe: dict[str, object] = {"imported": report.format, "corpus": str(trace.resolve()), "model": model}
        recipe |= {"detail": "weights", "experts": experts, "slots": slots, "bad": bad, "trace_sha256": digest}
        folder = StudyFolder.create(out, recipe)
        with _err.status(f"reading {trace} as {report.format}"):
            written(records, folder, is_same=lambda: digest_of(trace) == digest)
        tell(report, folder)


def digest_of(trace: Path) -> str:
    """SHA-256 of a trace: of a folder, of the names and bytes of all its files. Errors: TraceError."""
    whole = sha256()
    try:
        for path in sorted(each for each in trace.rglob("*") if each.is_file()) if trace.is_dir() else [trace]:
            with path.open("rb") as file:
                content = file_digest(file, "sha256").digest()
            whole.update(f"{path.relative_to(trace).as_posix()}\0".encode("utf-8", "surrogateescape") + content)
    except OSError as error:
        found = f"{error.filename or trace}: {error.strerror or error}"
        raise TraceError(found, expected="a trace that this user may read", do="check the path") from error
    return whole.hexdigest()


def written(
    records: Iterator[RoutingRecord], folder: "StudyFolder", *, is_same: Callable[[], bool] = lambda: True
) -> None:
    """Records as blocks of some BLOCK_TOKENS tokens, counted. Errors: TraceError where there are none; StoreError."""
    from gatescope.studies.capturing import check_end

    number, held = 0, list[RoutingRecord]()
    for record in records:
        if held and sum(each.tokens for each in held) + record.tokens > BLOCK_TOKENS:
            _write(number, joined(held), folder)
            number, held = number + 1, []
        held.append(record)
    if held:
        _write(number, joined(held), folder)
    elif not number:
        raise TraceError("no routes in the trace", expected="at least one token", do="check what was recorded")
    check_end(folder.finished(), number + 1)
    if not is_same():
        found = "the trace changed while it was read"
        raise TraceError(found, expected="one that nobody writes any more", do="import it again, with another --out")
    folder.end(number + 1)


def _write(number: int, record: RoutingRecord, folder: "StudyFolder") -> None:
    from gatescope.analysis.tally import tally
    from gatescope.analysis.tally_file import to_bytes
    from gatescope.cache.block import Block
    from gatescope.cache.schema import encode
    from gatescope.cache.study import COUNTS, ROUTES

    routes = encode(record)
    digest = blake2b(routes, digest_size=16).hexdigest()
    block = Block(number=number, documents=len(record.documents), tokens=record.tokens, digest=digest)
    folder.write(block, {COUNTS: to_bytes(tally(record)), ROUTES: routes})


def tell(report: "Report", folder: "StudyFolder") -> None:
    """What was understood, what is missing, and what was left out with where."""
    blocks = folder.finished().values()
    documents, tokens = (sum(getattr(block, name) for block in blocks) for name in ("documents", "tokens"))
    _out.print(f"{folder.folder}: {documents:,} documents, {tokens:,} tokens, read as {report.format}", markup=False)
    for title, said in (("understood", report.understood), ("missing", report.missing)):
        for sentence in said:
            _out.print(f"{title:>10}: {sentence}", highlight=False, markup=False)
    for reason, times in report.left_out.items():
        places = ", ".join(report.where.get(reason, []))
        _out.print(f"  left out: {times:,} {reason} ({places})", highlight=False, markup=False)
