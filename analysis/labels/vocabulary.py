"""What experts have to do with single words: how much of a word's tokens one expert takes, and which words are whose.

A tally keeps no table of ids by experts, which no bound holds. It keeps tokens: `TAKEN` of every document, drawn by a
hash of the document's words, with their whole routes (`sampled`). A document writes to one of `LEVELS` places, half of
them to the first, a quarter to the second and so on, so that also in a block of many documents some place belongs to
one document alone; only such places are read.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from gatescope.analysis.registry import MetricOptions
from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.load import count_by
from gatescope.analysis.tally.tally import Reading, Tally, TokenRole, statistic
from gatescope.routing import RoutingRecord, empty_slot
from gatescope.routing.errors import OptionError

TAKEN = 8
LEVELS = 6
CONTEXT = 4
"""Two tokens stand in the same context when so many ids before them are the same."""

_COLUMNS = ("documents", "facet", "token", "following", "predicted", "context")
_HASH = np.uint64(0x9E3779B97F4A7C15)
_EXACT = 64
_STEP = 1.15
_REACH = 10.0
_RUNS = 1000


class Sampled(NamedTuple):
    """Tokens of a tally's sample, of some facets.

    document_n   number of the token's document: no two documents have the same
    token_n, following_n, predicted_n
                 its id, the id after it and the id that was predicted; -1 where there is none
    context_n    hash of the ids before it
    ids_nlk      its route; the highest value of the type in an empty slot
    """

    document_n: NDArray[np.int64]
    token_n: NDArray[np.int64]
    following_n: NDArray[np.int64]
    predicted_n: NDArray[np.int64]
    context_n: NDArray[np.int64]
    ids_nlk: NDArray[np.uint16]


class Specialisation(NamedTuple):
    """One layer's vocabulary specialisation over the ids that occur often enough.

    share_ids      mean over ids of the share of an id's tokens that its commonest expert takes
    share_tokens   the same, ids weighed by their tokens
    excess_ids     mean over ids of (share - chance) / (1 - chance); 0: no more than chance, 1: one expert has them all
    excess_tokens  the same, ids weighed by their tokens
    ids            ids that occur often enough
    covered        share of tokens that are of those ids
    """

    share_ids: float
    share_tokens: float
    excess_ids: float
    excess_tokens: float
    ids: int
    covered: float


@statistic(per="unit", axes="usnc", needs="the ids of tokens", names_words=True)
def sampled(reading: Reading) -> NDArray[np.int64]:
    """A few tokens of each document with their routes, drawn by a hash: readable where one document wrote alone."""
    record = reading.record
    width = len(_COLUMNS) + len(record.layers) * record.slots
    table = np.zeros((len(record.documents), LEVELS, TAKEN, width), np.int64)
    chosen = [_chosen(record, number, reading.start_d) for number in range(len(record.documents))]
    row_n = np.concatenate([rows for _, rows in chosen]).astype(np.intp) if chosen else np.zeros(0, np.intp)
    columns_nc, done = _columns(reading, row_n), 0
    for number, (level, rows) in enumerate(chosen):
        table[number, level, : len(rows)] = columns_nc[done : done + len(rows)]
        done += len(rows)
    return table


def sample_of(tally: Tally, ask: MetricOptions) -> Sampled:
    """The readable tokens of the facets asked for."""
    table = tally.table("sampled")
    readable = (table[..., 0] == 1) & np.isin(table[..., 1] - 1, [int(facet) for facet in ask.facets])
    unit_n, level_n, _ = np.nonzero(readable)
    cells_nc = table[readable]
    routes = cells_nc[:, len(_COLUMNS) :] - 1
    layers = len(tally.layers)
    slots = routes.shape[1] // layers
    empty = empty_slot(np.uint16)
    return Sampled(
        document_n=unit_n * LEVELS + level_n,
        token_n=cells_nc[:, 2],
        following_n=cells_nc[:, 3] - 1,
        predicted_n=cells_nc[:, 4] - 1,
        context_n=cells_nc[:, 5],
        ids_nlk=np.where(routes < 0, empty, routes).astype(np.uint16).reshape(-1, layers, slots),
    )


def specialisation(
    ids_tlk: NDArray[np.unsignedinteger], word_t: NDArray[np.integer], experts: int, *, least: int = 10
) -> tuple[Specialisation, ...]:
    """How much of a word's tokens the word's commonest expert takes, beyond what chance would make of so few tokens.

    Shapes      ids_tlk (tokens, layers, slots); word_t (tokens,), negative for a token that has none (the last has no
                next id). One result per layer.
    Units       Shares from 0 to 1. Chance is a router with the layer's own loads that does not see the word: the
                expected largest of its experts' shares, which is 1 for an id seen once and falls with its tokens.
    Undefined   NaN where no id occurs `least` times.
    Not this    An expert's property. Tokens are taken for independent: a word repeated within a document counts as
                often as it stands there.
    Source      OLMoE (arXiv 2409.02060), equation 8; chance from binomial tails.

    Word 5 always goes to expert 0, word 6 to either: of 4 tokens with one of two experts each.

    >>> ids_tlk = np.array([0, 0, 0, 0, 0, 1, 1, 0], np.uint8)[:, None, None]
    >>> layer = specialisation(ids_tlk, np.array([5, 5, 5, 5, 6, 6, 6, 6]), 2, least=4)[0]
    >>> layer.share_ids, layer.share_tokens, layer.ids, layer.covered
    (0.75, 0.75, 2, 1.0)
    """
    if least < 1:
        raise OptionError(f"ids of at least {least} tokens", expected="at least 1", do="pass 10 for a figure")
    known_t = np.asarray(word_t) >= 0
    word_x, place_t, size_x = np.unique(np.asarray(word_t)[known_t], return_inverse=True, return_counts=True)
    rows = ids_tlk[known_t]
    found = []
    for layer in range(ids_tlk.shape[1]):
        ids_t1k = np.ascontiguousarray(rows[:, layer : layer + 1])
        count_xe = count_by(ids_t1k, place_t.astype(np.int64), len(word_x), experts)[:, 0]
        found.append(specialisation_of_counts(count_xe, size_x, least=least))
    return tuple(found)


def specialisation_of_counts(
    count_xe: NDArray[np.integer], tokens_x: NDArray[np.integer], *, least: int = 10
) -> Specialisation:
    """The same from counts of ids by experts, such as published ones; `tokens_x` are the tokens of each id."""
    every = tokens_x.sum()
    rate_e = count_xe.sum(axis=0) / max(every, 1)
    often_x = tokens_x >= least
    if not often_x.any() or not count_xe.sum():
        nan = float("nan")
        return Specialisation(nan, nan, nan, nan, int(often_x.sum()), float(tokens_x[often_x].sum() / max(every, 1)))
    size_x = tokens_x[often_x]
    share_x = count_xe[often_x].max(axis=1) / size_x
    chance_x = largest_by_chance(size_x, rate_e)
    room_x = 1 - chance_x
    excess_x = np.divide(share_x - chance_x, room_x, out=np.full(len(size_x), np.nan), where=room_x > 1e-9)
    known_x = np.isfinite(excess_x)
    return Specialisation(
        share_ids=float(share_x.mean()),
        share_tokens=float(np.average(share_x, weights=size_x)),
        excess_ids=float(excess_x[known_x].mean()) if known_x.any() else float("nan"),
        excess_tokens=float(np.average(excess_x[known_x], weights=size_x[known_x])) if known_x.any() else float("nan"),
        ids=int(often_x.sum()),
        covered=float(size_x.sum() / every),
    )


def largest_by_chance(tokens_x: NDArray[np.integer], rate_e: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected share of the commonest expert in so many tokens, of experts that take tokens at given rates.

    Up to 64 tokens simulated with the same number of experts for each token; above, where that no longer shows, from
    binomial tails at sizes 15 % apart and a line over 1/√n between them.

    One token always has an expert that takes all of it.

    >>> largest_by_chance(np.array([1, 1000]), np.array([0.25, 0.25, 0.25, 0.25])).round(2).tolist()
    [1.0, 0.26]
    """
    largest = int(np.max(tokens_x, initial=1))
    rate_e = np.sort(np.minimum(rate_e[rate_e > 0], 1.0))[::-1]
    if not len(rate_e):
        return np.full(len(tokens_x), np.nan)
    small_n = _simulated(rate_e, min(largest, _EXACT))
    steps = int(np.ceil(np.log(max(largest, _EXACT) / _EXACT) / np.log(_STEP)))
    size_n = np.unique(np.round(_EXACT * _STEP ** np.arange(1, steps + 1)).astype(np.int64))
    root_n = 1 / np.sqrt(np.concatenate([np.arange(1, len(small_n) + 1), size_n]))
    share_n = np.concatenate([small_n, [_largest(int(size), rate_e) for size in size_n]])
    largest_x: NDArray[np.float64] = np.interp(1 / np.sqrt(tokens_x), root_n[::-1], share_n[::-1])
    return largest_x


