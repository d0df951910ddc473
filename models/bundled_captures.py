"""What comes with a bundled model besides its weights: captures, ready to look at.

`python -m gatescope.training.ship` makes them.

captures/welcome.gsr          the text a first visitor sees
captures/probe.gsr            the probe set
captures/history/<step>.gsr   some of the probe set at steps of the training, routes alone
captures/SHA256SUMS           the checksums of all of them
"""

from pathlib import Path
from typing import NamedTuple

from gatescope.cache.schema import decode
from gatescope.cache.sums import read_checked
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import ModelNotFoundError
from gatescope.routing.record import RoutingRecord

WELCOME_TEXT = "The bank raised its rates while a heron slept on the river bank. 17 + 25 = 42, she said."
"""What the first visitor's model has read."""


class Moment(NamedTuple):
    """One capture of a training run: how far the run was, and where the probe's tokens went."""

    step: int
    tokens: int
    record: RoutingRecord


def folder_of(name: str) -> Path:
    """The folder of a bundled model's captures. Errors: ModelNotFoundError for a name that is not bundled."""
    if name not in BUNDLED_MODELS:
        raise ModelNotFoundError(
            f"no bundled model {name!r}", expected=f"one of {', '.join(BUNDLED_MODELS)}", do="name one of them"
        )
    return BUNDLED_MODELS[name] / "captures"


def welcome(name: str) -> RoutingRecord:
    """The capture of `WELCOME_TEXT`. Errors: ModelNotFoundError, RecordError, StoreError."""
    return _read(folder_of(name) / "welcome.gsr")


def probed(name: str) -> RoutingRecord:
    """The capture of the probe set: all of `corpora.probe()`, in its order. Errors: as `welcome`."""
    return _read(folder_of(name) / "probe.gsr")


def history(name: str) -> list[Moment]:
    """Captures of the same texts over training, the untrained model first and the one that ships last.

    The documents carry their ids and labels; their texts are those of the probe set. Errors: as `welcome`.
    """
    paths = sorted((folder_of(name) / "history").glob("*.gsr"))
    if not paths:
        raise _missing(folder_of(name) / "history")
    moments = [(int(path.stem), _read(path)) for path in paths]
    return [Moment(step, int(record.provenance.options["trained_tokens"] or 0), record) for step, record in moments]


def _read(path: Path) -> RoutingRecord:
    if not path.exists():
        raise _missing(path)
    folder = next(each for each in path.parents if each.name == "captures")
    do = "restore the file, or run: python -m gatescope.training.ship NAME"
    return decode(read_checked(folder, path.relative_to(folder).as_posix(), do=do))


def _missing(path: Path) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"no {path}", expected="a bundled model with its captures", do="run: python -m gatescope.training.ship NAME"
    )
