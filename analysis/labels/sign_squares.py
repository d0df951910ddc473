"""What chi-squared is under any signs of documents, as one quadratic form of the signs that all words add up to.

At a word, the count of an expert under a label moves by a sum over documents of sign times departure. Its square is a
form s'Qs + 2 L's + c of the signs s; forms add up over experts, labels and words. So words are gone through once a
layer, whatever the number of draws, and a draw is a product with one matrix of documents by documents.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.words import ById, n_log_n_of
from gatescope.analysis.statistics.jit import jit

MOST_DOCUMENTS = 4096
"""Documents up to which a layer's matrix is held, 128 MiB. A draw takes their square, where words take their texts."""
_ROWS = 256
"""Draws of a product, filled up with zeros: the same shape gives a draw the same last bits, whatever stands beside."""
_PARTS = 16
"""Parts that words are added up in, whatever the number of threads, so that sums have the same last bits."""


class Words(NamedTuple):
    """The words that are often enough under two labels, each with its documents and places there.

    kept_p, row_p      places of tokens; the document of each, counted within its word
    place_w            where each word's places begin, and the end
    document_n         documents of each word; label_n, stratum_n: those of them, numbered within the word
    start_w            where each word's documents begin, and the end
    labels_w, strata_w how many labels and strata each word has
    part_w             bounds of the parts that words are added up in
    """

    kept_p: NDArray[np.int64]
    row_p: NDArray[np.int64]
    place_w: NDArray[np.int64]
    document_n: NDArray[np.int64]
    label_n: NDArray[np.int64]
    stratum_n: NDArray[np.int64]
    start_w: NDArray[np.int64]
    labels_w: NDArray[np.int64]
    strata_w: NDArray[np.int64]
    part_w: NDArray[np.int64]


def words_of(
    table: ById, group_d: NDArray[np.integer], stratum_d: NDArray[np.integer], groups: int, least: int
) -> Words:
    """The words that have `least` tokens under two labels or more, with those labels' documents."""
    number_d = np.unique(stratum_d, return_inverse=True)[1].astype(np.int64)
    size, runs = len(table.document_p), len(table.start_x) - 1
    kept_p, row_p = np.empty(size, np.int64), np.empty(size, np.int64)
    own_cn, bound_cx = np.empty((3, size), np.int64), np.zeros((4, runs + 1), np.int64)
    run_w = np.empty(runs, np.int64)
    words = _words(
        table.document_p.astype(np.int64), table.start_x, group_d.astype(np.int64), number_d, groups, least, kept_p,
        row_p, own_cn, bound_cx, run_w,
    )  # fmt: skip
    place_w, start_w = bound_cx[0, : words + 1], bound_cx[1, : words + 1]
    ends = [np.searchsorted(table.start_x, table.start_x[-1] * part / _PARTS) for part in range(1, _PARTS)]
    part_w = np.searchsorted(run_w[:words], np.unique([0, *ends, runs]))
    document_n, label_n, stratum_n = own_cn[:, : start_w[-1]].copy()
    return Words(
        kept_p[: place_w[-1]].copy(), row_p[: place_w[-1]].copy(), place_w, document_n, label_n, stratum_n, start_w,
        bound_cx[2, :words], bound_cx[3, :words], part_w,
    )  # fmt: skip


