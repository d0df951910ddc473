"""Which experts ran for each token, in bytes: all at once where they are few, a window of tokens where they are many.

4 bytes    length of the header, little-endian
header     JSON: channel, tokens, slots, `first`, `end` and `size` of the window, and what each layer's rule says
L*E*4      how often each expert ran in the whole text, little-endian unsigned, E the most experts of any layer
L*4        how many tokens had an expert in each layer
n*L*K*w    ids of the window's tokens, w = 1 or 2 bytes, header.empty = an empty slot
n*L*K      each slot's share of the weight its token gave in that layer: 255 = all of it; absent without weights
"""

import json
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.load import expert_counts
from gatescope.routing.record import RoutingRecord
from gatescope.routing.router import RouterRule

RouteReader = Callable[[str, int], bytes]
"""The message with the routes of the tokens around one, for the matrix of a channel."""

WHOLE_BYTES = 300_000
"""Bytes of ids and shares up to which all of a text are sent at once."""

WINDOW_BYTES = 100_000
"""About how many bytes of them a window has; it begins at a multiple of its size."""


def window_size(record: RoutingRecord) -> int:
    """Tokens of one message: all of a text where they are few enough, else as many as a window holds."""
    width = _id_bytes(record) + (record.weight_tlk is not None)
    bytes_a_token = width * record.ids_tlk.shape[1] * record.slots
    is_whole = record.tokens * bytes_a_token <= WHOLE_BYTES
    return max(1, record.tokens if is_whole else WINDOW_BYTES // bytes_a_token)


def window_first(record: RoutingRecord, token: int) -> int:
    """The first token of the window around one."""
    size = window_size(record)
    return (token if 0 <= token < record.tokens else 0) // size * size


def encode_routes(record: RoutingRecord, channel: str, token: int = 0, *, is_whole: bool = False) -> bytes:
    """The message with the routes of the tokens around one, or of all; the layout is at the head of this file.

    A token that the record does not have counts as the first. `channel` names the matrix that they belong to.
    """
    first, size = (0, record.tokens) if is_whole else (window_first(record, token), window_size(record))
    end = min(first + size, record.tokens)
    ids_tlk, width = record.ids_tlk[first:end], _id_bytes(record)
    counts_le = expert_counts(record).filled(0)
    passed_l = (record.ids_tlk != record.empty).any(axis=2).sum(axis=0)
    header = {
        "channel": channel,
        "tokens": record.tokens,
        "slots": record.slots,
        "first": first,
        "end": end,
        "size": size,
        "id_bytes": width,
        "empty": record.empty if record.empty < 256**width else None,
        "has_weights": record.weight_tlk is not None,
        "layers": [_rule(rule) for rule in record.layers],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # what follows begins at a multiple of four
    counts = counts_le.astype("<u4").tobytes() + passed_l.astype("<u4").tobytes()
    ids = ids_tlk.astype("u1" if width == 1 else "<u2").tobytes()
    return zlib.compress(len(text).to_bytes(4, "little") + text + counts + ids + _shares(record, first, end), 1)


def took(record: RoutingRecord, layer: int, expert: int) -> NDArray[np.bool_]:
    """Which tokens an expert took, shape (tokens,)."""
    taken_t: NDArray[np.bool_] = (record.ids_tlk[:, layer] == expert).any(axis=1)
    return taken_t


def _id_bytes(record: RoutingRecord) -> int:
    """Bytes of an id: one also of 256 experts, where no slot is empty."""
    is_short = record.experts == 256 and not (record.ids_tlk == record.empty).any()
    return 1 if is_short else record.ids_tlk.dtype.itemsize


def _rule(rule: RouterRule) -> dict[str, int]:
    return {
        "experts": rule.experts,
        "k": rule.k,
        "groups": rule.groups,
        "kept": rule.groups_kept,
        "shared": rule.shared_experts,
        "idle": rule.zero_experts,
    }


def _shares(record: RoutingRecord, first: int, end: int) -> bytes:
    """What part of the weight that a token gave in a layer each slot had, as a byte."""
    if record.weight_tlk is None:
        return b""
    weight_tlk = np.abs(record.weight_tlk[first:end].astype(np.float32))
    total_tl1 = weight_tlk.sum(axis=2, keepdims=True)
    share_tlk = np.divide(weight_tlk, total_tl1, out=np.zeros_like(weight_tlk), where=total_tl1 > 0)
    return bytes(np.rint(255 * share_tlk).astype(np.uint8).tobytes())
