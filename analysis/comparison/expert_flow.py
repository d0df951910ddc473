"""Around one expert: which experts came first before and after it, and how its load changes along a document."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.facets import PLACES, STARTS
from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.shares import ratio
from gatescope.routing import RoutingRecord


class Flow(NamedTuple):
    """First choices at a neighbouring layer, of tokens whose first choice here is one expert.

    layer       the neighbouring layer
    expert_n, share_n, null_n   its experts, most taken first; share of those tokens, and of all tokens
    other, other_null   the same of all experts that are not named
    tokens      how many tokens these are
    """

    layer: int
    expert_n: NDArray[np.intp]
    share_n: NDArray[np.float64]
    null_n: NDArray[np.float64]
    other: float
    other_null: float
    tokens: int


def flows(
    record: RoutingRecord, layer: int, expert: int, *, is_counted_t: NDArray[np.bool_], most: int = 5
) -> tuple[Flow | None, Flow | None]:
    """Where the tokens that come first to an expert were before, and where they go next; None beyond the ends.

    Units       Shares of tokens by first choice. The null is the neighbouring layer's first choices whatever was
                chosen here; domains are pooled.
    Undefined   None as well where the expert was nobody's first choice.
    """
    first_tl = record.ids_tlk[is_counted_t, :, 0]
    before, after = (
        _flow(first_tl[:, layer] == expert, first_tl[:, near], record.layers[near].experts, near, most)
        if 0 <= near < len(record.layers)
        else None
        for near in (layer - 1, layer + 1)
    )
    return before, after


def _flow(
    is_own_t: NDArray[np.bool_], near_t: NDArray[np.unsignedinteger], experts: int, layer: int, most: int
) -> Flow | None:
    is_there_t = near_t < experts
    own_f = np.bincount(near_t[is_there_t & is_own_t], minlength=experts)
    every_f = np.bincount(near_t[is_there_t], minlength=experts)
    if not own_f.sum():
        return None
    share_f, null_f = own_f / own_f.sum(), every_f / every_f.sum()
    named_n = np.argsort(-share_f, kind="stable")[:most]
    named_n = named_n[share_f[named_n] > 0]
    return Flow(
        layer=layer,
        expert_n=named_n,
        share_n=share_f[named_n],
        null_n=null_f[named_n],
        other=max(0.0, 1 - float(share_f[named_n].sum())),
        other_null=max(0.0, 1 - float(null_f[named_n].sum())),
        tokens=int(own_f.sum()),
    )


class PlaceLoad(NamedTuple):
    """An expert's relative load by place in the document, with its 95 % interval over documents; NaN for no tokens."""

    places: tuple[str, ...]
    value_b: NDArray[np.float64]
    low_b: NDArray[np.float64]
    high_b: NDArray[np.float64]
    whole: float


def place_load(
    record: RoutingRecord, layer: int, expert: int, *, is_counted_t: NDArray[np.bool_], resamples: int = 500
) -> PlaceLoad:
    """How busy an expert is in each stretch of positions, as a multiple of an even share of the work there.

    Intervals draw documents anew; they are NaN with fewer than two.
    Not this    An effect of position alone: texts begin with other words than they go on with.
    """
    bins, experts = len(STARTS), record.layers[layer].experts
    ids_tk = record.ids_tlk[:, layer]
    place_t = record.document_t.astype(np.int64) * bins + np.searchsorted(STARTS, record.position_t, side="right") - 1
    weights = (
        np.any(ids_tk == expert, axis=1) & is_counted_t,
        np.count_nonzero(ids_tk < experts, axis=1) * is_counted_t,
    )
    own_dbc = np.stack(
        [np.bincount(place_t, weight_t, minlength=len(record.documents) * bins) for weight_t in weights], axis=-1
    ).reshape(len(record.documents), bins, 2)

    def load_of(sums_bc: NDArray[np.float64]) -> NDArray[np.float64]:
        return ratio(sums_bc[..., 0] * experts, sums_bc[..., 1])

    low_b = high_b = np.full(bins, np.nan)
    if len(record.documents) > 1:
        found = bootstrap(own_dbc, load_of, resamples=resamples, bias_corrected=False, bounds=(0.0, np.inf))
        low_b, high_b = found.low, found.high
    sums_bc = own_dbc.sum(axis=0)
    return PlaceLoad(PLACES[:bins], load_of(sums_bc), low_b, high_b, float(load_of(sums_bc.sum(axis=0))))
