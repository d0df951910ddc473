"""Identical beginnings count once: what a causal model does with a token follows from the tokens up to it.

A begin token, or a shared template, that every document starts with is one observation, however many documents there
are. Counted for each of them, one flip of it looks like as many independent flips.
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.routing import RoutingRecord
from gatescope.routing.record import Flag


def first_of_prefix(record: RoutingRecord) -> NDArray[np.bool_]:
    """Where a token, with all that stands before it in its document, was in no earlier document; shape (tokens,).

    Undefined   True where what stands before is not known: image placeholders, embeddings without ids, documents whose
                beginning, or a place before, is not in the record. What an encoder read counts as a whole, together
                with what follows it.
    Not this    A statement about models that read in both directions: there, equal beginnings may go on differently,
                and leaving them out costs a few tokens. Nor equal words: the same word after another text counts.
    """
    start_d = np.searchsorted(record.document_t, np.arange(len(record.documents) + 1))
    shared_d = _shared(record.token_t, start_d[:-1], _known(record, start_d))
    encoder_d = np.add.reduceat(
        np.append((record.flag_t & Flag.ENCODER) > 0, False).astype(np.int64), np.minimum(start_d[:-1], record.tokens)
    )
    encoder_d[np.diff(start_d) == 0] = 0
    shared_d[shared_d <= encoder_d] *= encoder_d[shared_d <= encoder_d] == 0
    place_t = np.arange(record.tokens) - start_d[record.document_t]
    repeated_t: NDArray[np.bool_] = place_t < shared_d[record.document_t]
    return ~repeated_t


def without_repeats(first: RoutingRecord, second: RoutingRecord) -> tuple[RoutingRecord, RoutingRecord]:
    """Two captures of the same tokens without those that `first_of_prefix` tells to be in an earlier document too.

    Nothing is left out twice: what has been through here once comes back as it is.
    """
    counts_t = first_of_prefix(first)
    return (first, second) if counts_t.all() else (first.take(counts_t), second.take(counts_t))


def _known(record: RoutingRecord, start_d: NDArray[np.intp]) -> NDArray[np.int64]:
    """How many tokens each document begins with whose whole past is known."""
    unknown_t = (record.token_t < 0) | ((record.flag_t & Flag.IMAGE) > 0) | _follows_a_gap(record)
    known_d = np.diff(start_d).astype(np.int64)
    for document, start in enumerate(start_d[:-1]):
        unknown = np.flatnonzero(unknown_t[start : start + known_d[document]])
        known_d[document] = int(unknown[0]) if len(unknown) else known_d[document]
    return known_d


def _follows_a_gap(record: RoutingRecord) -> NDArray[np.bool_]:
    """Where the token right before is not in the record; positions count anew behind what an encoder read."""
    is_gap_t: NDArray[np.bool_] = record.position_t != 0
    follows_t = (np.diff(record.document_t) == 0) & (np.diff(record.flag_t & Flag.ENCODER) == 0)
    is_gap_t[1:][follows_t] = np.diff(record.position_t)[follows_t] != 1
    return is_gap_t


def _shared(token_t: NDArray[np.int32], start_d: NDArray[np.intp], known_d: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many tokens each document begins with that some earlier one begins with too.

    Documents that began alike so far are told apart by their next token, until each stands alone.
    """
    shared_d = np.zeros(len(start_d), np.int64)
    alike, group, place = np.arange(len(start_d)), np.zeros(len(start_d), np.int64), 0
    while len(alike) > 1:
        goes_on = known_d[alike] > place
        alike, group = alike[goes_on], group[goes_on]
        key = (group << 32) + token_t[start_d[alike] + place]
        _, first, group, size = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        shared_d[alike[first[group] != np.arange(len(alike))]] = place + 1
        alike, group, place = alike[size[group] > 1], group[size[group] > 1], place + 1
    return shared_d
