"""`gatescope import`: routes that another engine recorded, as a study like any other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatescope.cli.output import (
    Name,
    archive_progress,
    command_line,
    errors_shown,
    going_on,
    name_of,
    say_where,
    stderr,
    stdout,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.router import RouterRule

if TYPE_CHECKING:
    from gatescope.cache.importers import Report
    from gatescope.cache.study import StudyFolder
    from gatescope.server.settings import Settings


def import_trace(
    trace: Annotated[Path, typer.Argument(help="What another engine wrote, or an archive of gatescope export.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study (default: in the workspace).")] = None,
    name: Name = "",
    model: Annotated[str, typer.Option(help="Folder or hub id whose config.json says the layers; no weights.")] = "",
    experts: Annotated[int, typer.Option(min=0, help="Of each layer, where the trace does not say it.")] = 0,
    slots: Annotated[int, typer.Option(min=0, help="Experts of a token, where the trace does not say it.")] = 0,
    format: Annotated[str, typer.Option(help="Name of the format, where it cannot be told.")] = "",
    bad: Annotated[str, typer.Option(help="A row that cannot be read: stop or skip.")] = "stop",
) -> None:
    """Read routes that vLLM, SGLang, llama.cpp or a trainer recorded, and keep them as a study.

    An archive that gatescope export wrote is unpacked; interrupted, the same command goes on.
    """
    with errors_shown(), going_on(out):
        from gatescope.cache.archive import is_archive
        from gatescope.cache.importers import Given, read_trace
        from gatescope.cache.study import StudyFolder
        from gatescope.server.landing import Asked, landing
        from gatescope.server.settings import load_settings
        from gatescope.studies.importing import digest_of, write_records

        if bad not in ("stop", "skip"):
            raise OptionError(f"--bad {bad}", expected="stop or skip", do="choose one of the two")
        settings = load_settings()
        if is_archive(trace):
            take_archive(settings, trace, out, name)
            return
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
        asked = Asked(out=out, name=name, suggested=name_of(str(trace.resolve())))
        doing = {"what": "gatescope import", "command": command_line(), "model": name_of(model) if model else ""}
        with landing(settings, asked, imported=report.format, **doing) as place:
            folder = StudyFolder.create(place.captured, recipe)
            place.doing.begin(f"reading {trace.name} as {report.format}")
            with stderr.status(f"reading {trace} as {report.format}"):
                write_records(records, folder, is_same=lambda: digest_of(trace) == digest)
            place.facts |= {"understood": tuple(report.understood), "missing": tuple(report.missing)}
            place.facts["left_out"] = tuple(f"{times:,} {why}" for why, times in report.left_out.items())
        tell(report, folder)
        say_where(settings, place.id)


def take_archive(settings: "Settings", path: Path, out: Path | None, name: str) -> None:
    """Unpack an archive into the workspace, or into a folder, and say where it is."""
    from gatescope.cache.archive import contents_of
    from gatescope.server.entering import unpack_archive, unpack_beside

    contents = contents_of(path)
    with archive_progress(f"unpacking {path.name}") as tell_bytes:
        if out is not None:
            unpack_beside(path, out, tell=tell_bytes)
            id, is_new = "", True
        else:
            id, is_new = unpack_archive(settings.workspace, path, contents, name=name, tell=tell_bytes)
    text = f"{len(contents.files):,} files, {contents.size:,} bytes"
    text += ", each as its checksum says" if is_new else "; it was unpacked here before"
    stdout.print(f"{path}: {text}", markup=False, highlight=False)
    if out is not None:
        stdout.print(f"{out}  (into the Library: gatescope open {out})", markup=False, highlight=False)
    say_where(settings, id)


def tell(report: "Report", folder: "StudyFolder") -> None:
    """What was understood, what is missing, and what was left out with where."""
    blocks = folder.finished().values()
    documents, tokens = (sum(getattr(block, name) for block in blocks) for name in ("documents", "tokens"))
    stdout.print(f"{folder.folder}: {documents:,} documents, {tokens:,} tokens, read as {report.format}", markup=False)
    for title, text in (("understood", report.understood), ("missing", report.missing)):
        for sentence in text:
            stdout.print(f"{title:>10}: {sentence}", highlight=False, markup=False)
    for reason, times in report.left_out.items():
        places = ", ".join(report.where.get(reason, []))
        stdout.print(f"  left out: {times:,} {reason} ({places})", highlight=False, markup=False)
