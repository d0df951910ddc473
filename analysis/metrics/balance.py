"""How evenly the work of each layer falls on its experts."""

import numpy as np
from numpy.typing import NDArray

from analysis.registry import Ask, Result, metric
from analysis.tally import Tally


def counts_ule(tally: Tally, ask: Ask) -> NDArray[np.int64]:
    """Assignments by unit, layer and expert, of the facets asked for."""
    return tally.table("assignments")[:, list(ask.facets)].sum(axis=1)


def tokens_of(tally: Tally, ask: Ask) -> tuple[int, int]:
    """Tokens of the facets asked for, and documents."""
    return int(tally.table("tokens")[:, list(ask.facets)].sum()), tally.documents


@metric(
    title="Relative load",
    unit="1 (1: an even share)",
    axes="le",
    range=(0, None),
    uniform="1",
    needs=("assignments", "tokens"),
    source="DeepSeek-V3 technical report, section 4.5.3",
)
def relative_load(tally: Tally, ask: Ask) -> Result:
    """How much work each expert gets, as a multiple of an even share of its layer's assignments."""
    count_le = counts_ule(tally, ask).sum(axis=0).astype(np.float64)
    experts_l1 = np.array([[rule.experts] for rule in tally.layers])
    total_l1 = count_le.sum(axis=1, keepdims=True)
    value_le = np.full(count_le.shape, np.nan)
    is_there_le = (np.arange(count_le.shape[1]) < experts_l1) & (total_l1 > 0)
    np.divide(count_le * experts_l1, total_l1, out=value_le, where=is_there_le)
    tokens, documents = tokens_of(tally, ask)
    return Result(value=value_le, tokens=tokens, documents=documents)
