"""What every command writes to, and how it fails: three parts on stderr (or one object on stdout) and an exit code."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gatescope.routing.errors import GatescopeError, OptionError, explained

ProveAgain = Annotated[
    bool, typer.Option("--prove-again", help="Repeat the proof that what is recorded is what is executed.")
]
"""The option of every command that loads a model, but the one that always proves."""

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


@contextmanager
def going_on(out: Path) -> Iterator[None]:
    """Ctrl-C says what is left, and how to go on."""
    from gatescope.cache.study import is_study

    try:
        yield
    except KeyboardInterrupt:
        goes_on = f"stopped; the same command goes on with what is whole in {out}"
        stderr.print(goes_on if is_study(out) else "stopped; nothing was written", highlight=False, markup=False)
        raise SystemExit(130) from None  # errors_shown would take typer's own for a failure
