"""`gatescope`: every command in one program. A command's own file holds it; here they are put together."""

from typing import Annotated

import typer

from gatescope import __version__
from gatescope.cli.analyze import analyze
from gatescope.cli.cache import commands as cache_commands
from gatescope.cli.capture import capture
from gatescope.cli.capture_from import capture_from
from gatescope.cli.check import check
from gatescope.cli.corpus import commands as corpus_commands
from gatescope.cli.export import export
from gatescope.cli.import_routes import import_trace
from gatescope.cli.open import open_path
from gatescope.cli.output import stdout
from gatescope.cli.serve import serve
from gatescope.cli.simulate import simulate
from gatescope.cli.trace import trace

app = typer.Typer(
    name="gatescope",
    help="Shows where a Mixture-of-Experts language model sends every token.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve)
app.command()(trace)
app.command()(capture)
app.command("capture-from")(capture_from)
app.command("import")(import_trace)
app.command()(simulate)
app.command()(analyze)
app.command("open")(open_path)
app.command()(export)
app.command()(check)
app.add_typer(corpus_commands, name="corpus")
app.add_typer(cache_commands, name="cache")


def main() -> None:
    """Run the command line of this process."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        stdout.print(f"gatescope {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Shows where a Mixture-of-Experts language model sends every token."""
