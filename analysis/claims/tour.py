"""What the tour's questions point at, found in captures: a word whose route parts, an expert that takes certain tokens.

Both are picked as the strongest of many, to be looked at. Neither is a test.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.load import count_by
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.tally import TokenRole, token_roles
from gatescope.routing.record import RoutingRecord

TEXT = (TokenRole.PROMPT, TokenRole.GENERATED)


class Parting(NamedTuple):
    """Two tokens of one id that a layer sends to different experts: `shared` of their `slots` are the same."""

    layer: int
    first: int
    second: int
    shared: int
    slots: int


class Taker(NamedTuple):
    """The expert that most clearly prefers some tokens: the share of them it works on, and of all others.

    low, high   95 % interval over documents of the difference of the two shares
    """

    layer: int
    expert: int
    share: float
    share_of_others: float
    low: float
    high: float
    tokens: int
    documents: int


def widest_parting(record: RoutingRecord) -> Parting | None:
    """Where a token comes again and a layer gives it the fewest of the experts it had; the first of equals.

    Tokens without a letter or digit are passed over, and special ones.
    Undefined   None where no token comes twice, or where every layer gives it the same experts.
    """
    found: Parting | None = None
    for first, second in _repeats(record):
        for layer, rule in enumerate(record.layers):
            one, other = (set(record.ids_tlk[at, layer].tolist()) - {record.empty} for at in (first, second))
            shared = len(one & other)
            if shared < rule.k and (found is None or shared / rule.k < found.shared / found.slots):
                found = Parting(layer, first, second, shared, rule.k)
    return found


def surest_taker(
    record: RoutingRecord, chosen_t: NDArray[np.bool_], *, resamples: int = 1000, seed: int = 0
) -> Taker | None:
    """The expert whose share of the chosen tokens most clearly exceeds its share of all others.

    It has the greatest lower end of the 95 % interval of the difference, over documents.
    Undefined   None with fewer than two documents, or where all tokens are chosen or none is.
    Not this    A test: of as many experts as a model has, some have a large difference by chance.
    """
    text_t = np.isin(token_roles(record), [int(each) for each in TEXT])
    sides = [text_t & chosen_t, text_t & ~chosen_t]
    if len(record.documents) < 2 or not all(side_t.any() for side_t in sides):
        return None
    tables = tuple(table for side_t in sides for table in _counts(record, side_t))
    found = bootstrap(tables, _difference, resamples=resamples, seed=seed, bounds=(-1.0, 1.0))
    if np.isnan(found.low).all():
        return None
    layer, expert = np.unravel_index(np.nanargmax(found.low), found.low.shape)
    share, share_of_others = (_shares(*(table.sum(axis=0)[None] for table in tables[at : at + 2]))[0] for at in (0, 2))
    place = int(layer), int(expert)
    return Taker(
        *place,
        share=float(share[place]),
        share_of_others=float(share_of_others[place]),
        low=float(found.low[place]),
        high=float(found.high[place]),
        tokens=int(sides[0].sum()),
        documents=int(np.count_nonzero(tables[1].any(axis=1))),
    )


def digits(record: RoutingRecord) -> NDArray[np.bool_]:
    """Which tokens are digits and nothing else, white space aside; shape (tokens,)."""
    token_x, place_t = np.unique(record.token_t, return_inverse=True)
    return np.array([record.pieces.get(int(token), "").strip().isdecimal() for token in token_x], bool)[place_t]


def _repeats(record: RoutingRecord) -> list[tuple[int, int]]:
    """Every two places of one token id, in one document, the first places first."""
    text_t = np.isin(token_roles(record), [int(each) for each in TEXT])
    found = []
    for second in np.flatnonzero(text_t).tolist():
        if not any(sign.isalnum() for sign in record.pieces.get(int(record.token_t[second]), "")):
            continue
        alike_t = (record.token_t == record.token_t[second]) & (record.document_t == record.document_t[second]) & text_t
        found += [(first, second) for first in np.flatnonzero(alike_t[:second]).tolist()]
    return found


def _counts(record: RoutingRecord, chosen_t: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of some tokens, by document: those that each expert works on (d, l, e), and all (d, 1)."""
    documents = len(record.documents)
    count_dle = count_by(record.ids_tlk[chosen_t], record.document_t[chosen_t], documents, record.experts)
    return count_dle, np.bincount(record.document_t[chosen_t], minlength=documents)[:, None].astype(np.int64)


def _difference(
    here_ble: NDArray[np.number],
    all_b1: NDArray[np.number],
    other_ble: NDArray[np.number],
    others_b1: NDArray[np.number],
) -> NDArray[np.float64]:
    return _shares(here_ble, all_b1) - _shares(other_ble, others_b1)


def _shares(count_ble: NDArray[np.number], all_b1: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(count_ble, all_b1[:, :, None])
