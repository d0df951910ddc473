"""Where a trace came from: the model as far as it is known, and a digest of the files themselves where it is not."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gatescope.cache.importers.importer import Given
from gatescope.cache.importers.reading.npz import explained
from gatescope.routing.record import SIMULATION, Provenance


def provenance_of(
    files: Iterable[Path], given: Given, *, engine: str, about: Mapping[str, str] | None = None
) -> Provenance:
    """The provenance of every record of a trace; `said` is what the trace itself says of its model.

    The fingerprint is the model's where it is known; otherwise a digest of the files, marked as such.
    """
    files, told = list(files), dict(about or {})
    if told.get("engine") == SIMULATION:  # whatever model is named, it did not make these routes
        given = replace(given, model="", fingerprint="")
    return Provenance(
        model=given.model or told.get("model", "") or files[0].stem,
        fingerprint=given.fingerprint or told.get("fingerprint", "") or digest(files),
        dtype=told.get("dtype", "unknown"),
        device=told.get("device", "unknown"),
        revision=told.get("revision", ""),
        engine=told.get("engine", engine),
        options={"trace": files[0].name, "files": len(files)},
    )


def digest(files: Iterable[Path]) -> str:
    """16 hexadecimal digits of the bytes of the files, in their order, behind a word that says it is of a trace."""
    whole = hashlib.sha256()
    for file in files:
        with explained(str(file)), file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return f"trace-{whole.hexdigest()[:16]}"
