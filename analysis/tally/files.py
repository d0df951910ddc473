"""A tally as bytes: what is written to disk, and sent from machine to machine."""

import io
import json
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.tally.tally import Facet, Group, Tally, Unit
from gatescope.routing import Provenance, RouterRule


def to_bytes(tally: Tally) -> bytes:
    """A tally as a compressed archive of its tables; no text of any document is in it."""
    arrays = {f"unit/{name}": table for name, table in tally.by_unit.items()}
    groups, stacks = tally.groups, dict[str, list[int]]()
    number_of = {group: number for number, group in enumerate(groups)}
    for name, tables in tally.by_group.items():
        for kind in sorted({table.dtype.str for table in tables.values()}):  # tables of one width as one: they are many
            own = sorted(number_of[group] for group, table in tables.items() if table.dtype.str == kind)
            stacks[f"{name}/{kind[1:]}"] = own
            arrays[f"stack/{name}/{kind[1:]}"] = np.stack([tables[groups[number]] for number in own])
    about = {
        "layers": [asdict(rule) for rule in tally.layers],
        "provenance": {name: value for name, value in asdict(tally.provenance).items() if name != "threads"},
        "units": tally.units,
        "groups": groups,
        "stacks": stacks,
    }
    return archive({"about": np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays})


def archive(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as the archive that numpy reads, packed quickly: most are counts, and mostly zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.asanyarray(array), allow_pickle=False)
            packed.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getbuffer(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return file.getvalue()


def from_bytes(content: bytes, *, only: Collection[str] | None = None) -> Tally:
    """The tally that `to_bytes` wrote; of its statistics all, or `only` those named, the others left packed."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        groups = [Group(domain, language, Facet(facet)) for domain, language, facet in about["groups"]]
        by_unit, by_group = dict[str, NDArray[np.int64]](), dict[str, dict[Group, NDArray[np.int64]]]()
        for path in file.files:
            per, _, rest = path.partition("/")
            name, _, part = rest.partition("/")
            if not name or (only is not None and name not in only):
                continue
            if per == "unit":
                by_unit[name] = file[path]
            elif per == "group":  # as they were written before
                by_group.setdefault(name, {})[groups[int(part)]] = file[path]
            else:
                tables = zip(about["stacks"][rest], file[path], strict=True)
                by_group.setdefault(name, {}).update((groups[number], table) for number, table in tables)
    return Tally(
        layers=tuple(RouterRule(**rule) for rule in about["layers"]),
        provenance=Provenance(**about["provenance"]),
        units=tuple(Unit(*unit) for unit in about["units"]),
        by_unit=by_unit,
        by_group=by_group,
    )
