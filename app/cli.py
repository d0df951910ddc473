"""The command line: `python -m app trace` writes a capture and its tables without a dashboard."""

import errno
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app import __version__
from app.cache_command import commands as cache_commands
from app.study.capture_command import capture
from app.study.command import analyze
from app.study.engine_command import capture_from
from app.study.import_command import import_trace
from routing.errors import GatescopeError, OptionError, PromptError, StorageFullError, StoreError
from routing.files import no_file

if TYPE_CHECKING:  # torch takes seconds to import: --help and --version must not wait for it
    from app.settings import Settings
    from hooks import CaptureOptions, LoadedModel
    from routing.record import RoutingRecord

app = typer.Typer(
    name="gatescope",
    help="Shows where a Mixture-of-Experts language model sends every token.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)
_DEBUG = "GATESCOPE_DEBUG"
_PARTIAL = ".partial-"


class Traced(NamedTuple):
    """What one run of `trace` made."""

    id: str
    record: "RoutingRecord"
    model: "LoadedModel"


app.command()(capture)
app.command("capture-from")(capture_from)
app.command("import")(import_trace)
app.command()(analyze)
app.add_typer(cache_commands, name="cache")


def main() -> None:
    """Run the command line of this process."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        _out.print(f"gatescope {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Shows where a Mixture-of-Experts language model sends every token."""


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Write the outcome as JSON to stdout.")] = False,
) -> None:
    """Run a text through a model and write where every token was routed."""
    if (prompt is None) == (prompt_file is None):
        raise typer.BadParameter("give the text with either --prompt or --prompt-file")
    with errors_shown(as_json):
        from app.settings import load_settings
        from hooks import CaptureOptions

        chosen = {"model": model or None, "device": device, "dtype": dtype, "revision": revision}
        settings = load_settings(**{name: value for name, value in chosen.items() if value is not None})
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
        _report(traced, files, as_json=as_json)


def _read_text(path: Path) -> str:
    """The text of a file, exactly (a byte order mark aside). Errors: PromptError."""
    if path != Path("-") and (said := no_file(path)):
        raise PromptError(f"{path} is {said}", expected="a text file", do="pipe the text: --prompt-file -")
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
    from app.settings import model_source
    from app.tracer import identify, without_idle_options
    from cache.keys import server_secret
    from hooks import capture, load_model

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=_err, transient=True) as progress:
        task = progress.add_task(f"loading {settings.model}", total=None)
        model = load_model(
            model_source(settings.model), revision=settings.revision, device=settings.device, dtype=settings.dtype
        )
        progress.update(task, description="capturing, layer by layer")
        record = capture(
            model,
            text,
            without_idle_options(options),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    id = identify(model.provenance(), text, options, secret=server_secret(settings.cache_dir))
    return Traced(id, record, model)


def _write(traced: Traced, out: Path) -> dict[str, Path]:
    """The three files, complete or not at all: made in a folder of their own within, then moved into `out`.

    What a run that was killed left of such a folder goes at the next one.
    """
    from app.export import counts_frame, trace_frame, write_csv
    from cache.store import Store
    from cache.temporary import sweep_folders, working_folder

    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        sweep_folders(out, prefix=_PARTIAL)
        with working_folder(out, prefix=_PARTIAL, name=out.name) as partial:
            write_csv(trace_frame(traced.record, traced.id), partial / "trace.csv")
            write_csv(counts_frame(traced.record), partial / "counts.csv")
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
    _out.print(f"{made.model} @ {made.fingerprint[:8]} · {made.dtype} · {made.device}", highlight=False, markup=False)
    _out.print(f"{record.tokens} tokens × {len(record.layers)} MoE layers; self-check {passed} of {len(checks)} passed")
    for what, path in files.items():
        _out.print(f"{what:<8} {path}", highlight=False, markup=False)


@contextmanager
def errors_shown(as_json: bool = False) -> Iterator[None]:
    """Any failure in three parts and exit code 1; the traceback only when GATESCOPE_DEBUG is set."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        yield
    except KeyboardInterrupt:
        _err.print("cancelled; nothing was written")
        raise typer.Exit(130) from None
    except OptionError as error:
        _show(error, as_json=as_json)
        raise typer.Exit(2) from None
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        from app.tracer import explained

        _show(explained(error, log=f"the traceback ({_DEBUG}=1 shows it)"), as_json=as_json)
        raise typer.Exit(1) from None


def _show(error: GatescopeError, *, as_json: bool) -> None:
    parts = {"found": error.found, "expected": error.expected, "do": error.do}
    if as_json:
        typer.echo(json.dumps({"error": parts | {"kind": type(error).__name__}}))
        return
    for name, text in parts.items():
        _err.print(f"{name:>8}: {text}", markup=False, highlight=False)
