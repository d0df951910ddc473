"""What one expert takes: its words, found in one half of the documents and held against the other, and contexts there.

Words that are picked as the most striking always look striking in the documents they were picked from. So documents
are split into two halves by a hash of what they are: words are picked in one, what is claimed is counted in the other.
"""

import hashlib
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from gatescope.analysis.labels.vocabulary import log_odds
from gatescope.analysis.statistics.permutation import q_values
from gatescope.analysis.statistics.shares import ratio
from gatescope.routing import Flag, RoutingRecord
from gatescope.routing.errors import OptionError

Kind = Literal["read", "predicted", "next"]
LEAST = 5
"""Tokens a word needs in the half it is picked in."""

RESAMPLES = 500
FEW_DOCUMENTS = 5
SURE = 0.05


class ExpertWord(NamedTuple):
    """A word of an expert.

    z, q           shrunken log-odds over their error in the half it was picked in, and q over that half's words
    lift           its share of the expert's tokens over its share of all tokens, there
    here, tokens   tokens of the word that the expert worked on, and all of them, there
    held_lift, held_here, held_tokens
                   the same in the other half; NaN and 0 without one
    """

    token: int
    z: float
    q: float
    lift: float
    here: int
    tokens: int
    held_lift: float
    held_here: int
    held_tokens: int


class Vocabulary(NamedTuple):
    """An expert's words, and how much of its work they are in the documents they were not picked from.

    own, every   share of the expert's tokens, and of all tokens, that are of those words in the other half
    lift         own over every; low, high: 95 % over documents. All NaN where there is no other half
    tokens, documents   how many of the expert's tokens the other half has, and how many documents
    """

    words: tuple[ExpertWord, ...]
    own: float
    every: float
    lift: float
    low: float
    high: float
    tokens: int
    documents: int


def held_out(record: RoutingRecord) -> NDArray[np.bool_]:
    """Which documents are held out, half of them on average: (documents,). None of a single one.

    By a hash of what a document is: the same documents are held out whatever they stand beside.
    """
    if len(record.documents) < 2:
        return np.zeros(len(record.documents), bool)
    start_d = np.searchsorted(record.document_t, np.arange(len(record.documents) + 1))
    held_d = np.zeros(len(record.documents), bool)
    for number, document in enumerate(record.documents):
        digest = hashlib.blake2b(f"half\0{document.source}\0{document.id}\0".encode(), digest_size=8)
        digest.update(np.ascontiguousarray(record.token_t[start_d[number] : start_d[number + 1]]).tobytes())
        held_d[number] = digest.digest()[0] & 1
    return held_d


def words_of(record: RoutingRecord, kind: Kind) -> NDArray[np.int64]:
    """The id that counts for each token: the one read, the one predicted there, or the one that followed; -1 for none.

    Errors      OptionError where predictions were not recorded.
    """
    if kind == "read":
        return record.token_t.astype(np.int64)
    if kind == "next":
        side_t = record.document_t.astype(np.int64) * 2 + (record.flag_t & Flag.ENCODER > 0)
        next_t = np.full(record.tokens, -1, np.int64)
        next_t[:-1] = np.where(side_t[1:] == side_t[:-1], record.token_t[1:], -1)
        return next_t
    if record.predicted_t is None:
        raise OptionError(
            "no predictions in this capture", expected="what the model predicted", do="capture again with losses"
        )
    return record.predicted_t.astype(np.int64)


def uses(record: RoutingRecord, layer: int, expert: int) -> NDArray[np.bool_]:
    """Which tokens an expert of a layer worked on: (tokens,)."""
    uses_t: NDArray[np.bool_] = np.any(record.ids_tlk[:, layer] == expert, axis=1)
    return uses_t


def vocabulary(
    record: RoutingRecord,
    layer: int,
    expert: int,
    kind: Kind,
    *,
    is_counted_t: NDArray[np.bool_],
    most: int = 12,
    least: int = LEAST,
) -> Vocabulary:
    """The words that are most clearly an expert's own, picked in one half of the documents, counted in the other too.

    Ranked by `analysis.vocabulary.log_odds`, of words with `least` tokens in the half they are picked in; words that
    are not above their rate elsewhere are left out. q is over the words of that half, tokens taken for independent:
    what holds beyond that is what the other half shows.
    Errors      OptionError where the expert was never chosen, or predictions were not recorded.
    """
    word_t, own_t = words_of(record, kind), uses(record, layer, expert) & is_counted_t
    known_t = is_counted_t & (word_t >= 0)
    if not own_t.any():
        raise OptionError(f"expert {expert} never chosen here", expected="tokens of it", do="choose another expert")
    held_t = held_out(record)[record.document_t]
    if not (known_t & ~held_t).any():
        held_t = ~held_t
    word_x, place_c = np.unique(word_t[known_t], return_inverse=True)
    own_c, held_c = own_t[known_t], held_t[known_t]
    here_hx, all_hx = (
        np.stack([np.bincount(place_c[which_c & (held_c == held)], minlength=len(word_x)) for held in (False, True)])
        for which_c in (own_c, np.ones(len(own_c), bool))
    )
    slots_x = np.bincount(place_c[~held_c], _filled(record, layer)[known_t][~held_c], minlength=len(word_x))
    z_x = np.nan_to_num(log_odds(np.stack([here_hx[0], slots_x - here_hx[0]], axis=1))[:, 0])
    often_x = all_hx[0] >= least
    q_x = np.full(len(word_x), np.nan)
    q_x[often_x] = q_values(norm.sf(z_x[often_x])) if often_x.any() else q_x[often_x]
    order_x = np.argsort(-np.where(often_x, z_x, 0.0), kind="stable")[:most]
    chosen_x = order_x[(z_x[order_x] > 0) & often_x[order_x]]
    lift_hx = _lift(here_hx, all_hx)
    words = tuple(
        ExpertWord(
            token=int(word_x[x]),
            z=float(z_x[x]),
            q=float(q_x[x]),
            lift=float(lift_hx[0, x]),
            here=int(here_hx[0, x]),
            tokens=int(all_hx[0, x]),
            held_lift=float(lift_hx[1, x]),
            held_here=int(here_hx[1, x]),
            held_tokens=int(all_hx[1, x]),
        )
        for x in chosen_x.tolist()
    )
    is_word_c = np.isin(place_c, chosen_x[q_x[chosen_x] < SURE])
    return _held_against(words, is_word_c, own_c, held_c, record.document_t[known_t])


