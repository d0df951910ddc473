"""Numbers added up where they belong, each in its place: what `np.add.at` does, several times faster."""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit


@jit
def add_known(
    place_t: NDArray[np.integer], value_t: NDArray[np.float64], fixed: float, sums_xn: NDArray[np.int64]
) -> None:  # pragma: no cover
    """Values that are finite by place: how many, and their sum in multiples of 1/fixed.

    >>> sums_xn = np.zeros((2, 2), np.int64)
    >>> add_known(np.array([0, 1, 1]), np.array([0.5, np.nan, 0.25]), 4.0, sums_xn)
    >>> sums_xn.tolist()
    [[1, 2], [1, 1]]
    """
    for token in range(len(place_t)):
        if np.isfinite(value_t[token]):
            sums_xn[place_t[token], 0] += 1
            sums_xn[place_t[token], 1] += np.int64(np.rint(value_t[token] * fixed))


@jit
def count_cells(
    row_t: NDArray[np.integer], column_t: NDArray[np.integer], count_xy: NDArray[np.int64]
) -> None:  # pragma: no cover
    """How often each cell of a table is named."""
    for token in range(len(row_t)):
        count_xy[row_t[token], column_t[token]] += 1


@jit
def add_weights(
    ids_tk: NDArray[np.unsignedinteger],
    weight_tk: NDArray[np.float32],
    place_t: NDArray[np.integer],
    fixed: float,
    mass_xe: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Weights by place and expert in multiples of 1/fixed; an id that is no expert (the empty slot) is passed over."""
    tokens, slots = ids_tk.shape
    experts = mass_xe.shape[1]
    for token in range(tokens):
        for slot in range(slots):
            expert = ids_tk[token, slot]
            if expert < experts:
                mass_xe[place_t[token], expert] += np.int64(np.rint(np.float64(weight_tk[token, slot]) * fixed))


@jit
def count_sets(
    ids_tlk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    k_l: NDArray[np.integer],
    experts: int,
    count_xln: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Tokens with an expert, and with all k of a layer, by place."""
    tokens, layers, slots = ids_tlk.shape
    for token in range(tokens):
        for layer in range(layers):
            filled = 0
            for slot in range(slots):
                filled += ids_tlk[token, layer, slot] < experts
            count_xln[place_t[token], layer, 0] += filled > 0
            count_xln[place_t[token], layer, 1] += filled == k_l[layer]
