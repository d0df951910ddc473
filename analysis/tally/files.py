"""A tally as bytes: what is written to disk, and sent from machine to machine."""

import io
import json
import zipfile
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.tally.tally import Facet, Group, Tally, Unit
from gatescope.routing import Provenance, RouterRule

COMPRESSION = 2
"""Of 1 to 9: four times faster than what numpy does (6), for a tenth more bytes."""


def to_bytes(tally: Tally) -> bytes:
    """A tally as a compressed archive of its tables; no text of any document is in it."""
    arrays = {f"unit/{name}": table for name, table in tally.by_unit.items()}
    groups = tally.groups
    for name, tables in tally.by_group.items():
        arrays |= {f"group/{name}/{groups.index(group)}": table for group, table in tables.items()}
    about = {
        "layers": [asdict(rule) for rule in tally.layers],
        "provenance": asdict(tally.provenance),
        "units": tally.units,
        "groups": groups,
    }
    file = io.BytesIO()
    written: dict[str, Any] = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
        for name, table in written.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, table, allow_pickle=False)
    return file.getvalue()


def from_bytes(content: bytes) -> Tally:
    """The tally that `to_bytes` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        groups = [Group(domain, language, Facet(facet)) for domain, language, facet in about["groups"]]
        by_unit = {name.removeprefix("unit/"): file[name] for name in file.files if name.startswith("unit/")}
        by_group: dict[str, dict[Group, NDArray[np.int64]]] = {}
        for path in (name for name in file.files if name.startswith("group/")):
            _, name, number = path.split("/")
            by_group.setdefault(name, {})[groups[int(number)]] = file[path]
    return Tally(
        layers=tuple(RouterRule(**rule) for rule in about["layers"]),
        provenance=Provenance(**about["provenance"]),
        units=tuple(Unit(*unit) for unit in about["units"]),
        by_unit=by_unit,
        by_group=by_group,
    )
