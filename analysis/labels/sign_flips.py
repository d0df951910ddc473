"""Information at the same word, and how far labels lie apart there when what is peculiar to a document is flipped.

Labels keep their documents and documents their words, so that every label has as many tokens of every word in each draw
as it has in truth: which words are looked at, and how much chance alone tells at them, is the same throughout.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.words import ById, n_log_n_of, n_log_n_table
from gatescope.analysis.statistics.jit import jit, threads

_LANES = 256
_PARTS = 16
"""Parts that words are spread over, whatever the number of threads, so that sums have the same last bits."""


class Sums(NamedTuple):
    """By layer, over words; and by draw of signs.

    bits_l      n log2 n summed over (label, expert), less experts, less labels, plus all: information times assignments
    entropy_l   n log2 n of all less that of labels: entropy of the label at the same word, times assignments
    total_l     assignments
    squares_l   chi-squared of label against expert
    flipped_lb   the same when each document's departure keeps its sign or has it flipped
    """

    bits_l: NDArray[np.float64]
    entropy_l: NDArray[np.float64]
    total_l: NDArray[np.float64]
    squares_l: NDArray[np.float64]
    flipped_lb: NDArray[np.float64]


def flipped_sums(
    table: ById,
    group_d: NDArray[np.integer],
    stratum_d: NDArray[np.integer],
    sign_bd: NDArray[np.integer],
    groups: int,
    least: int,
) -> Sums:
    """The sums over all words; under a label a word counts if it has `least` tokens there, and so it has under another.

    A document departs from what all documents of its stratum do at the word; departures are scaled for what a document
    adds to its own prediction (HC2), and after signs are flipped the prediction is made anew.
    """
    layers, draws = len(table.ids_lpk), len(sign_bd)
    n_log_n = n_log_n_table(table.ids_lpk.swapaxes(0, 1))
    number_d = np.unique(stratum_d, return_inverse=True)[1].astype(np.int64)
    sign_db = np.ascontiguousarray(sign_bd.T, np.int8)
    once_cl, flipped_lb = np.zeros((4, layers)), np.zeros((layers, draws))

    def take(part: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own_cl, own_lb = np.zeros((4, layers)), np.zeros((layers, draws))
        for start in range(0, draws, _LANES):
            some_db = np.ascontiguousarray(sign_db[:, start : start + _LANES])
            own_cl, some_lb = np.zeros((4, layers)), np.zeros((layers, some_db.shape[1]))
            _take(
                table.ids_lpk, table.document_p, table.start_x[part], group_d, number_d, some_db, groups, table.experts,
                least, n_log_n, own_cl, some_lb,
            )  # fmt: skip
            own_lb[:, start : start + _LANES] = some_lb
        return own_cl, own_lb

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for own_cl, own_lb in pool.map(take, _parts(table.start_x)):
            once_cl += own_cl
            flipped_lb += own_lb
    return Sums(once_cl[0], once_cl[1], once_cl[2], once_cl[3], flipped_lb)


def _parts(start_x: NDArray[np.integer]) -> Iterator[slice]:
    """Bounds of ids in parts of about as many tokens each; the last bound of one part is the first of the next."""
    runs, last = len(start_x) - 1, 0
    for part in range(1, _PARTS + 1):
        stop = int(np.searchsorted(start_x, start_x[-1] * part / _PARTS)) if part < _PARTS else runs
        if stop > last:
            yield slice(last, stop + 1)
            last = stop


@jit
def _take(
    ids_lpk: NDArray[np.unsignedinteger],
    document_p: NDArray[np.integer],
    start_x: NDArray[np.integer],
    group_d: NDArray[np.integer],
    stratum_d: NDArray[np.integer],
    sign_db: NDArray[np.int8],
    groups: int,
    experts: int,
    least: int,
    n_log_n: NDArray[np.float64],
    once_cl: NDArray[np.float64],
    flipped_lb: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Some ids, one after another; `once_cl` takes bits, entropy, total and squares."""
    layers, lanes = len(ids_lpk), sign_db.shape[1]
    tokens_g, own_g, own_s = np.empty(groups, np.int64), np.empty(groups, np.int64), np.empty(len(group_d), np.int64)
    kept_p, row_p = np.empty(len(document_p), np.int64), np.empty(len(document_p), np.int64)
    document_n = np.empty(len(group_d), np.int64)
    for run in range(len(start_x) - 1):
        tokens_g[:] = 0
        for place in range(start_x[run], start_x[run + 1]):
            tokens_g[group_d[document_p[place]]] += 1
        labels = 0
        for group in range(groups):
            own_g[group] = -1
            if tokens_g[group] >= least:
                own_g[group] = labels
                labels += 1
        if labels < 2:
            continue
        own_s[:] = -1
        kept, documents, strata = 0, 0, 0
        for place in range(start_x[run], start_x[run + 1]):
            document = document_p[place]
            if own_g[group_d[document]] < 0:
                continue
            if documents == 0 or document_n[documents - 1] != document:
                document_n[documents] = document
                documents += 1
                if own_s[stratum_d[document]] < 0:
                    own_s[stratum_d[document]] = strata
                    strata += 1
            kept_p[kept], row_p[kept] = place, documents - 1
            kept += 1
        label_n, stratum_n = np.empty(documents, np.int64), np.empty(documents, np.int64)
        sign_nb = np.empty((documents, lanes), np.int8)
        for n in range(documents):
            label_n[n] = own_g[group_d[document_n[n]]]
            stratum_n[n] = own_s[stratum_d[document_n[n]]]
            sign_nb[n] = sign_db[document_n[n]]
        count_en = np.zeros((experts, documents), np.int64)
        for layer in range(layers):
            count_en[:] = 0
            for at in range(kept):
                for expert in ids_lpk[layer, kept_p[at]]:
                    if expert < experts:
                        count_en[expert, row_p[at]] += 1
            _word(count_en, label_n, stratum_n, sign_nb, labels, strata, n_log_n, once_cl[:, layer], flipped_lb[layer])


