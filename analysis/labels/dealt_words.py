"""Information at the same word under many deals of the labels at once: the same sums, a vector of deals at a time.

A deal changes which label a document has, and nothing else: what a document's tokens of a word chose is counted once,
and every deal adds the same counts up by other labels. So one pass goes over the counts, each of them met by a vector
of deals. Where a word and an expert have few assignments, the counts of several labels share one small number, and what
they add to the sum is read from a table for all of them together.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.words import ById, n_log_n_of, n_log_n_table
from gatescope.analysis.statistics.jit import jit, threads

_BITS = (2, 3, 4, 6, 16)
"""Bits of one label's count, up to which so many assignments of a word and expert are counted in a 16-bit number."""
_PACKED = 12
"""Bits of the labels that share a number: a table of as many places stays in the processor's first cache."""
_LANES = 256
_PARTS = 16
"""Parts that words are dealt to, whatever the number of threads, so that sums have the same last bits."""
_MOST16 = 65535


class Sums(NamedTuple):
    """By layer and deal, over words: n log2 n of (label, expert) less that of the expert, of all less that of labels.

    (bits of expert and label) · total = inner + outer
    """

    inner_lb: NDArray[np.float64]
    outer_lb: NDArray[np.float64]
    total_lb: NDArray[np.float64]


class _Packing(NamedTuple):
    """How labels share numbers, by the bits that each has.

    labels_c    labels in one number
    words_c     numbers that all labels take
    first_c     where those begin among the numbers of all ways
    table_cn    n log2 n of the counts in one number, added up; for a single label, of its count
    """

    labels_c: NDArray[np.int64]
    words_c: NDArray[np.int64]
    first_c: NDArray[np.int64]
    table_cn: NDArray[np.float64]


def dealt_sums(table: ById, group_bd: NDArray[np.integer], groups: int, least: int) -> Sums:
    """The sums of each deal, (deals, documents): under a label an id counts if it has `least` tokens there.

    An id that is so often under fewer than two labels counts under none.
    """
    shape = len(table.ids_lpk), len(group_bd)
    sums = Sums(*(np.zeros(shape) for _ in range(3)))
    n_log_n, packing = n_log_n_table(table.ids_lpk.swapaxes(0, 1)), _packing(groups)
    kind = np.uint8 if groups < np.iinfo(np.uint8).max else np.uint16
    dealt_db = np.ascontiguousarray(group_bd.T.astype(kind))

    def take(part: slice) -> tuple[NDArray[np.float64], ...]:
        own = []
        for start in range(0, shape[1], _LANES):
            some_db = np.ascontiguousarray(dealt_db[:, start : start + _LANES])
            sums = tuple(np.zeros((shape[0], some_db.shape[1])) for _ in range(3))
            _take(
                table.ids_lpk, table.document_p, table.start_x[part], some_db, groups, table.experts, least, n_log_n,
                *packing, *sums,
            )  # fmt: skip
            own.append(sums)
        return tuple(np.concatenate(each, axis=1) for each in zip(*own, strict=True))

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for own in pool.map(take, _parts(table.start_x)):
            for whole, each in zip(sums, own, strict=True):
                whole += each
    return sums


def _parts(start_x: NDArray[np.integer]) -> Iterator[slice]:
    """Bounds of ids in parts of about as many tokens each; the last bound of one part is the first of the next."""
    runs, last = len(start_x) - 1, 0
    for part in range(1, _PARTS + 1):
        stop = int(np.searchsorted(start_x, start_x[-1] * part / _PARTS)) if part < _PARTS else runs
        if stop > last:
            yield slice(last, stop + 1)
            last = stop


