"""Who is near whom by routing: documents on a plane, and how often nearest neighbours bear one label, beyond chance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gatescope.analysis.comparison.projection import Layout, Points, principal, purity, token_points, unit_points
from gatescope.analysis.tally.tally import Tally
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord


@dataclass(frozen=True)
class Near:
    """Documents' places, and a row for each kind of point, choice of layers and label."""

    places: pd.DataFrame
    purities: pd.DataFrame


def near(tally: Tally, own: RoutingRecord, *, seed: int) -> Near | None:
    """Places and purities; None for fewer than three documents, of which none has a choice of neighbours."""
    documents = unit_points(tally, seed=seed)
    if len(documents) < 3:
        return None
    layers = sorted({0, len(own.layers) // 2, len(own.layers) - 1})
    rows = _rows(documents, "documents", "all", ("domain", "language"), seed)
    rows += _rows(token_points(own, seed=seed), "tokens", "all", ("domain", "language", "token"), seed)
    for layer in layers:
        points = token_points(own, layer=layer, seed=seed)
        rows += _rows(points, "tokens", str(layer), ("domain", "language", "token"), seed)
    return Near(_places(tally, documents, principal(documents)), pd.DataFrame(rows))


def _rows(points: Points, of: str, layer: str, labels: tuple[str, ...], seed: int) -> list[dict[str, object]]:
    """One row for each label that can be asked about."""
    rows = []
    for by in labels:
        try:
            found = purity(points, by, seed=seed)
        except OptionError:
            continue
        if np.isfinite(found.value):
            told = {"value": found.value, "null": found.chance, "p": found.p_value, "greatest": found.greatest}
            rows.append({"of": of, "layer": layer, "label": by, **told, "points": found.points})
    return rows


def _places(tally: Tally, points: Points, layout: Layout) -> pd.DataFrame:
    units = [tally.units[row] for row in points.row_n]
    return pd.DataFrame(
        {
            "domain": [unit.domain for unit in units],
            "language": [unit.language for unit in units],
            "documents": [unit.documents for unit in units],
            "first": layout.place_nc[:, 0],
            "second": layout.place_nc[:, 1],
        }
    )