def log_odds(count_xe: NDArray[np.integer], *, prior: float = 500.0) -> NDArray[np.float64]:
    """How clearly a word is commoner with an expert than with the layer's others: shrunken log-odds over their error.

    Shapes      (words, experts) counts to (words, experts).
    Units       Standard deviations; above 2: more than chance with tokens taken for independent. Words that are rare
                stay near 0, however exclusive: the prior is `prior` assignments with the mix of words of all experts.
    Undefined   NaN for an expert without assignments, and where there is no other expert.
    Not this    A share: see `specialisation`. Nor corrected for words that cluster in documents.
    Source      Monroe, Colaresi and Quinn 2008, log-odds ratio with an informative Dirichlet prior.
    """
    count_xe = np.asarray(count_xe, np.float64)
    word_x1 = count_xe.sum(axis=1, keepdims=True)
    total_e, every = count_xe.sum(axis=0), count_xe.sum()
    pseudo_x1 = prior * word_x1 / max(every, 1.0)
    own, rest = count_xe + pseudo_x1, word_x1 - count_xe + pseudo_x1
    own_rest, rest_rest = total_e + prior - own, every - total_e + prior - rest
    known = (word_x1 > 0) & (own_rest > 0) & (rest_rest > 0) & (total_e > 0) & (total_e < every)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(own / own_rest) - np.log(rest / rest_rest)
        z = odds / np.sqrt(1 / own + 1 / rest)
    return np.where(known, z, np.nan)


