"""A figure's table as it leaves the page: with the layer, the unit, the scope and the model on every row."""

import re
from dataclasses import dataclass

import pandas as pd

from gatescope.app.charts.figure import Figure

EVERY = "all"
"""Stands for the layer where a figure is of all of them."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where numbers come from: a model, its weights, which tokens count, and what changed the routes, if anything."""

    model: str
    fingerprint: str
    scope: str = ""
    intervention: str = ""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What a figure's table needs besides its own columns; a layer or expert that is one of them is left to it.

    own     of capture A; other: of capture B, where it is part of the figure
    """

    figure: Figure
    own: Origin | None = None
    other: Origin | None = None

    @property
    def file(self) -> str:
        """The name of the file, without its ending: figure, model, layer.

        >>> own = Origin(model="org/small", fingerprint="0f")
        >>> Export(figure=Figure(key="load", takeaway="", at={"layer": 3}), own=own).file
        'gatescope-load-org-small-layer-3'
        """
        parts = ["gatescope", self.figure.key]
        if self.own is not None:
            layer = self.figure.at.get("layer", EVERY)
            parts += [self.own.model, f"layer-{layer}" if isinstance(layer, int) else "all-layers"]
        return re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-")

    def table(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table with what is the same on all rows behind its own columns; B's rows name B's model."""
        if self.own is None:
            return frame
        is_b = _is_b(frame)
        added: dict[str, object] = {"layer": EVERY, **self.figure.at, "unit": self.figure.unit or "see column names"}
        is_changed = bool(self.own.intervention or (is_b is not None and self.other and self.other.intervention))
        for name in ("scope", "model", "fingerprint", *(("intervention",) if is_changed else ())):
            mine, theirs = getattr(self.own, name), getattr(self.other, name, "")
            added[name] = [theirs if each else mine for each in is_b] if is_b is not None else mine
        if self.other is not None and is_b is None:
            added |= {"other_model": self.other.model, "other_fingerprint": self.other.fingerprint}
            added |= {"other_intervention": self.other.intervention} if self.other.intervention else {}
        return frame.assign(**{name: value for name, value in added.items() if name not in frame})


def _is_b(frame: pd.DataFrame) -> list[bool] | None:
    """Which rows are of capture B; None where the table does not say whose its rows are."""
    return frame["capture"].astype(str).str.startswith("B").tolist() if "capture" in frame else None