def flipped_layer(
    ids_pk: NDArray[np.unsignedinteger],
    words: Words,
    sign_bd: NDArray[np.integer],
    experts: int,
    n_log_n: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One layer's bits, entropy, total and squares, (4,), and its chi-squared under each draw of signs, (draws,)."""
    draws, documents = sign_bd.shape
    square_dd, linear_d, once_c = np.zeros((documents, documents)), np.zeros(documents), np.zeros(4)
    constant = 0.0
    for first, stop in zip(words.part_w[:-1].tolist(), words.part_w[1:].tolist(), strict=True):
        own_c = np.zeros(4)
        constant += _add_words(ids_pk, words, first, stop, experts, n_log_n, own_c, square_dd, linear_d)
        once_c += own_c
    flipped_b, some_bd = np.empty(draws), np.zeros((_ROWS, documents))
    for start in range(0, draws, _ROWS):
        rows = min(_ROWS, draws - start)
        some_bd[:rows] = sign_bd[start : start + rows]
        moved_b = np.einsum("bd,bd->b", some_bd @ square_dd + 2 * linear_d, some_bd)
        flipped_b[start : start + rows] = moved_b[:rows] + constant
    return once_c, np.maximum(flipped_b, 0.0)


@jit
def _words(
    document_p: NDArray[np.int64],
    start_x: NDArray[np.integer],
    group_d: NDArray[np.int64],
    stratum_d: NDArray[np.int64],
    groups: int,
    least: int,
    kept_p: NDArray[np.int64],
    row_p: NDArray[np.int64],
    own_cn: NDArray[np.int64],
    bound_cx: NDArray[np.int64],
    run_w: NDArray[np.int64],
) -> int:  # pragma: no cover
    """Fills the columns of `Words`; how many words they are."""
    tokens_g, own_g, own_s = np.empty(groups, np.int64), np.empty(groups, np.int64), np.empty(len(group_d), np.int64)
    words, kept, every = 0, 0, 0
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
        first, strata = every, 0
        for place in range(start_x[run], start_x[run + 1]):
            document = document_p[place]
            if own_g[group_d[document]] < 0:
                continue
            if every == first or own_cn[0, every - 1] != document:
                if own_s[stratum_d[document]] < 0:
                    own_s[stratum_d[document]] = strata
                    strata += 1
                own_cn[0, every], own_cn[1, every] = document, own_g[group_d[document]]
                own_cn[2, every] = own_s[stratum_d[document]]
                every += 1
            kept_p[kept], row_p[kept] = place, every - 1 - first
            kept += 1
        bound_cx[2, words], bound_cx[3, words], run_w[words] = labels, strata, run
        words += 1
        bound_cx[0, words], bound_cx[1, words] = kept, every
    return words


@jit
def choices_of(
    ids_pk: NDArray[np.unsignedinteger], words: Words, word: int, experts: int
) -> NDArray[np.int64]:  # pragma: no cover
    """How often each document of a word chose each expert for it: (experts, documents)."""
    count_en = np.zeros((experts, words.start_w[word + 1] - words.start_w[word]), np.int64)
    for at in range(words.place_w[word], words.place_w[word + 1]):
        for expert in ids_pk[words.kept_p[at]]:
            if expert < experts:
                count_en[expert, words.row_p[at]] += 1
    return count_en


@jit
def _add_words(
    ids_pk: NDArray[np.unsignedinteger],
    words: Words,
    first: int,
    stop: int,
    experts: int,
    n_log_n: NDArray[np.float64],
    once_c: NDArray[np.float64],
    square_dd: NDArray[np.float64],
    linear_d: NDArray[np.float64],
) -> float:  # pragma: no cover
    """Adds the forms of some words, both halves of the square in its lower one; returns the constant."""
    constant = 0.0
    for word in range(first, stop):
        own = slice(words.start_w[word], words.start_w[word + 1])
        count_en = choices_of(ids_pk, words, word, experts)
        constant += _add_word(
            count_en, words.document_n[own], words.label_n[own], words.stratum_n[own], words.labels_w[word],
            words.strata_w[word], n_log_n, once_c, square_dd, linear_d,
        )  # fmt: skip
    return constant


@jit
def _add_word(
    count_en: NDArray[np.int64],
    document_n: NDArray[np.int64],
    label_n: NDArray[np.int64],
    stratum_n: NDArray[np.int64],
    labels: int,
    strata: int,
    n_log_n: NDArray[np.float64],
    once_c: NDArray[np.float64],
    square_dd: NDArray[np.float64],
    linear_d: NDArray[np.float64],
) -> float:  # pragma: no cover
    """One word's form.

    Document n departs by r[n,e] = scale[n] (count[n,e] - filled[n] share[s,e]), which moves label g of its stratum s by
    (1 if g is its own) - weight[s,g]. Both factors of a product of two documents are sums of few terms.
    """
    documents = len(document_n)
    filled_n, filled_sg = np.zeros(documents, np.int64), np.zeros((strata, labels), np.int64)
    for count_n in count_en:
        filled_n += count_n
    for n in range(documents):
        filled_sg[stratum_n[n], label_n[n]] += filled_n[n]
    filled_s, filled_g, filled = filled_sg.sum(axis=1), filled_sg.sum(axis=0), filled_sg.sum()
    if filled == 0:
        return 0.0
    entropy = n_log_n_of(filled, n_log_n)
    for own in filled_g:
        entropy -= n_log_n_of(own, n_log_n)
    once_c[0] += entropy
    once_c[1] += entropy
    once_c[2] += filled
    scale_n, weight_sg, each_g = np.zeros(documents), np.zeros((strata, labels)), np.zeros(labels)
    for n in range(documents):
        if filled_n[n] < filled_s[stratum_n[n]]:
            scale_n[n] = 1.0 / np.sqrt(1.0 - filled_n[n] / filled_s[stratum_n[n]])
    for label in range(labels):
        each_g[label] = 1.0 / filled_g[label] if filled_g[label] else 0.0
        for stratum in range(strata):
            if filled_s[stratum]:
                weight_sg[stratum, label] = filled_sg[stratum, label] / filled_s[stratum]
    shared_nn, with_ns, both_ss = (
        np.zeros((documents, documents)),
        np.zeros((documents, strata)),
        np.zeros((strata, strata)),
    )
    linear_n, linear_sg, constant = np.zeros(documents), np.zeros((strata, labels)), 0.0
    count_s, count_g, share_s = np.empty(strata, np.int64), np.empty(labels, np.int64), np.zeros(strata)
    off_g, mean_s, some_n = np.empty(labels), np.empty(strata), np.empty(documents, np.int64)
    for count_n in count_en:
        count_s[:], count_g[:], count, having = 0, 0, 0, 0
        for n in range(documents):
            if count_n[n]:
                count_s[stratum_n[n]] += count_n[n]
                count_g[label_n[n]] += count_n[n]
                count += count_n[n]
                some_n[having] = n
                having += 1
        if count == 0:
            continue
        rate = filled / count
        once_c[0] -= n_log_n_of(count, n_log_n)
        for stratum in range(strata):
            share_s[stratum] = count_s[stratum] / filled_s[stratum] if filled_s[stratum] else 0.0
        for label in range(labels):
            once_c[0] += n_log_n_of(count_g[label], n_log_n)
            expected = filled_g[label] * count / filled
            predicted = 0.0
            for stratum in range(strata):
                predicted += filled_sg[stratum, label] * share_s[stratum]
            off_g[label] = (predicted - expected) * each_g[label]
            if expected == 0.0:
                continue
            once_c[3] += (count_g[label] - expected) ** 2 / expected
            constant += (predicted - expected) ** 2 / expected
        for stratum in range(strata):
            mean_s[stratum] = 0.0
            for label in range(labels):
                mean_s[stratum] += weight_sg[stratum, label] * off_g[label]
            for label in range(labels):
                linear_sg[stratum, label] += rate * share_s[stratum] * (off_g[label] - mean_s[stratum])
            for other in range(stratum + 1):
                both_ss[stratum, other] += rate * share_s[stratum] * share_s[other]
        for at in range(having):
            n = some_n[at]
            size = rate * count_n[n]
            linear_n[n] += size * (off_g[label_n[n]] - mean_s[stratum_n[n]])
            for stratum in range(strata):
                with_ns[n, stratum] += size * share_s[stratum]
            for before in range(at + 1):
                shared_nn[n, some_n[before]] += size * count_n[some_n[before]]
    alike_ss = np.zeros((strata, strata))
    for stratum in range(strata):
        for other in range(stratum + 1):
            for label in range(labels):
                alike_ss[stratum, other] += weight_sg[stratum, label] * weight_sg[other, label] * each_g[label]
            alike_ss[other, stratum], both_ss[other, stratum] = alike_ss[stratum, other], both_ss[stratum, other]
    for n in range(documents):
        s, g, own_n = stratum_n[n], label_n[n], filled_n[n]
        linear_d[document_n[n]] += scale_n[n] * (linear_n[n] - own_n * linear_sg[s, g])
        for m in range(n + 1 if scale_n[n] > 0.0 else 0):
            t, h = stratum_n[m], label_n[m]
            moved = alike_ss[s, t] - weight_sg[t, g] * each_g[g] - weight_sg[s, h] * each_g[h]
            if g == h:
                moved += each_g[g]
            product = shared_nn[n, m] - filled_n[m] * with_ns[n, t] - own_n * with_ns[m, s]
            product += own_n * filled_n[m] * both_ss[s, t]
            twice = 2.0 if m < n else 1.0
            square_dd[document_n[n], document_n[m]] += twice * scale_n[n] * scale_n[m] * moved * product
    return constant