class Word(NamedTuple):
    """A word of an expert: how clearly it is the expert's own, its tokens there and in all."""

    token: int
    piece: str
    z: float
    here: int
    tokens: int


def token_table(record: RoutingRecord, layer: int, *, most: int = 10, least: int = 5) -> tuple[tuple[Word, ...], ...]:
    """The words that are most clearly each expert's own, of those with `least` tokens: one row of words per expert.

    Ranked by `log_odds`, so that words seen once do not win; words not above their rate elsewhere are left out.
    Errors: OptionError for a layer that is not there.
    """
    if not 0 <= layer < len(record.layers):
        raise OptionError(f"layer {layer}", expected=f"0 to {len(record.layers) - 1}", do="pass a layer's number")
    word_x, place_t, size_x = np.unique(record.token_t, return_inverse=True, return_counts=True)
    experts = record.layers[layer].experts
    ids_t1k = np.ascontiguousarray(record.ids_tlk[:, layer : layer + 1])
    count_xe = count_by(ids_t1k, place_t.astype(np.int64), len(word_x), experts)[:, 0]
    z_xe = np.where(size_x[:, None] >= least, np.nan_to_num(log_odds(count_xe)), 0.0)
    tables = []
    for expert in range(experts):
        best = np.argsort(-z_xe[:, expert], kind="stable")[:most]
        tables.append(
            tuple(
                Word(int(word_x[x]), record.piece(word_x[x]), float(z_xe[x, expert]), int(count_xe[x, expert]), int(n))
                for x, n in zip(best, size_x[best], strict=True)
                if z_xe[x, expert] > 0
            )
        )
    return tuple(tables)


def _chosen(record: RoutingRecord, number: int, start_d: NDArray[np.intp]) -> tuple[int, NDArray[np.intp]]:
    """A document's place in the table and its drawn tokens, by its name and words."""
    document, start, stop = record.documents[number], start_d[number], start_d[number + 1]
    digest = hashlib.blake2b(f"{document.source}\0{document.id}\0".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(record.token_t[start:stop]).tobytes())
    level, seed = (int.from_bytes(part) for part in (digest.digest()[:8], digest.digest()[8:]))
    return _level(level), start + np.sort(_first(stop - start, seed))


def _columns(reading: Reading, row_n: NDArray[np.intp]) -> NDArray[np.int64]:
    """What is kept of some tokens: `_COLUMNS`, then the route; ids one up, so that 0 is none."""
    record = reading.record
    token_t = record.token_t.astype(np.int64)
    side_t = record.document_t.astype(np.int64) * 2 + (reading.facet_t == TokenRole.ENCODER)
    following_t = np.zeros(record.tokens, np.int64)
    following_t[:-1] = np.where(side_t[1:] == side_t[:-1], token_t[1:] + 1, 0)
    none_t = np.zeros(record.tokens, np.int64)
    predicted_t = none_t if record.predicted_t is None else np.maximum(record.predicted_t.astype(np.int64) + 1, 0)
    flat = record.ids_tlk[row_n].reshape(len(row_n), len(record.layers) * record.slots).astype(np.int64)
    route = np.where(flat == record.empty, 0, flat + 1)
    columns = (none_t + 1, reading.facet_t + 1, token_t, following_t, predicted_t, _context(token_t, side_t))
    return np.column_stack([*(column[row_n].astype(np.int64) for column in columns), route])


