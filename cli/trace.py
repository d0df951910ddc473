"""`gatescope trace`: one text through a model, as a capture and its tables."""

import errno
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gatescope.cli.output import ProveAgain, errors_shown, stderr, stdout
from gatescope.routing.errors import PromptError, StorageFullError, StoreError
from gatescope.routing.files import no_file

if TYPE_CHECKING:  # torch takes seconds to import: --help and --version must not wait for it
    from gatescope.hooks import CaptureOptions, LoadedModel
    from gatescope.routing.record import RoutingRecord
    from gatescope.server.settings import Settings

_PARTIAL = ".partial-"


class Traced(NamedTuple):
    """What one run of `trace` made."""

    id: str
    record: "RoutingRecord"
    model: "LoadedModel"


def trace(
    out: Annotated[Path, typer.Option(help="Folder for trace.csv, counts.csv and the capture; made when missing.")],
    model: Annotated[
        str, typer.Option(help="A bundled model's name, a folder or a hub id (default: the setting).")
    ] = "",
    prompt: Annotated[str | None, typer.Option(help="The text.")] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="A UTF-8 file holding the text; - reads stdin.")] = None,
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after the text.")] = 0,
    sample: Annotated[bool, typer.Option(help="Draw new tokens at random instead of taking the likeliest.")] = False,
    temperature: Annotated[float, typer.Option(help="Of sampling; higher is more random.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Of sampling; share of probability drawn from.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0,
    chat: Annotated[bool, typer.Option(help="Wrap the text in the tokenizer's chat template.")] = False,
    logits: Annotated[bool, typer.Option(help="Keep the full router scores in the capture.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps (default: the setting).")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub model.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write the trace as one HTML file, which works without a network.")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave text and token ids out of that file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the outcome as JSON to stdout.")] = False,
    prove_again: ProveAgain = False,
) -> None:
    """Run a text through a model and write where every token was routed."""
    if (prompt is None) == (prompt_file is None):
        raise typer.BadParameter("give the text with either --prompt or --prompt-file")
    if no_text and html is None:
        raise typer.BadParameter("--no-text is about the file of --html")
    with errors_shown(as_json):
        from gatescope.hooks import CaptureOptions
        from gatescope.server.settings import settings_with

        settings = settings_with(
            model=model or None, device=device, dtype=dtype, revision=revision, prove_again=prove_again or None
        )
        options = CaptureOptions(
            max_new_tokens=new_tokens,
            sample=sample,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            chat=chat,
            logits=logits,
        )
        text = prompt if prompt is not None else _read_text(prompt_file or Path("-"))
        traced = _capture(settings, text, options)
        files = _write(traced, out)
        if html is not None:
            files["html"] = _write_page(traced, html, text=not no_text)
        _report(traced, files, as_json=as_json)


def _read_text(path: Path) -> str:
    """The text of a file, exactly (a byte order mark aside). Errors: PromptError."""
    if path != Path("-") and (reason := no_file(path)):
        raise PromptError(f"{path} is {reason}", expected="a text file", do="pipe the text: --prompt-file -")
    try:
        raw = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{path}: byte {error.start} is {error.object[error.start]:#04x}, which is not UTF-8",
            expected="a text file in UTF-8",
            do="save it as UTF-8, or convert it with iconv",
        ) from None
    except OSError as error:
        raise PromptError(
            f"{path}: {error.strerror}", expected="a readable text file", do="check the path given as --prompt-file"
        ) from None


def _capture(settings: "Settings", text: str, options: "CaptureOptions") -> Traced:
    """Load the model and capture, with progress by layer on stderr."""
    from gatescope.cache.keys import server_secret
    from gatescope.hooks import capture
    from gatescope.server.model_worker import identify, without_idle_options
    from gatescope.server.settings import load_chosen

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(f"loading {settings.model}", total=None)
        model = load_chosen(settings, on_stage=lambda stage: progress.update(task, description=stage))
        progress.update(task, description="capturing, layer by layer")
        record = capture(
            model,
            text,
            without_idle_options(options),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    id = identify(model.provenance(), text, options, secret=server_secret(settings.workspace))
    return Traced(id, record, model)


def _write(traced: Traced, out: Path) -> dict[str, Path]:
    """The three files, complete or not at all: made in a folder of their own within, then moved into `out`.

    What a run that was killed left of such a folder goes at the next one.
    """
    from gatescope.cache.store import Store
    from gatescope.cache.temporary import sweep_folders, working_folder
    from gatescope.studies.export import expert_load_frame, routing_trace_frame, write_csv

    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        sweep_folders(out, prefix=_PARTIAL)
        with working_folder(out, prefix=_PARTIAL, name=out.name) as partial:
            write_csv(routing_trace_frame(traced.record, traced.id), partial / "trace.csv")
            write_csv(expert_load_frame(traced.record), partial / "counts.csv")
            Store(partial).put(traced.id, traced.record)
            made = {"trace": "trace.csv", "counts": "counts.csv", "capture": f"{traced.id}.gsr"}
            return {what: (partial / name).replace(out / name) for what, name in made.items()}
    except BaseException as error:
        if is_new:
            with suppress(OSError):
                out.rmdir()
        if not isinstance(error, OSError):
            raise
        kind = StorageFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(
            f"{out}: {error.strerror or error}", expected="a folder with room to write into", do="choose another --out"
        ) from None


def _write_page(traced: Traced, path: Path, *, text: bool) -> Path:
    """The trace as one file. Errors: OptionError where a browser would not bear it, StoreError."""
    from gatescope.drawing.facts import selfcheck_words
    from gatescope.drawing.one_file import to_html

    checks = traced.model.selfcheck.checks
    try:
        to_html(traced.record, path, text=text, selfcheck=selfcheck_words([check.passed for check in checks]))
    except OSError as error:
        kind = StorageFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(
            f"{path}: {error.strerror or error}",
            expected="a file in a folder that exists, with room",
            do="choose another --html",
        ) from None
    return path


def _report(traced: Traced, files: dict[str, Path], *, as_json: bool) -> None:
    record, checks = traced.record, traced.model.selfcheck.checks
    passed = sum(check.passed for check in checks)
    made = record.provenance
    if as_json:
        summary = {
            "capture": traced.id,
            "model": made.model,
            "fingerprint": made.fingerprint,
            "dtype": made.dtype,
            "device": made.device,
            "tokens": record.tokens,
            "layers": len(record.layers),
            "selfcheck": {check.name: {"passed": check.passed, "detail": check.detail} for check in checks},
            "files": {what: str(path) for what, path in files.items()},
        }
        typer.echo(json.dumps(summary))
        return
    stdout.print(f"{made.model} @ {made.fingerprint[:8]} · {made.dtype} · {made.device}", highlight=False, markup=False)
    stdout.print(
        f"{record.tokens} tokens × {len(record.layers)} MoE layers; self-check {passed} of {len(checks)} passed"
    )
    for what, path in files.items():
        stdout.print(f"{what:<8} {path}", highlight=False, markup=False)