def _filled(record: RoutingRecord, layer: int) -> NDArray[np.int64]:
    filled_t: NDArray[np.int64] = np.count_nonzero(record.ids_tlk[:, layer] != record.empty, axis=1)
    return filled_t


def _lift(here_hx: NDArray[np.integer], all_hx: NDArray[np.integer]) -> NDArray[np.float64]:
    """A word's share of the expert's tokens over its share of all, in each half."""
    own_hx = ratio(here_hx, here_hx.sum(axis=1, keepdims=True))
    return ratio(np.nan_to_num(own_hx, nan=-1.0), ratio(all_hx, all_hx.sum(axis=1, keepdims=True))).clip(min=0)


def _held_against(
    words: tuple[ExpertWord, ...],
    is_word_c: NDArray[np.bool_],
    own_c: NDArray[np.bool_],
    held_c: NDArray[np.bool_],
    document_c: NDArray[np.integer],
) -> Vocabulary:
    """How much of the expert's work the words are in the half that was held out, with its interval over documents."""
    met, place_h = np.unique(document_c[held_c], return_inverse=True)
    parts = [is_word_c & own_c, own_c, is_word_c, np.ones(len(own_c), bool)]
    sums_pd = np.stack([np.bincount(place_h, part[held_c], minlength=len(met)) for part in parts])
    nan = float("nan")
    own, every, lift = _covered(sums_pd.sum(axis=1)) if len(met) else (nan, nan, nan)
    low = high = nan
    if len(met) >= FEW_DOCUMENTS and np.isfinite(lift):
        drawn_bd = np.random.default_rng(0).integers(len(met), size=(RESAMPLES, len(met)))
        lift_b = np.array([_covered(sums_pd[:, drawn_d].sum(axis=1))[2] for drawn_d in drawn_bd])
        low, high = np.nanquantile(lift_b, [0.025, 0.975]).tolist() if np.isfinite(lift_b).any() else (nan, nan)
    return Vocabulary(words, own, every, lift, low, high, int(sums_pd[1].sum()), len(met))


def _covered(sums_p: NDArray[np.float64]) -> tuple[float, float, float]:
    both, own, word, every = sums_p.tolist()
    share, base = (both / own if own else float("nan")), (word / every if every else float("nan"))
    return share, base, (share / base if base else float("nan"))


class Contexts(NamedTuple):
    """Rows of tokens that an expert worked on: some at random, and those it was given most weight for.

    `is_held_out`: whether they are of the documents that words were not picked from.
    """

    random_n: NDArray[np.intp]
    top_n: NDArray[np.intp]
    is_held_out: bool


def contexts(
    record: RoutingRecord, layer: int, expert: int, *, is_counted_t: NDArray[np.bool_], most: int = 6, seed: int = 0
) -> Contexts:
    """Where an expert worked, of the held-out documents if there are any: at random, and by weight, one a document.

    Errors      OptionError where the expert was never chosen.
    """
    own_t = uses(record, layer, expert) & is_counted_t
    held_t = own_t & held_out(record)[record.document_t]
    row_n = np.flatnonzero(held_t if held_t.any() else own_t)
    if not len(row_n):
        raise OptionError(f"expert {expert} never chosen here", expected="tokens of it", do="choose another expert")
    random_n = np.sort(np.random.default_rng(seed).choice(row_n, size=min(most, len(row_n)), replace=False))
    return Contexts(random_n, _heaviest(record, layer, expert, row_n, most), bool(held_t.any()))


def weight_of(record: RoutingRecord, layer: int, expert: int, row_n: NDArray[np.intp]) -> NDArray[np.float64]:
    """The weight an expert was given for some tokens; NaN where weights were not recorded."""
    if record.weight_tlk is None:
        return np.full(len(row_n), np.nan)
    is_own_nk = record.ids_tlk[row_n, layer] == expert
    weight_n: NDArray[np.float64] = np.where(is_own_nk, record.weight_tlk[row_n, layer].astype(np.float64), 0.0).sum(
        axis=1
    )
    return weight_n


def _heaviest(record: RoutingRecord, layer: int, expert: int, row_n: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    weight_n = weight_of(record, layer, expert, row_n)
    if np.isnan(weight_n).all():
        return row_n[:0]
    order_n = row_n[np.argsort(-weight_n, kind="stable")]
    _, first_d = np.unique(record.document_t[order_n], return_index=True)
    return order_n[np.sort(first_d)[:most]] if len(first_d) >= min(most, 2) else order_n[:most]
