"""Results as a file: every metric's arrays as they were computed, for pages and programs that draw them again."""

import io
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from analysis.registry import Result
from routing.errors import StoreError

NAME = "results.npz"
ARRAYS = ("value", "low", "high", "null", "p", "q")

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
    """The results that `to_bytes` wrote. Errors: StoreError where the file cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            return {(each["name"], each["by"]): _result(file, number, each) for number, each in enumerate(about)}
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}", expected="results of a study", do="analyse the study again"
        ) from error


def _result(file: Any, number: int, about: dict[str, Any]) -> Result:
    arrays = {what: file[f"{number}/{what}"] for what in ARRAYS if f"{number}/{what}" in file.files}
    return Result(
        **arrays,
        tokens=about["tokens"],
        documents=about["documents"],
        groups=tuple(about["groups"]),
        labels={letter: tuple(names) for letter, names in about["labels"].items()},
        warnings=tuple(about["warnings"]),
    )
