"""Routes that another engine recorded: one file for each format. A new format is a new file here, and nothing else.

Each file declares one `Importer` named IMPORTER; `IMPORTERS` finds them all.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.routing.errors import TraceError
from gatescope.routing.files import no_file
from gatescope.routing.record import RoutingRecord

__all__ = ["Given", "Importer", "Report", "importers", "read_trace"]


def importers() -> tuple[Importer, ...]:
    """Every importer, by the names of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.IMPORTER for module in modules if hasattr(module, "IMPORTER"))


def read_trace(
    path: Path | str, given: Given | None = None, *, format: str = ""
) -> tuple[Iterator[RoutingRecord], Report]:
    """The records of a foreign trace, as a stream, and a report that fills up while they are read.

    `format` names an importer; without it, the one that knows the file. Errors: TraceError where none does, or several
    do; and while reading, where the trace cannot be understood without guessing.
    """
    path = Path(path)
    if not path.exists():
        raise TraceError(f"no file or folder {path}", expected="a recorded trace", do="check the path")
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        if reason := no_file(each):
            raise TraceError(f"{each} is {reason}", expected="files", do="write the trace into a file first")
    known = importers()
    fitting = [each for each in known if (each.name == format if format else each.detect(path))]
    if len(fitting) != 1:
        found = f"{path} fits {', '.join(each.name for each in fitting) or 'no known format'}"
        raise TraceError(
            found if not format else f"no format {format!r}",
            expected="a trace of " + ", ".join(f"{each.name} ({each.title})" for each in known),
            do="name its format",
        )
    report = Report(format=fitting[0].name)
    return fitting[0].read(path, given or Given(), report), report