def _context(token_t: NDArray[np.int64], side_t: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hash of the ids before each token, as far as they are of its own document."""
    mixed_t = np.zeros(len(token_t), np.uint64)
    for back in range(1, CONTEXT + 1):
        before_t = np.zeros(len(token_t), np.uint64)
        same_t = side_t[back:] == side_t[:-back]
        before_t[back:] = np.where(same_t, token_t[:-back] + 1, 0).astype(np.uint64)
        mixed_t = _mixed(mixed_t + before_t)
    return (mixed_t >> np.uint64(24)).astype(np.int64)


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A well-mixed number for each number (splitmix64)."""
    value = value + _HASH
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _first(tokens: int, seed: int) -> NDArray[np.intp]:
    """The places of a document's tokens with the smallest hashes."""
    hash_t = _mixed(np.arange(tokens, dtype=np.uint64) + np.uint64(seed))
    return np.argsort(hash_t, kind="stable")[:TAKEN]


def _level(number: int) -> int:
    """First place of half of all numbers, second of a quarter …"""
    return min((number & -number).bit_length() - 1 if number else LEVELS, LEVELS - 1)


def _simulated(rate_e: NDArray[np.float64], largest: int) -> NDArray[np.float64]:
    """Mean share of the commonest expert in 1, 2, … tokens that each take a systematic sample of shuffled experts."""
    generator = np.random.default_rng(0)
    order_ne = np.array(_orders(len(rate_e), largest, generator))
    offset_nt = generator.random((largest, _RUNS))
    place_t = generator.permutation(_RUNS * largest)
    return _most_so_far(rate_e, order_ne, offset_nt, place_t) / _RUNS / np.arange(1, largest + 1)


def _orders(experts: int, number: int, generator: np.random.Generator) -> list[NDArray[np.intp]]:
    return [generator.permutation(experts) for _ in range(number)]


@jit
def _most_so_far(
    rate_e: NDArray[np.float64],
    order_ne: NDArray[np.integer],
    offset_nt: NDArray[np.float64],
    place_t: NDArray[np.integer],
) -> NDArray[np.float64]:  # pragma: no cover
    """Tokens of the commonest expert after 1, 2, … tokens, over all runs; a place is a token's number and its run.

    Tokens of one order take the experts on which marks one apart fall: each expert at exactly its rate.
    """
    largest, runs = offset_nt.shape
    experts = len(rate_e)
    most = int(np.ceil(rate_e.sum())) + 1
    chosen_tk, number_t = np.empty((len(place_t), most), np.int64), np.zeros(len(place_t), np.int64)
    for n in range(largest):
        end_e = np.cumsum(rate_e[order_ne[n]])
        for token in range(runs):
            at, mark, place = 0, offset_nt[n, token], place_t[n * runs + token]
            for own in range(int(max(np.ceil(end_e[-1] - mark), 0))):
                while at < experts - 1 and end_e[at] <= mark + own:
                    at += 1
                chosen_tk[place, own] = order_ne[n, at]
                number_t[place] = own + 1
    count_re, most_r, total_n = np.zeros((runs, experts), np.int64), np.zeros(runs, np.int64), np.empty(largest)
    for n in range(largest):
        for run in range(runs):
            for own in range(number_t[n * runs + run]):
                expert = chosen_tk[n * runs + run, own]
                count_re[run, expert] += 1
                most_r[run] = max(most_r[run], count_re[run, expert])
        total_n[n] = most_r.sum()
    return total_n


def _largest(tokens: int, rate_e: NDArray[np.float64]) -> float:
    """Expected largest of independent binomials over their number of trials: the sum of its tail."""
    middle, spread = tokens * rate_e[0], _REACH * (np.sqrt(tokens * rate_e[0]) + 1)
    start, stop = max(0, int(middle - spread)), min(tokens, int(middle + spread))
    below_e = binom.cdf(start, tokens, rate_e)
    rate_e = rate_e[below_e < 1]  # the others never have more
    below = np.prod(binom.cdf(np.arange(start, stop)[:, None], tokens, rate_e), axis=1)
    return float((start + (1 - below).sum()) / tokens)
