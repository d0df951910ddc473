"""What a changed text did to the routes of the tokens that stay: in how many layers each went to other experts."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.comparison.alignment import Alignment
from gatescope.analysis.comparison.compare import overlap_of_rows
from gatescope.routing.record import RoutingRecord


class Changed(NamedTuple):
    """The tokens that two texts share: layers of each that chose other experts, and layers that had any to choose."""

    layers_n: NDArray[np.int64]
    known_n: NDArray[np.int64]


def changed_layers(first: RoutingRecord, second: RoutingRecord, found: Alignment) -> Changed:
    """In how many layers each aligned token's set of experts differs.

    Shapes      Records of the same layers, aligned by `alignment.align`; (aligned tokens,) both.
    Units       Layers, from 0 (the same experts throughout) to all that have an expert for the token.
    Undefined   A layer in which neither has an expert counts nowhere.
    Not this    How much changed: one expert of eight is enough. Nor a change of weights: the order does not matter.
    Source      Sets of executed experts, as in `compare.overlap`.
    """
    share_nl = overlap_of_rows(first, second, found.first_n, found.second_n)
    return Changed((share_nl < 1).sum(axis=1), np.isfinite(share_nl).sum(axis=1))
