"""A folder of results: every metric's arrays as they were computed, for pages and programs that draw them again.

Its files are read with their checksums (see `cache.sums`); a folder of an older version has none, and is read as it is.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gatescope.analysis.quality.data_warnings import DataWarning
from gatescope.analysis.registry import Result, current_name
from gatescope.analysis.tally.files import archive
from gatescope.analysis.tally.files import from_bytes as tally_from_bytes
from gatescope.analysis.tally.tally import Tally
from gatescope.cache.sums import NAME as SUMS
from gatescope.cache.sums import has, read_checked
from gatescope.routing.errors import RecordError, StoreError

NAME, TALLY, ABOUT = "results.npz", "tally.npz", "study.json"
APART = "results"
"""Folder of the large results, a file each, so that who opens a study for others does not read them."""
MOST_TOGETHER = 1 << 20
"""Bytes of one result's numbers up to which it lies in `results.npz` with the others."""
AGAIN = "analyse the study again"
ARRAYS = ("value", "low", "high", "null", "p", "q", "places")

_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, MemoryError,
    NotImplementedError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error, StoreError, RecordError,
)  # fmt: skip
Said = TypeVar("Said")
Results = Mapping[tuple[str, str], Result]
"""By name of the metric, and by what groups are told: domain, language or nothing."""


class StoredResults:
    """Results as they are read: those that lie together at once, a large one whenever it is asked for."""

    def __init__(self, folder: Path, together: Results, apart: Mapping[tuple[str, str], str]) -> None:
        self._folder, self._together, self._apart = folder, together, apart

    def __getitem__(self, key: tuple[str, str]) -> Result:
        """One result. Errors: KeyError where there is none; StoreError where its file is not what was written."""
        if key in self._together:
            return self._together[key]
        return _read(self._folder / self._apart[key])[0][key]

    def __contains__(self, key: object) -> bool:
        return key in self._together or key in self._apart

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([*self._together, *self._apart])

    def __len__(self) -> int:
        return len(self._together) + len(self._apart)

    def keys(self) -> list[tuple[str, str]]:
        """Name and label of each."""
        return list(self)

    def items(self) -> Iterator[tuple[tuple[str, str], Result]]:
        """Each with its name and label, read one after another."""
        return ((key, self[key]) for key in self)

    def get(self, key: tuple[str, str]) -> Result | None:
        """One result, or None. Errors: as where one is asked for that is there."""
        if key not in self:
            return None
        return self[key]

    def is_apart(self, key: tuple[str, str]) -> bool:
        """Whether it is read anew each time it is asked for."""
        return key in self._apart


def write_results(results: Results, folder: Path) -> None:
    """All results of a study: `results.npz`, and in a folder beside it each large one by itself."""
    together, apart = dict[tuple[str, str], Result](), dict[tuple[str, str], str]()
    for (name, by), result in results.items():
        size = sum(held.nbytes for what in ARRAYS if (held := getattr(result, what)) is not None)
        if size <= MOST_TOGETHER:
            together[name, by] = result
            continue
        (folder / APART).mkdir(exist_ok=True)
        apart[name, by] = f"{APART}/{f'{name}.{by}' if by else name}.npz"
        (folder / apart[name, by]).write_bytes(to_bytes({(name, by): result}))
    (folder / NAME).write_bytes(to_bytes(together, apart))


def to_bytes(results: Results, apart: Mapping[tuple[str, str], str] | None = None) -> bytes:
    """All results as one compressed archive; of those that lie `apart`, in which file."""
    about, arrays = list[dict[str, Any]](), dict[str, NDArray[Any]]()
    for number, ((name, by), result) in enumerate(results.items()):
        said = {each.name: getattr(result, each.name) for each in fields(result) if each.name not in ARRAYS}
        about.append({"name": name, "by": by, **said})
        arrays |= {f"{number}/{what}": getattr(result, what) for what in ARRAYS if getattr(result, what) is not None}
    about += [{"name": name, "by": by, "file": file} for (name, by), file in (apart or {}).items()]
    return archive({"about": np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays})


def read_results(path: Path) -> StoredResults:
    """The results that `write_results` wrote, or `to_bytes`, under the names that metrics have now.

    Errors: StoreError where the file is not what was written.
    """
    together, apart = _read(path)
    return StoredResults(path.parent, together, apart)


def _read(path: Path) -> tuple[dict[tuple[str, str], Result], dict[tuple[str, str], str]]:
    """What one file holds, and what it says of files beside it."""
    folder = path.parent if path.name == NAME or path.parent.name != APART else path.parent.parent
    content = read_checked(folder, path.relative_to(folder).as_posix(), do=AGAIN)
    together, apart = dict[tuple[str, str], Result](), dict[tuple[str, str], str]()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for number, each in enumerate(json.loads(file["about"].tobytes())):
                key = (current_name(each["name"]), each["by"])
                if "file" in each:
                    apart[key] = _beside(each["file"])
                else:
                    together[key] = _result(file, number, each)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    return together, apart


def _beside(name: str) -> str:
    """A file that a study may name: one of its own."""
    if not re.fullmatch(rf"{APART}/[\w.]+\.npz", name):
        raise ValueError(f"{name!r} is no file of a study's results")
    return name


def read_tally(path: Path, *, only: Collection[str] | None = None) -> Tally:
    """The tally of a study, or `only` some of its statistics. Errors: StoreError where the file is not as written."""
    content = read_checked(path.parent, path.name, do=AGAIN)
    try:
        return tally_from_bytes(content, only=only)
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
    return _about(folder, lambda said: tuple(map(str, said.get("lacks", ())))) or ()


def read_warnings(folder: Path) -> tuple[DataWarning, ...] | None:
    """What the study was found to mislead by when it was analysed; None of one that does not say. Errors: likewise."""
    return _about(folder, lambda said: tuple(DataWarning(**each) for each in said["warnings"]))


def _about(folder: Path, take: Callable[[dict[str, Any]], Said]) -> Said | None:
    """A part of what the study says of itself; None where it says nothing."""
    if not has(folder, ABOUT):
        return None
    try:
        return take(json.loads(read_checked(folder, ABOUT, do=AGAIN)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
