"""`gatescope open`: what lies anywhere on the disk, in the Library of the dashboard, without a copy."""

from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.output import errors_shown, say_where


def open_path(
    path: Annotated[
        Path,
        typer.Argument(help="A capture, a folder of a study or of results, another workspace, or an archive."),
    ],
    name: Annotated[str, typer.Option(help="What it is called in the Library (default: as its file is).")] = "",
    routes: Annotated[Path | None, typer.Option(help="Of results: the study that they are of.")] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Where the Library lists only what was shared: share it with everybody.")
    ] = False,
) -> None:
    """Put something into the Library where it lies, and say at which address it is seen.

    Nothing is copied, and nothing there is changed; only an archive, which cannot be read in place, is unpacked, as
    gatescope import does. A study or a capture that is in the Library already may be named by its name or id.
    """
    with errors_shown():
        from gatescope.cache.archive import is_archive
        from gatescope.cli.import_routes import take_archive
        from gatescope.server import entering
        from gatescope.server.metadata import MetadataStore
        from gatescope.server.places import find_named
        from gatescope.server.settings import load_settings

        settings = load_settings()
        if is_archive(path):
            take_archive(settings, path, None, name)
            return
        if path.exists():
            id = entering.open_path(settings.workspace, path, name=name, routes=routes)
        else:
            id = find_named(settings.workspace, str(path)).name
        if share:
            MetadataStore(settings.workspace).share(id, "", is_shared=True)
        say_where(settings, id)
