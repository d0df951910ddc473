"""Which requests caches of every size serve: counts over the tokens of each document, a layer at a time.

One stack stands for all sizes (Mattson et al. 1970): its first C are what a cache of C keeps, the C most wanted of what
it kept before and of the token's own experts. Where a request makes an expert more wanted, as it does for those used
last and most, the stack is in order of what is wanted (`cache_ranks`); where the next tokens tell, it is not
(`cache_stacks`).
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import in_threads
from gatescope.analysis.tally.cache_ranks import EXPERTS, LAYERS, last_used_depths, most_used_depths
from gatescope.analysis.tally.cache_stacks import AT_ONCE, LANES, best_depths, bits_needed, next_used_hits

LRU, LFU, BEST = 0, 1, 2  # what a cache keeps: the last used, the most used, the next used


def find_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    experts: int,
    policy: int,
    count_glb: NDArray[np.int64],
    order_t: NDArray[np.integer] | None = None,
) -> None:
    """Requests by the depth at which the policy's stack has their expert when the token arrives; at 0 where it is not.

    Shapes      (layers, tokens, slots) to (groups, layers, experts + 1), added to what is there. `order_t`, for LRU:
                which token comes at each place, of the same document.
    """
    start_d, slots = _starts(document_t), ids_ltk.shape[2]
    order_t = np.arange(len(document_t)) if order_t is None else order_t
    width = -(-experts // EXPERTS) * EXPERTS
    rank_kind: type[np.unsignedinteger] = np.uint8 if width <= 256 else np.uint16
    longest = int(np.diff(start_d).max(initial=0))
    wanted_kind: type[np.signedinteger] = np.int16 if longest <= np.iinfo(np.int16).max else np.int32

    def take(layers: slice) -> None:
        own_ltk, own_glb = ids_ltk[layers], count_glb[:, layers]
        if policy == LRU:
            last_used_depths(own_ltk, start_d, order_t, group_t, np.zeros(2 * width, rank_kind), own_glb)
        elif policy == LFU:
            most_used_depths(own_ltk, start_d, group_t, np.zeros(LAYERS * width, rank_kind), own_glb)
        else:
            wanted_x: NDArray[np.signedinteger] = np.zeros(
                longest * -(-slots // AT_ONCE) * AT_ONCE * LANES, wanted_kind
            )
            for first in range(0, len(own_ltk), LANES):
                few = slice(first, first + LANES)
                best_depths(own_ltk[few], start_d, group_t, wanted_x, own_glb[:, few])

    in_threads(take, len(ids_ltk))


def keep_by_next_uses(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    place_t: NDArray[np.integer],
    k_l: NDArray[np.integer],
    experts: int,
    hits_xlbn: NDArray[np.int64],
    order_t: NDArray[np.integer] | None = None,
) -> None:
    """Requests, and hits where 1, 2 … times k are kept that the next tokens use most, of equals the last used.

    Shapes      (layers, tokens, slots) to (places, layers, sizes, 2), added to what is there. `order_t`: which token
                comes at each place, of the same document.
    """
    start_d, sizes = _starts(document_t), hits_xlbn.shape[2]
    order_t = np.arange(len(document_t)) if order_t is None else order_t
    room_lb = np.minimum(np.arange(1, sizes + 1) * np.asarray(k_l)[:, None], experts)
    bits = bits_needed(int(np.diff(start_d).max(initial=0)), ids_ltk.shape[2], experts)
    kind: type[np.signedinteger] = np.int32 if bits < 32 else np.int64

    def take(layers: slice) -> None:
        for first in range(layers.start, layers.stop, LANES):
            few = slice(first, min(first + LANES, layers.stop))
            stack_x: NDArray[np.signedinteger] = np.zeros(int(room_lb[few].max()) * LANES, kind)
            next_used_hits(ids_ltk[few], start_d, order_t, place_t, room_lb[few], experts, stack_x, hits_xlbn[:, few])

    in_threads(take, len(ids_ltk))


def _starts(document_t: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where each document's tokens begin, and the end; documents without tokens are passed over."""
    return np.flatnonzero(np.diff(document_t, prepend=-1, append=-1)).astype(np.intp)
