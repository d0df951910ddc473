"""What the first choices of two models have in common, whatever they call their experts."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.information import mutual_information_bits, shuffled
from gatescope.analysis.statistics.permutation import q_values
from gatescope.analysis.tally.prefixes import without_repeats
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError

MOST_TOKENS = 10_000


class Shared(NamedTuple):
    """How much of one model's first choice the other's tells, for every two layers.

    value_lm    (bits − null) over (the most there could be − null): 0 what chance gives, 1 all of it
    bits_lm     mutual information of the two choices
    null_lm     mean of the same with tokens shuffled within their documents
    p_lm, q_lm  share of shuffles with as many bits, the true one included; q over all pairs of layers
    tokens      tokens compared, of how many documents
    """

    value_lm: NDArray[np.float64]
    bits_lm: NDArray[np.float64]
    null_lm: NDArray[np.float64]
    p_lm: NDArray[np.float64]
    q_lm: NDArray[np.float64]
    tokens: int
    documents: int


def shared_information(
    first: RoutingRecord, second: RoutingRecord, *, permutations: int = 100, most: int = MOST_TOKENS, seed: int = 0
) -> Shared:
    """Do two models tell the same tokens apart? Mutual information of their first experts, layer by layer.

    What documents alone explain is in the null: tokens are shuffled within their documents. Nothing depends on what the
    experts are called. Documents are drawn by `seed` until `most` tokens are reached.

    Shapes      Records of the same tokens, of l and m layers, to (l, m).
    Units       Bits; 1 for the value, which is the share of the smaller entropy that is shared beyond chance.
    Undefined   NaN where a layer always makes the same choice. Tokens whose whole past an earlier document had too are
                left out (`analysis.prefixes`). Errors: OptionError for records of other tokens.
    Not this    That experts do the same work: two routers that only know the word share all that the word tells.
    Source      Shannon 1948; adjusted for chance as by Vinh, Epps and Bailey 2010, with shuffles within documents.
    """
    if not np.array_equal(first.token_t, second.token_t):
        raise OptionError(
            "captures of other tokens",
            expected="the same tokens in both",
            do="capture the same texts with one tokenizer",
        )
    first, second = without_repeats(first, second)
    rows = _drawn(first, most, seed)
    document_n = first.document_t[rows]
    one_nl, two_nm = first.ids_tlk[rows, :, 0].astype(np.intp), second.ids_tlk[rows, :, 0].astype(np.intp)
    bits_lm = _bits(one_nl, two_nm)
    order_bn = shuffled(
        np.arange(len(rows)), document_n.astype(np.intp), permutations, np.random.default_rng([seed, 2])
    )
    shuffle_blm = np.array([_bits(one_nl, two_nm[order_n]) for order_n in order_bn])
    null_lm = shuffle_blm.mean(axis=0)
    p_lm = (1 + (shuffle_blm >= bits_lm - 1e-12).sum(axis=0)) / (1 + permutations)
    most_lm = np.minimum(_entropies(one_nl)[:, None], _entropies(two_nm))
    left_lm = most_lm - null_lm
    value_lm = np.divide(bits_lm - null_lm, left_lm, out=np.full(bits_lm.shape, np.nan), where=left_lm > 1e-9)
    q_lm = q_values(p_lm.ravel()).reshape(p_lm.shape)
    return Shared(value_lm, bits_lm, null_lm, p_lm, q_lm, len(rows), len(np.unique(document_n)))


def _drawn(record: RoutingRecord, most: int, seed: int) -> NDArray[np.intp]:
    """Rows of documents in random order until there are enough, and of no more than that."""
    if record.tokens <= most:
        return np.arange(record.tokens)
    order_d = np.random.default_rng([seed, 3]).permutation(len(record.documents))
    rank_d = np.empty(len(order_d), np.intp)
    rank_d[order_d] = np.arange(len(order_d))
    rows = np.argsort(rank_d[record.document_t], kind="stable")[:most]
    return np.sort(rows)


def _bits(one_nl: NDArray[np.intp], two_nm: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mutual information of every two columns."""
    size, other = int(one_nl.max(initial=0)) + 1, int(two_nm.max(initial=0)) + 1
    bits_lm = np.zeros((one_nl.shape[1], two_nm.shape[1]))
    for layer in range(one_nl.shape[1]):
        place_nm = one_nl[:, [layer]] * other + two_nm
        for column in range(two_nm.shape[1]):
            table = np.bincount(place_nm[:, column], minlength=size * other).reshape(size, other)
            bits_lm[layer, column] = mutual_information_bits(table)
    return bits_lm


def _entropies(choice_nl: NDArray[np.intp]) -> NDArray[np.float64]:
    """Entropy of each column."""
    shares = [np.unique(column, return_counts=True)[1] / len(column) for column in choice_nl.T]
    return np.array([-(share * np.log2(share)).sum() for share in shares])
