"""The statistics that are plain counts: who was used how often, with how much weight, how sure the gate was."""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.load import narrow_count_by
from gatescope.analysis.tally.adding import add_weights
from gatescope.analysis.tally.layers import by_layer
from gatescope.analysis.tally.tally import FIXED, Reading, TokenRole, statistic

FACETS = len(TokenRole)
LOSS_FIXED = 2.0**20


@statistic(per="unit", axes="uf")
def tokens(reading: Reading) -> NDArray[np.int64]:
    """Tokens of each document and facet."""
    return _by_place(reading, np.ones(reading.record.tokens, np.int64))


@statistic(per="unit", axes="ufle")
def assignments(reading: Reading) -> NDArray[np.unsignedinteger]:
    """Slots that each expert filled, by document and facet."""
    record = reading.record
    count_xle = narrow_count_by(record.ids_tlk, _places(reading), len(record.documents) * FACETS, record.experts)
    return count_xle.reshape(len(record.documents), FACETS, *count_xle.shape[1:])


@statistic(per="unit", axes="ufle", needs="weights")
def gate_mass(reading: Reading) -> NDArray[np.int64] | None:
    """Weight that each expert was given, in multiples of 1/FIXED, by document and facet."""
    record = reading.record
    weight_ltk = reading.weights_by_layer()
    if weight_ltk is None:
        return None
    mass_xle = np.zeros((len(record.documents) * FACETS, len(record.layers), record.experts), np.int64)
    ids_ltk, place_t = by_layer(record.ids_tlk), _places(reading)
    for layer, weight_tk in enumerate(weight_ltk):
        add_weights(ids_ltk[layer], weight_tk.astype(np.float64), place_t, FIXED, mass_xle[:, layer])
    return mass_xle.reshape(len(record.documents), FACETS, *mass_xle.shape[1:])


@statistic(per="unit", axes="ufn", needs="losses")
def losses(reading: Reading) -> NDArray[np.int64] | None:
    """Tokens with a loss, and their nats in multiples of 1/LOSS_FIXED, by document and facet."""
    if reading.record.loss_t is None:
        return None
    known_t = np.isfinite(reading.record.loss_t)
    nats_t = np.rint(np.where(known_t, reading.record.loss_t, 0).astype(np.float64) * LOSS_FIXED).astype(np.int64)
    return np.stack([_by_place(reading, known_t.astype(np.int64)), _by_place(reading, nats_t)], axis=-1)


def _places(reading: Reading) -> NDArray[np.int64]:
    """Document and facet of each token as one number."""
    return reading.record.document_t.astype(np.int64) * FACETS + reading.facet_t


def _by_place(reading: Reading, value_t: NDArray[np.int64]) -> NDArray[np.int64]:
    sums_x = np.zeros(len(reading.record.documents) * FACETS, np.int64)
    np.add.at(sums_x, _places(reading), value_t)
    return sums_x.reshape(-1, FACETS)