@jit
def _word(
    count_en: NDArray[np.int64],
    label_n: NDArray[np.int64],
    stratum_n: NDArray[np.int64],
    sign_nb: NDArray[np.int8],
    labels: int,
    strata: int,
    n_log_n: NDArray[np.float64],
    once_c: NDArray[np.float64],
    flipped_b: NDArray[np.float64],
) -> None:  # pragma: no cover
    """One id at one layer, from what each document chose for it."""
    documents, lanes = sign_nb.shape
    filled_n, filled_sg = np.zeros(documents, np.int64), np.zeros((strata, labels), np.int64)
    for count_n in count_en:
        filled_n += count_n
    for n in range(documents):
        filled_sg[stratum_n[n], label_n[n]] += filled_n[n]
    filled_s, filled_g, filled = filled_sg.sum(axis=1), filled_sg.sum(axis=0), filled_sg.sum()
    if filled == 0:
        return
    scale_n, flipped_sgb = np.zeros(documents), np.zeros((strata, labels, lanes))
    for n in range(documents):
        if filled_n[n] < filled_s[stratum_n[n]]:
            scale_n[n] = 1.0 / np.sqrt(1.0 - filled_n[n] / filled_s[stratum_n[n]])
            _add(flipped_sgb[stratum_n[n], label_n[n]], sign_nb[n], scale_n[n] * filled_n[n])
    entropy = n_log_n_of(filled, n_log_n)
    for own in filled_g:
        entropy -= n_log_n_of(own, n_log_n)
    once_c[0] += entropy
    once_c[1] += entropy
    once_c[2] += filled
    count_s, count_g, predicted_g = np.empty(strata), np.empty(labels, np.int64), np.empty(labels)
    moved_sgb, moved_b, own_b = np.empty((strata, labels, lanes)), np.empty(lanes), np.empty(lanes)
    for count_n in count_en:
        count_s[:], count_g[:], count = 0, 0, 0
        for n in range(documents):
            if count_n[n]:
                count_s[stratum_n[n]] += count_n[n]
                count_g[label_n[n]] += count_n[n]
                count += count_n[n]
        if count == 0:
            continue
        once_c[0] -= n_log_n_of(count, n_log_n)
        predicted_g[:] = 0.0
        for stratum in range(strata):
            moved_sgb[stratum] = 0.0
            if filled_s[stratum]:
                share = count_s[stratum] / filled_s[stratum]
                for label in range(labels):
                    predicted_g[label] += filled_sg[stratum, label] * share
                    for lane in range(lanes):
                        moved_sgb[stratum, label, lane] = -share * flipped_sgb[stratum, label, lane]
        for n in range(documents):
            if count_n[n] and scale_n[n] > 0.0:
                _add(moved_sgb[stratum_n[n], label_n[n]], sign_nb[n], scale_n[n] * count_n[n])
        for stratum in range(strata):
            moved_b[:] = 0.0
            for label in range(labels):
                moved_b += moved_sgb[stratum, label]
            for label in range(labels):
                if filled_sg[stratum, label]:
                    moved_sgb[stratum, label] -= moved_b * (filled_sg[stratum, label] / filled_s[stratum])
        for label in range(labels):
            once_c[0] += n_log_n_of(count_g[label], n_log_n)
            expected = filled_g[label] * count / filled
            if expected == 0.0:
                continue
            once_c[3] += (count_g[label] - expected) ** 2 / expected
            own_b[:] = predicted_g[label] - expected
            for stratum in range(strata):
                if filled_sg[stratum, label]:
                    own_b += moved_sgb[stratum, label]
            for lane in range(lanes):
                flipped_b[lane] += own_b[lane] ** 2 / expected


@jit
def _add(sums_b: NDArray[np.float64], sign_b: NDArray[np.int8], size: float) -> None:  # pragma: no cover
    for lane in range(len(sums_b)):
        sums_b[lane] += size * sign_b[lane]
