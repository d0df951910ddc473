"""What lies behind a cell of experts × groups: the documents that use the expert most, the words that bring it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.shares import ratio
from gatescope.routing.record import RoutingRecord


class DocumentUse(NamedTuple):
    """How many tokens of each document count, and how many of these use an expert; shapes (documents,)."""

    tokens_d: NDArray[np.int64]
    here_d: NDArray[np.int64]

    @property
    def share_d(self) -> NDArray[np.float64]:
        """Share of each document's tokens that use the expert, NaN for a document without tokens."""
        return ratio(self.here_d, self.tokens_d)


class WordParts(NamedTuple):
    """Each word's part in a difference of shares between a group's tokens and all others; shapes (words,).

    id_x            token ids, those with the largest part first
    tokens_x        tokens of the word in the group; others_x: in all other documents
    here_x          those of the group that use the expert; others_here_x: those of the others
    part_x          what the word adds to the difference; the parts of all words sum to it
    by_words_x      what of that is the word being more frequent in the group
    by_choice_x     what of that is the expert taking the same word more often in the group
    """

    id_x: NDArray[np.int64]
    tokens_x: NDArray[np.int64]
    others_x: NDArray[np.int64]
    here_x: NDArray[np.int64]
    others_here_x: NDArray[np.int64]
    part_x: NDArray[np.float64]
    by_words_x: NDArray[np.float64]
    by_choice_x: NDArray[np.float64]


def uses_expert(record: RoutingRecord, layer: int, expert: int) -> NDArray[np.bool_]:
    """Which tokens have the expert among those executed in a layer, shape (tokens,)."""
    uses_t: NDArray[np.bool_] = (record.ids_tlk[:, layer] == expert).any(axis=1)
    return uses_t


def document_use(record: RoutingRecord, counted_t: NDArray[np.bool_], layer: int, expert: int) -> DocumentUse:
    """How much each document uses one expert, over the tokens that count."""
    size = len(record.documents)
    here_t = counted_t & uses_expert(record, layer, expert)
    count = [np.bincount(record.document_t[each_t], minlength=size) for each_t in (counted_t, here_t)]
    return DocumentUse(*(each.astype(np.int64) for each in count))


def word_parts(
    record: RoutingRecord, counted_t: NDArray[np.bool_], in_group_d: NDArray[np.bool_], layer: int, expert: int
) -> WordParts:
    """Which words make the difference between how much a group uses an expert and how much all others do.

    With f(x) a word's share of the tokens and r(x) how often the expert takes it, the difference is the sum over words
    of f r in the group less f r elsewhere. Each term is split into the change of f at the mean r and the change of r at
    the mean f; a word that one side does not have is taken as often there as here, so that it counts as words alone.

    Units       Shares of tokens, as `usage_difference`, whose value the parts sum to.
    Undefined   NaN parts where either side has no tokens.
    Not this    A cause: which words come together is not chance. Nor free of noise: at a rare word r is coarse.
    Source      Kitagawa 1955, components of a difference between two rates.
    """
    here_t = uses_expert(record, layer, expert)[counted_t]
    id_x, word_t = np.unique(record.token_t[counted_t], return_inverse=True)
    side_t = np.where(in_group_d[record.document_t[counted_t]], 0, 1)
    tokens_sx, here_sx = np.zeros((2, 2, len(id_x)), np.int64)
    np.add.at(tokens_sx, (side_t, word_t), 1)
    np.add.at(here_sx, (side_t[here_t], word_t[here_t]), 1)
    return _parts(id_x, tokens_sx, here_sx)


def _parts(id_x: NDArray[np.integer], tokens_sx: NDArray[np.int64], here_sx: NDArray[np.int64]) -> WordParts:
    """The parts from the tokens and uses of each word, in the group (0) and elsewhere (1)."""
    share_sx = ratio(tokens_sx, tokens_sx.sum(axis=1, keepdims=True))
    rate_sx = ratio(here_sx, tokens_sx)
    rate_sx = np.where(tokens_sx > 0, rate_sx, rate_sx[::-1])
    by_words_x = (share_sx[0] - share_sx[1]) * rate_sx.mean(axis=0)
    by_choice_x = (rate_sx[0] - rate_sx[1]) * share_sx.mean(axis=0)
    part_x = by_words_x + by_choice_x
    order_x = np.argsort(-part_x, kind="stable")
    count = (*tokens_sx, *here_sx)
    rest = (part_x, by_words_x, by_choice_x)
    return WordParts(id_x[order_x].astype(np.int64), *(each[order_x] for each in (*count, *rest)))
