"""A folder of results: every metric's arrays as they were computed, for pages and programs that draw them again.

Its files are read with their checksums (see `cache.sums`); a folder of an older version has none, and is read as it is.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gatescope.analysis.registry import Result, current_name
from gatescope.analysis.tally.files import from_bytes as tally_from_bytes
from gatescope.analysis.tally.tally import Tally
from gatescope.cache.sums import NAME as SUMS
from gatescope.cache.sums import has, read_checked
from gatescope.routing.errors import RecordError, StoreError

NAME, TALLY, ABOUT = "results.npz", "tally.npz", "study.json"
AGAIN = "analyse the study again"
ARRAYS = ("value", "low", "high", "null", "p", "q", "places")

_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, MemoryError,
    NotImplementedError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error, StoreError, RecordError,
)  # fmt: skip
Results = Mapping[tuple[str, str], Result]
"""By name of the metric, and by what groups are told: domain, language or nothing."""


def to_bytes(results: Results) -> bytes:
    """All results as one compressed archive."""
    about, arrays = [], dict[str, Any]()
    for number, ((name, by), result) in enumerate(results.items()):
        said = {each.name: getattr(result, each.name) for each in fields(result) if each.name not in ARRAYS}
        about.append({"name": name, "by": by, **said})
        arrays |= {f"{number}/{what}": getattr(result, what) for what in ARRAYS if getattr(result, what) is not None}
    file = io.BytesIO()
    np.savez_compressed(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return file.getvalue()


def read_results(path: Path) -> dict[tuple[str, str], Result]:
    """The results that `to_bytes` wrote, under the names that metrics have now.

    Errors: StoreError where the file is not what was written.
    """
    content = read_checked(path.parent, path.name, do=AGAIN)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            return {
                (current_name(each["name"]), each["by"]): _result(file, number, each)
                for number, each in enumerate(about)
            }
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def read_tally(path: Path) -> Tally:
    """The tally of a study. Errors: StoreError where the file is not what was written."""
    content = read_checked(path.parent, path.name, do=AGAIN)
    try:
        return tally_from_bytes(content)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def read_table(folder: Path, name: str) -> pd.DataFrame | None:
    """A table of a study; None where it has none of that name. Errors: as `read_results`."""
    path = f"tables/{name}.parquet"
    if not has(folder, path):
        return None
    content = read_checked(folder, path, do=AGAIN)
    try:
        return pd.read_parquet(io.BytesIO(content))
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise _damaged(folder / path, error) from error


def is_analysed(folder: Path) -> bool:
    """Whether a folder holds the results of a study, or should."""
    return (folder / SUMS).exists() or ((folder / NAME).exists() and (folder / ABOUT).exists())


def lacked(folder: Path) -> tuple[str, ...]:
    """What the study lacked of its corpus when it was analysed. Errors: as `read_results`."""
    if not has(folder, ABOUT):
        return ()
    try:
        return tuple(map(str, json.loads(read_checked(folder, ABOUT, do=AGAIN)).get("lacks", ())))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder / ABOUT, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    said = f"{path} cannot be read: {error or type(error).__name__}"
    return StoreError(said, expected="results of a study", do=AGAIN)


def _result(file: Any, number: int, about: dict[str, Any]) -> Result:
    arrays = {what: file[f"{number}/{what}"] for what in ARRAYS if f"{number}/{what}" in file.files}
    return Result(
        **arrays,
        tokens=about["tokens"],
        documents=about["documents"],
        groups=tuple(about["groups"]),
        labels={letter: tuple(names) for letter, names in about["labels"].items()},
        warnings=tuple(about["warnings"]),
        sizes=tuple(about.get("sizes", ())),
    )
