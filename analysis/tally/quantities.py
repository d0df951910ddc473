"""Quantities of single tokens and layers, such as how sure the gate was, and how those of a record are counted."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.tally.tally import Reading, TokenRole
from gatescope.analysis.tally.token_values import BINS, Shares, count_values, shares_of
from gatescope.routing import RouterRule

LARGEST = 2.0**12
"""Numbers beyond this are no scores of a router: they count as not known, and sums stay exact."""
ROWS = 4096

Take = Callable[["Rows"], NDArray[np.float64] | None]
Even = Callable[[RouterRule], float]


class Quantity(NamedTuple):
    """One number per token: how a record gives it for some tokens of a layer, and what an indifferent router has.

    Quantities that are worked out from the same are counted together: `reads` names what that is.
    """

    name: str
    title: str
    unit: str
    meaning: str
    take: Take
    reads: str
    even: Even | None = None
    range: tuple[float | None, float | None] = (0, None)
    uniform: str = ""
    source: str = "Shannon 1948"


class Rows:
    """Some tokens of a layer of a record: what the values of several quantities are worked out from."""

    def __init__(self, reading: Reading, rule: RouterRule, rows: slice) -> None:
        self.reading, self.record, self.rule, self.rows = reading, reading.record, rule, rows

    @cached_property
    def shares(self) -> Shares | None:
        """What the weights of the chosen experts say."""
        weight_ltk = self.reading.weights_by_layer()
        return None if weight_ltk is None else shares_of(weight_ltk[self.rule.layer, self.rows])


DECLARED: dict[str, Quantity] = {}
"""Every quantity that statistics are taken of."""


def counted_once(reading: Reading, quantity: Quantity) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Sums and bins, which are asked for one after the other, of values that are worked out once; None of none.

    All quantities that are read out of the same are counted together.
    """
    if quantity.name not in reading.memo:
        alike = [each for each in DECLARED.values() if each.reads == quantity.reads]
        reading.memo.update(zip((each.name for each in alike), _count(reading, alike), strict=True))
    both: tuple[NDArray[np.int64], NDArray[np.int64]] | None = reading.memo[quantity.name]
    return both


def _count(
    reading: Reading, quantities: Sequence[Quantity]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]] | None]:
    """Sums and bins of each, some tokens of a layer at a time; None of what is not recorded."""
    record, documents, facets = reading.record, len(reading.record.documents), len(TokenRole)
    place_t = record.document_t.astype(np.int64) * facets + reading.facet_t
    sums_qlxn = np.zeros((len(quantities), len(record.layers), documents * facets, 2), np.int64)
    bins_q = [np.zeros((len(record.layers), len(reading.groups), BINS - first_bin(q)), np.int64) for q in quantities]
    empty, seen = record.empty, dict.fromkeys(range(len(quantities)), True)
    for rule in record.layers:
        first_t = np.ascontiguousarray(record.ids_tlk[:, rule.layer, 0])
        for start in range(0, max(1, record.tokens), ROWS):
            rows = slice(start, min(start + ROWS, record.tokens))
            some = Rows(reading, rule, rows)
            for at, quantity in enumerate(quantities):
                value_t = quantity.take(some) if seen[at] else None
                seen[at] = value_t is not None
                if value_t is not None:
                    sums_xn, bins_gb = sums_qlxn[at, rule.layer], bins_q[at][rule.layer]
                    largest = LARGEST**2 if quantity.name == "z_loss" else LARGEST
                    value_t, place_g = np.ascontiguousarray(value_t), (place_t[rows], reading.group_t[rows])
                    count_values(value_t, first_t[rows], empty, *place_g, largest, sums_xn, bins_gb)
    return [
        (
            np.ascontiguousarray(sums_qlxn[at].swapaxes(0, 1)).reshape(documents, facets, -1, 2),
            np.ascontiguousarray(bins_q[at].swapaxes(0, 1)),
        )
        if seen[at]
        else None
        for at in range(len(quantities))
    ]


def first_bin(quantity: Quantity) -> int:
    """Bins of numbers below 0 are left out where there can be none (a margin below 0 is rounding: it counts as 0)."""
    return 0 if quantity.range[0] is None else BINS // 2