def _packing(groups: int) -> _Packing:
    labels_c = np.array([max(1, _PACKED // bits) if bits < _PACKED else 1 for bits in _BITS], np.int64)
    words_c = -(-groups // labels_c)
    counts = np.arange(1 << _PACKED)
    table_cn = np.zeros((len(_BITS), 1 << _PACKED))
    for row_n, bits, labels in zip(table_cn, _BITS, labels_c.tolist(), strict=True):
        for at in range(labels if bits < _PACKED else 0):
            own = (counts >> (bits * at) & (1 << bits) - 1).astype(np.float64)
            row_n += own * np.log2(np.maximum(own, 1.0))
    return _Packing(labels_c, words_c, np.cumsum(words_c) - words_c, table_cn)


@jit
def _take(
    ids_lpk: NDArray[np.unsignedinteger],
    document_p: NDArray[np.integer],
    start_x: NDArray[np.integer],
    dealt_db: NDArray[np.unsignedinteger],
    groups: int,
    experts: int,
    least: int,
    n_log_n: NDArray[np.float64],
    labels_c: NDArray[np.int64],
    words_c: NDArray[np.int64],
    first_c: NDArray[np.int64],
    table_cn: NDArray[np.float64],
    inner_lb: NDArray[np.float64],
    outer_lb: NDArray[np.float64],
    total_lb: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Some ids, one after another: labels that count, the id's counts by layer, expert and document, and their sums."""
    layers, _, slots = ids_lpk.shape
    lanes, most = dealt_db.shape[1], 0
    for run in range(len(start_x) - 1):
        most = max(most, start_x[run + 1] - start_x[run])
    met = min(most, len(dealt_db))
    label_nb = np.empty((met, lanes), dealt_db.dtype)  # of the id's documents; `groups` where it does not count
    counts_nb = np.empty((met, lanes), np.uint16)
    one_wnb = np.empty((words_c.sum(), met, lanes), np.uint16)
    is_made_c = np.zeros(len(words_c), np.bool_)
    tokens_n, number_n = np.empty(met, np.int64), np.empty(met, np.int64)
    filled_n, before_n = np.empty(met, np.int64), np.empty(met, np.int64)
    size_e, end_e = np.empty(experts, np.int64), np.empty(experts, np.int64)
    begin_e, way_e = np.empty(experts, np.int64), np.empty(experts, np.int64)
    who_i, often_i = np.empty(most * slots, np.int64), np.empty(most * slots, np.int64)
    count_gb = np.empty((groups, lanes), np.int64)
    word_b, outer_b, total_b = np.empty(lanes, np.uint16), np.empty(lanes), np.empty(lanes)
    for run in range(len(start_x) - 1):
        start, stop = start_x[run], start_x[run + 1]
        documents = 0
        for place in range(start, stop):
            if place == start or document_p[place] != document_p[place - 1]:
                number_n[documents], tokens_n[documents] = document_p[place], 0
                documents += 1
            tokens_n[documents - 1] += 1
        all_count = _label(dealt_db, number_n[:documents], tokens_n, groups, least, count_gb, label_nb, counts_nb)
        is_made_c[:] = False
        for layer in range(layers):
            _by_expert(ids_lpk[layer, start:stop], document_p[start:stop], size_e, end_e, who_i, often_i, filled_n)
            if layer == 0 or not (filled_n[:documents] == before_n[:documents]).all():
                before_n[:documents] = filled_n[:documents]
                _outer(label_nb, filled_n[:documents], groups, n_log_n, count_gb, outer_b, total_b)
            for lane in range(lanes):
                outer_lb[layer, lane] += outer_b[lane]
                total_lb[layer, lane] += total_b[lane]
            begin = 0
            for expert in range(experts):
                begin_e[expert] = begin
                entries, size = end_e[expert] - begin, size_e[expert]
                who_n, often_n = who_i[begin : end_e[expert]], often_i[begin : end_e[expert]]
                begin += size
                way_e[expert] = -1
                if entries < 2:
                    continue  # one document's: whatever its label, the expert's own count
                if entries == 2:
                    _two(label_nb, who_n, often_n, groups, n_log_n, inner_lb[layer])
                elif size > _MOST16:
                    _large(label_nb, who_n, often_n, groups, n_log_n, count_gb, inner_lb[layer])
                else:
                    way_e[expert] = 0
                    while size >= 1 << _BITS[way_e[expert]]:
                        way_e[expert] += 1
                    if all_count:
                        own = n_log_n_of(size, n_log_n)
                        for lane in range(lanes):
                            inner_lb[layer, lane] -= own
                    else:
                        _add_up(counts_nb, who_n, often_n, word_b)
                        for lane in range(lanes):
                            inner_lb[layer, lane] -= n_log_n[word_b[lane]]
            for way in range(len(words_c)):
                if not (way_e == way).any():
                    continue
                first, past = first_c[way], first_c[way] + words_c[way]
                sums_n = table_cn[way] if labels_c[way] > 1 else n_log_n
                if not is_made_c[way]:
                    _ones(label_nb[:documents], groups, _BITS[way], labels_c[way], one_wnb[first:past])
                    is_made_c[way] = True
                for word in range(first, past):  # one at a time: its numbers stay in the cache
                    for expert in range(experts):
                        if way_e[expert] == way:
                            begin, end = begin_e[expert], end_e[expert]
                            _add_up(one_wnb[word], who_i[begin:end], often_i[begin:end], word_b)
                            for lane in range(lanes):
                                inner_lb[layer, lane] += sums_n[word_b[lane]]


@jit
def _label(
    dealt_db: NDArray[np.unsignedinteger],
    number_n: NDArray[np.int64],
    tokens_n: NDArray[np.int64],
    groups: int,
    least: int,
    count_gb: NDArray[np.int64],
    label_nb: NDArray[np.unsignedinteger],
    counts_nb: NDArray[np.uint16],
) -> bool:  # pragma: no cover
    """Each document's label under each deal, `groups` where the id is too rare under it; whether every one counts."""
    lanes = dealt_db.shape[1]
    count_gb[:] = 0
    for n in range(len(number_n)):
        for lane in range(lanes):
            count_gb[dealt_db[number_n[n], lane], lane] += tokens_n[n]
    every = True
    for lane in range(lanes):
        often = 0
        for group in range(groups):
            often += count_gb[group, lane] >= least
        for group in range(groups):
            if often < 2 or count_gb[group, lane] < least:
                count_gb[group, lane] = 0
    for n in range(len(number_n)):
        for lane in range(lanes):
            label = dealt_db[number_n[n], lane]
            counts = count_gb[label, lane] > 0
            label_nb[n, lane] = label if counts else groups
            counts_nb[n, lane] = counts
            every &= counts
    return every


@jit
def _by_expert(
    ids_pk: NDArray[np.unsignedinteger],
    document_p: NDArray[np.integer],
    size_e: NDArray[np.int64],
    end_e: NDArray[np.int64],
    who_i: NDArray[np.int64],
    often_i: NDArray[np.int64],
    filled_n: NDArray[np.int64],
) -> None:  # pragma: no cover
    """An id's assignments of one layer by expert, and there by document: whose, how often, and where those end."""
    experts, places = len(size_e), len(ids_pk)
    size_e[:] = 0
    for place in range(places):
        for expert in ids_pk[place]:
            if expert < experts:
                size_e[expert] += 1
    begin = 0
    for expert in range(experts):
        end_e[expert] = begin
        begin += size_e[expert]
    begin_e, n = end_e.copy(), -1
    for place in range(places):
        if place == 0 or document_p[place] != document_p[place - 1]:
            n += 1
            filled_n[n] = 0
        for expert in ids_pk[place]:
            if expert < experts:
                filled_n[n] += 1
                at = end_e[expert]
                if at > begin_e[expert] and who_i[at - 1] == n:
                    often_i[at - 1] += 1
                else:
                    who_i[at], often_i[at] = n, 1
                    end_e[expert] += 1


@jit
def _outer(
    label_nb: NDArray[np.unsignedinteger],
    filled_n: NDArray[np.int64],
    groups: int,
    n_log_n: NDArray[np.float64],
    count_gb: NDArray[np.int64],
    outer_b: NDArray[np.float64],
    total_b: NDArray[np.float64],
) -> None:  # pragma: no cover
    """What all assignments of the id add, less what its labels' do, and how many they are."""
    _count_labels(label_nb, np.arange(len(filled_n)), filled_n, groups, count_gb)
    for lane in range(len(outer_b)):
        total, own = 0, 0.0
        for group in range(groups):
            total += count_gb[group, lane]
            own += n_log_n_of(count_gb[group, lane], n_log_n)
        outer_b[lane], total_b[lane] = n_log_n_of(total, n_log_n) - own, total


@jit
def _two(
    label_nb: NDArray[np.unsignedinteger],
    who_n: NDArray[np.int64],
    often_n: NDArray[np.int64],
    groups: int,
    n_log_n: NDArray[np.float64],
    inner_b: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Two documents' assignments, which differ from the expert's only where both count and their labels differ."""
    apart = n_log_n_of(often_n[0], n_log_n) + n_log_n_of(often_n[1], n_log_n)
    apart -= n_log_n_of(often_n[0] + often_n[1], n_log_n)
    one_b, two_b = label_nb[who_n[0]], label_nb[who_n[1]]
    for lane in range(len(inner_b)):
        one, two = one_b[lane], two_b[lane]
        inner_b[lane] += apart if (one != two) & (one != groups) & (two != groups) else 0.0


@jit
def _large(
    label_nb: NDArray[np.unsignedinteger],
    who_n: NDArray[np.int64],
    often_n: NDArray[np.int64],
    groups: int,
    n_log_n: NDArray[np.float64],
    count_gb: NDArray[np.int64],
    inner_b: NDArray[np.float64],
) -> None:  # pragma: no cover
    """More assignments than 16 bits count, label by label."""
    _count_labels(label_nb, who_n, often_n, groups, count_gb)
    for lane in range(len(inner_b)):
        total = 0
        for group in range(groups):
            total += count_gb[group, lane]
            inner_b[lane] += n_log_n_of(count_gb[group, lane], n_log_n)
        inner_b[lane] -= n_log_n_of(total, n_log_n)


@jit
def _count_labels(
    label_nb: NDArray[np.unsignedinteger],
    who_n: NDArray[np.int64],
    often_n: NDArray[np.int64],
    groups: int,
    count_gb: NDArray[np.int64],
) -> None:  # pragma: no cover
    count_gb[:] = 0
    for at in range(len(who_n)):
        for lane in range(count_gb.shape[1]):
            label = label_nb[who_n[at], lane]
            if label != groups:
                count_gb[label, lane] += often_n[at]


@jit
def _ones(
    label_nb: NDArray[np.unsignedinteger], groups: int, bits: int, labels: int, ones_wnb: NDArray[np.uint16]
) -> None:  # pragma: no cover
    """What one assignment of each document adds to each number that labels share."""
    for word in range(len(ones_wnb)):
        first, stop = word * labels, min((word + 1) * labels, groups)
        for n in range(len(label_nb)):
            for lane in range(label_nb.shape[1]):
                label = int(label_nb[n, lane])
                ones_wnb[word, n, lane] = 1 << bits * (label - first) if first <= label < stop else 0


@jit
def _add_up(
    ones_nb: NDArray[np.uint16], who_n: NDArray[np.int64], often_n: NDArray[np.int64], word_b: NDArray[np.uint16]
) -> None:  # pragma: no cover
    """The numbers of some documents' assignments, four documents at a time."""
    word_b[:] = 0
    whole = len(who_n) - len(who_n) % 4
    for at in range(0, whole, 4):
        one_b, two_b, three_b, four_b = (
            ones_nb[who_n[at]],
            ones_nb[who_n[at + 1]],
            ones_nb[who_n[at + 2]],
            ones_nb[who_n[at + 3]],
        )
        one, two, three, four = (
            np.uint16(often_n[at]),
            np.uint16(often_n[at + 1]),
            np.uint16(often_n[at + 2]),
            np.uint16(often_n[at + 3]),
        )
        for lane in range(len(word_b)):
            word_b[lane] += one_b[lane] * one + two_b[lane] * two + three_b[lane] * three + four_b[lane] * four
    for at in range(whole, len(who_n)):
        one_b, one = ones_nb[who_n[at]], np.uint16(often_n[at])
        for lane in range(len(word_b)):
            word_b[lane] += one_b[lane] * one
