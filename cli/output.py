"""What every command writes to, and how it fails: three parts on stderr (or one object on stdout) and an exit code."""

import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gatescope.routing.errors import GatescopeError, OptionError, explained

if TYPE_CHECKING:
    from gatescope.server.settings import Settings

ProveAgain = Annotated[
    bool, typer.Option("--prove-again", help="Repeat the proof that what is recorded is what is executed.")
]
"""The option of every command that loads a model, but the one that always proves."""

Name = Annotated[str, typer.Option(help="What it is called in the Library (default: made from what is given).")]
"""The option of every command that makes a study."""

stdout = Console(soft_wrap=True)
stderr = Console(stderr=True, soft_wrap=True)
_DEBUG = "GATESCOPE_DEBUG"


@contextmanager
def errors_shown(as_json: bool = False) -> Iterator[None]:
    """Any failure in three parts and exit code 1; the traceback only when GATESCOPE_DEBUG is set."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        yield
    except KeyboardInterrupt:
        stderr.print("cancelled; nothing was written")
        raise typer.Exit(130) from None
    except OptionError as error:
        show(error, as_json=as_json)
        raise typer.Exit(2) from None
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        show(explained(error, log=f"the traceback ({_DEBUG}=1 shows it)"), as_json=as_json)
        raise typer.Exit(1) from None


def show(error: GatescopeError, *, as_json: bool = False) -> None:
    """An error in its three parts."""
    parts = {"found": error.found, "expected": error.expected, "do": error.do}
    if as_json:
        typer.echo(json.dumps({"error": parts | {"kind": type(error).__name__}}))
        return
    for name, text in parts.items():
        stderr.print(f"{name:>8}: {text}", markup=False, highlight=False)


def command_line() -> str:
    """The command that was given, to be given again from anywhere on this machine."""
    return f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(['gatescope', *sys.argv[1:]])}"


def name_of(text: str) -> str:
    """What a path, an address or a hub id is called in the name of a study.

    >>> name_of("hub:owner/name"), name_of("Qwen/Qwen1.5-MoE-A2.7B"), name_of("http://127.0.0.1:8000/")
    ('name', 'Qwen1.5-MoE-A2.7B', '127.0.0.1-8000')
    """
    if "://" in text:
        return re.sub(r"[^\w.]+", "-", text.partition("://")[2]).strip("-")
    last = re.split("[/:]", text.rstrip("/"))[-1]
    return last.partition(".")[0] or last if Path(text).is_file() else last


def say_where(settings: "Settings", id: str) -> None:
    """Where what was made stands in the Library; nothing where it does not stand there."""
    if id:
        from gatescope.server.presence import address_of, called

        stdout.print(f"library  {called(settings.workspace, id)}", highlight=False, markup=False)
        stdout.print(f"         {address_of(settings.workspace, id)}", highlight=False, markup=False)


@contextmanager
def archive_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on stderr, and how to tell it how many are done, of how many."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def going_on(out: Path | None) -> Iterator[None]:
    """Ctrl-C says what is left, and how to go on."""
    from gatescope.cache.study import is_study

    try:
        yield
    except KeyboardInterrupt:
        kept = "the Library" if out is None else str(out)
        goes_on = f"stopped; the same command goes on with what is whole in {kept}"
        is_kept = out is None or is_study(out)
        stderr.print(goes_on if is_kept else "stopped; nothing was written", highlight=False, markup=False)
        raise SystemExit(130) from None  # errors_shown would take typer's own for a failure
