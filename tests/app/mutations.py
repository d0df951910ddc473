"""One change to one file: how what the project has written may be damaged, each by a seed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

Chance = np.random.Generator
Mutation = Callable[[Path, list[Path], Chance], None]
HUGE = (10**30, 2**63, -1, 2**31, 0)


def _written(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _cut(path: Path, _others: list[Path], chance: Chance) -> None:
    content = path.read_bytes()
    _written(path, content[: chance.integers(0, max(len(content), 1))])


def _flipped(path: Path, _others: list[Path], chance: Chance) -> None:
    content = bytearray(path.read_bytes())
    content[chance.integers(len(content))] ^= 1 << chance.integers(8)
    _written(path, bytes(content))


def _flipped_often(path: Path, others: list[Path], chance: Chance) -> None:
    for _ in range(8):
        _flipped(path, others, chance)


def _zeroed(path: Path, _others: list[Path], chance: Chance) -> None:
    """A stretch that a disk lost."""
    content = bytearray(path.read_bytes())
    at = int(chance.integers(len(content)))
    content[at : at + 64] = bytes(len(content[at : at + 64]))
    _written(path, bytes(content))


def _emptied(path: Path, _others: list[Path], _chance: Chance) -> None:
    _written(path, b"")


def _removed(path: Path, _others: list[Path], _chance: Chance) -> None:
    path.unlink()


def _swapped(path: Path, others: list[Path], chance: Chance) -> None:
    """Another file of its kind, or of any, under its name."""
    others = [other for other in others if other != path]
    kin = [other for other in others if other.suffix == path.suffix] or others
    shutil.copy(kin[chance.integers(len(kin))], path)


def _appended(path: Path, _others: list[Path], chance: Chance) -> None:
    _written(path, path.read_bytes() + chance.bytes(int(chance.integers(1, 40))))


def _doubled(path: Path, _others: list[Path], _chance: Chance) -> None:
    _written(path, path.read_bytes() * 2)


def _shortened_inside(path: Path, _others: list[Path], chance: Chance) -> None:
    content = path.read_bytes()
    at = int(chance.integers(len(content)))
    _written(path, content[:at] + content[at + int(chance.integers(1, 20)) :])


def _made_a_folder(path: Path, _others: list[Path], _chance: Chance) -> None:
    path.unlink()
    path.mkdir()


def _invented(path: Path, _others: list[Path], chance: Chance) -> None:
    """A field more in an object, at its top or within."""
    said = json.loads(path.read_text())
    _objects(said)[chance.integers(len(_objects(said)))]["invented"] = [1, "x"]
    path.write_text(json.dumps(said))


def _left_out(path: Path, _others: list[Path], chance: Chance) -> None:
    said = json.loads(path.read_text())
    filled = [each for each in _objects(said) if each]
    inner = filled[chance.integers(len(filled))]
    del inner[list(inner)[chance.integers(len(inner))]]
    path.write_text(json.dumps(said))


def _set_huge(path: Path, _others: list[Path], chance: Chance) -> None:
    """A number that is none of its kind, in place of some entry."""
    said = json.loads(path.read_text())
    filled = [each for each in _objects(said) if each]
    inner = filled[chance.integers(len(filled))]
    inner[list(inner)[chance.integers(len(inner))]] = HUGE[chance.integers(len(HUGE))]
    path.write_text(json.dumps(said))


def _objects(said: object) -> list[dict]:
    if not isinstance(said, dict):
        return [each for inner in said for each in _objects(inner)] if isinstance(said, list) else []
    return [said, *(each for inner in said.values() for each in _objects(inner))]


ANY: dict[str, Mutation] = {
    "cut": _cut,
    "a bit flipped": _flipped,
    "bits flipped": _flipped_often,
    "a stretch zeroed": _zeroed,
    "emptied": _emptied,
    "removed": _removed,
    "swapped": _swapped,
    "appended to": _appended,
    "doubled": _doubled,
    "bytes left out": _shortened_inside,
    "a folder in its place": _made_a_folder,
}
OF_JSON: dict[str, Mutation] = {"field invented": _invented, "field left out": _left_out, "number huge": _set_huge}


def mutations_of(path: Path) -> dict[str, Mutation]:
    """Those that fit a file."""
    return ANY | (OF_JSON if path.suffix == ".json" else {})
