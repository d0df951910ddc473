"""`gatescope import`: routes that another engine recorded, as a study like any other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatescope.cli.output import errors_shown, going_on, stderr, stdout
from gatescope.routing.errors import OptionError
from gatescope.routing.router import RouterRule

if TYPE_CHECKING:
    from gatescope.cache.importers import Report
    from gatescope.cache.study import StudyFolder


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
    with errors_shown(), going_on(out):
        from gatescope.cache.importers import Given, read_trace
        from gatescope.cache.study import StudyFolder
        from gatescope.studies.importing import digest_of, write_records

        if bad not in ("stop", "skip"):
            raise OptionError(f"--bad {bad}", expected="stop or skip", do="choose one of the two")
        layers: tuple[RouterRule, ...] = ()
        if model:
            from gatescope.hooks.loading.outline import outline

            layers = outline(model)
        given = Given(layers=layers, model=model, experts=experts, k=slots, on_fault=bad)
        records, report = read_trace(trace, given, format=format)
        with stderr.status(f"reading {trace}"):
            digest = digest_of(trace)
        recipe: dict[str, object] = {"imported": report.format, "corpus": str(trace.resolve()), "model": model}
        recipe |= {"detail": "weights", "experts": experts, "slots": slots, "bad": bad, "trace_sha256": digest}
        folder = StudyFolder.create(out, recipe)
        with stderr.status(f"reading {trace} as {report.format}"):
            write_records(records, folder, is_same=lambda: digest_of(trace) == digest)
        tell(report, folder)


def tell(report: "Report", folder: "StudyFolder") -> None:
    """What was understood, what is missing, and what was left out with where."""
    blocks = folder.finished().values()
    documents, tokens = (sum(getattr(block, name) for block in blocks) for name in ("documents", "tokens"))
    stdout.print(f"{folder.folder}: {documents:,} documents, {tokens:,} tokens, read as {report.format}", markup=False)
    for title, said in (("understood", report.understood), ("missing", report.missing)):
        for sentence in said:
            stdout.print(f"{title:>10}: {sentence}", highlight=False, markup=False)
    for reason, times in report.left_out.items():
        places = ", ".join(report.where.get(reason, []))
        stdout.print(f"  left out: {times:,} {reason} ({places})", highlight=False, markup=False)
