"""What a config.json may ask for, looked at before a model is built from it: building takes time for every layer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatescope.routing.errors import ModelNotFoundError

MOST_LAYERS = 4096
"""More than ten times the layers of any model there is."""
MOST_EXPERTS = 65_535
"""Ids of experts are kept in 16 bits."""
MOST_BYTES = 64 * 2**20
_ENDS = {("layers", "layer", "n_layer"): MOST_LAYERS, ("experts",): MOST_EXPERTS}
_SIZES = ("size", "dim", "dims", "head", "heads", "vocab", "input", "tokens")


def check_config(path: Path) -> None:
    """Errors: ModelNotFoundError where a folder's config.json asks for more layers or experts than a model can have.

    A configuration that is no JSON is left to transformers, which says what is wrong with it.
    """
    file = path / "config.json"
    if file.is_file() and (size := file.stat().st_size) > MOST_BYTES:
        raise _too_much(path, f"a config.json of {size:,} bytes", f"at most {MOST_BYTES:,}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    except RecursionError as error:
        raise _too_much(path, "a config.json nested without end", "a configuration") from error
    for name, number in _numbers(config):
        for ends, most in _ENDS.items():
            if name.endswith(ends) and not any(each in _SIZES for each in name.split("_")) and number > most:
                raise _too_much(path, f"a config.json with {name} = {number:,}", f"at most {most:,}")


def _numbers(config: Any) -> Iterator[tuple[str, int]]:
    """Every whole number of a configuration and of those within it, by its name; of a list, its length."""
    todo = [config]
    while todo:
        inner = todo.pop()
        for name, value in inner.items() if isinstance(inner, dict) else ():
            if isinstance(value, dict):
                todo.append(value)
            elif isinstance(value, list):
                todo += [each for each in value[: MOST_LAYERS + 1] if isinstance(each, dict)]
                yield f"{name}_layers" if name.startswith(("layer", "mlp")) else name, len(value)
            elif isinstance(value, int):
                yield name, value


def _too_much(path: Path, found: str, expected: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"{path} holds {found}", expected=expected, do="check the model's configuration")
