"""`gatescope export`: a study or a capture as one file, to be taken elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from gatescope.cli.output import archive_progress, errors_shown, stdout


def export(
    study: Annotated[str, typer.Argument(help="A study or a capture: its path, its name in the Library, or its id.")],
    out: Annotated[Path, typer.Option(help="The archive, a plain tar.")],
) -> None:
    """Write a study, its routes and its results, or a capture, as one file of any size; gatescope import reads it.

    Every file is held to its checksum on the way. Interrupted, the same command goes on where it stopped.
    """
    with errors_shown():
        from gatescope.cache.archive import write_archive
        from gatescope.server.entering import pack
        from gatescope.server.settings import load_settings

        with archive_progress(f"packing {study}") as tell:
            contents, find = pack(load_settings().workspace, study)
            write_archive(out, contents, find, tell=tell)
        sentence = f"{len(contents.files):,} files, {out.stat().st_size:,} bytes"
        stdout.print(f"{out}: {contents.about['name']}, {sentence}", markup=False, highlight=False)
