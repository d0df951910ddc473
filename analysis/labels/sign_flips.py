"""Information at the same word, and how far labels lie apart there when what is peculiar to a document is flipped.

Labels keep their documents and documents their words, so that every label has as many tokens of every word in each draw
as it has in truth: which words are looked at, and how much chance alone tells at them, is the same throughout.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.sign_squares import MOST_DOCUMENTS, Words, choices_of, flipped_layer, words_of
from gatescope.analysis.labels.words import ById, n_log_n_of, n_log_n_table
from gatescope.analysis.statistics.jit import in_threads, jit, threads

_LANES = 256


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
    adds to its own prediction (HC2), and after signs are flipped the prediction is made anew. Of no more documents than
    `sign_squares.MOST_DOCUMENTS`, draws are read off one form of the signs, else made one word after another.
    """
    layers, draws = len(table.ids_lpk), len(sign_bd)
    words = words_of(table, group_d, stratum_d, groups, least)
    n_log_n = n_log_n_table(table.ids_lpk.swapaxes(0, 1))
    once_cl, flipped_lb = np.zeros((4, layers)), np.zeros((layers, draws))
    if len(group_d) <= MOST_DOCUMENTS:

        def take_layers(rows: slice) -> None:
            for layer in range(*rows.indices(layers)):
                once_cl[:, layer], flipped_lb[layer] = flipped_layer(
                    table.ids_lpk[layer], words, sign_bd, table.experts, n_log_n
                )

        in_threads(take_layers, layers)
        return Sums(once_cl[0], once_cl[1], once_cl[2], once_cl[3], flipped_lb)
    sign_db = np.ascontiguousarray(sign_bd.T, np.int8)

    def take(part: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own_cl, own_lb = np.zeros((4, layers)), np.zeros((layers, draws))
        for start in range(0, draws, _LANES):
            some_db = np.ascontiguousarray(sign_db[:, start : start + _LANES])
            own_cl, some_lb = np.zeros((4, layers)), np.zeros((layers, some_db.shape[1]))
            _take(table.ids_lpk, words, part.start, part.stop, some_db, table.experts, n_log_n, own_cl, some_lb)
            own_lb[:, start : start + _LANES] = some_lb
        return own_cl, own_lb

    parts = [slice(*pair) for pair in pairwise(words.part_w.tolist())]
    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for own_cl, own_lb in pool.map(take, parts):
            once_cl += own_cl
            flipped_lb += own_lb
    return Sums(once_cl[0], once_cl[1], once_cl[2], once_cl[3], flipped_lb)


@jit
def _take(
    ids_lpk: NDArray[np.unsignedinteger],
    words: Words,
    first: int,
    stop: int,
    sign_db: NDArray[np.int8],
    experts: int,
    n_log_n: NDArray[np.float64],
    once_cl: NDArray[np.float64],
    flipped_lb: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Some words, one after another; `once_cl` takes bits, entropy, total and squares."""
    for word in range(first, stop):
        own = slice(words.start_w[word], words.start_w[word + 1])
        documents = own.stop - own.start
        sign_nb = np.empty((documents, sign_db.shape[1]), np.int8)
        for n in range(documents):
            sign_nb[n] = sign_db[words.document_n[own.start + n]]
        for layer in range(len(ids_lpk)):
            count_en = choices_of(ids_lpk[layer], words, word, experts)
            _word(
                count_en, words.label_n[own], words.stratum_n[own], sign_nb, words.labels_w[word], words.strata_w[word],
                n_log_n, once_cl[:, layer], flipped_lb[layer],
            )  # fmt: skip


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
