"""`gatescope serve`: the dashboard on this machine, until it is stopped."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import gatescope
from gatescope.cli.output import errors_shown

SCRIPT = Path(gatescope.__file__).parent / "serve" / "streamlit_app.py"
"""Alone in its folder: Streamlit puts that first on the path. Its settings lie beside it, in `.streamlit`."""


def serve(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the dashboard listens.")] = 8501,
    address: Annotated[str, typer.Option(help="127.0.0.1: this machine alone; 0.0.0.0: whoever reaches it.")] = "",
    workspace: Annotated[
        Path | None, typer.Option(help="Folder of captures and studies (default: the setting).")
    ] = None,
) -> None:
    """Open the dashboard; options that are not known here, such as --server.baseUrlPath=/moe, are Streamlit's."""
    with errors_shown():
        from gatescope.cache.workspace import check_workspace
        from gatescope.server.settings import load_settings

        if workspace is not None:
            os.environ["GATESCOPE_WORKSPACE"] = str(workspace.absolute())
        check_workspace(load_settings().workspace)
    from streamlit.web import cli

    options = [f"--server.port={port}", *([f"--server.address={address}"] if address else []), *context.args]
    sys.argv = ["streamlit", "run", str(SCRIPT), *options]
    cli.main(prog_name="streamlit")
