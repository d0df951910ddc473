"""How much of what experts tell about a document's label the words alone explain, and what is left at the same word."""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.sign_flips import flipped_sums
from gatescope.analysis.labels.words import ById, bad, by_id, check_flat
from gatescope.analysis.statistics.information import ExcessInformation, against_null, excess_information
from gatescope.analysis.statistics.jit import jit

_LEAST_BITS = 1e-9


class Composition(NamedTuple):
    """One layer's information about a document label, and what of it is information about words.

    label         bits that experts tell about the label: `excess_information`
    words         the same bits when every assignment is replaced by what its token id does in other documents
    given_words   bits that experts tell about the label once the token id is known, over the covered assignments
    share         words.observed_bits / label.observed_bits; 1: the mix of words predicts profiles as far apart
    share_excess  the same ratio of excess bits; the one to quote, because chance alone tells bits on both sides
    agreement     cosine, -1 to 1, of executed and predicted departures of the label × expert table from independence;
                  near 1: words lead a label to the experts it has; near 0 or below: the share explains nothing
    backed_off    share of assignments whose token id occurs in no other document: predicted as the average token
    one_label     share of assignments whose token id occurs under one label only, where word and label are one
    covered       share of assignments that `given_words` speaks of
    """

    label: ExcessInformation
    words: ExcessInformation
    given_words: ExcessInformation
    share: float
    share_excess: float
    agreement: float
    backed_off: float
    one_label: float
    covered: float


def composition(
    ids_tlk: NDArray[np.unsignedinteger],
    token_t: NDArray[np.integer],
    document_t: NDArray[np.integer],
    labels_d: NDArray[np.integer],
    *,
    least_tokens: int = 10,
    permutations: int = 1000,
    seed: int = 0,
    strata_d: NDArray[np.integer] | None = None,
) -> tuple[Composition, ...]:
    """What experts tell about the label of a document, what the words alone would, and what is left at the same word.

    `words` asks how far apart the labels' profiles would be if an expert saw the token id and nothing else: each
    assignment of id x in document d counts as p(e | x) estimated from the other documents. No document predicts itself,
    so an id seen in one document only cannot pass that document's routing off as a property of the word: it is
    predicted as the average assignment of the other documents, and adds nothing (`backed_off`). An id seen in several
    documents of one label only does count as a word (`one_label` bounds how much that is).

    `given_words` is I(expert; label | token id) over the ids that occur at least `least_tokens` times under each of two
    labels or more, in those labels (`covered`). It is not `label` minus `words` and can exceed both: experts may move
    with the label at every word in ways that cancel in the sum.

    `label` and `words` are held against labels permuted over the documents. For `given_words` such labels are no null:
    true labels have words of their own, in which permuted ones would share, and words that are frequent enough under
    two of the true labels are often too rare under permuted ones. Chance tells most at rare words, so that it would
    tell another number of bits. Instead every label keeps its documents and they their words, and a draw flips, or does
    not, the sign of all in which a document departs from what its words do in its stratum. How far labels are apart is
    chi-squared there, which signs leave undistorted where counts are small, in as many bits as the observed one is.

    Shapes      ids_tlk (tokens, layers, slots) as in a record; token_t, document_t (tokens,); labels_d and strata_d
                (documents,). One result per layer. A negative label leaves its document out. With strata, labels move
                only within a stratum, and a document departs from what its words do there.
    Units       Bits, and shares from 0 to 1; `share` and `share_excess` can pass 1, and the latter fall below 0.
    Undefined   NaN where a layer has no assignments; `given_words` where no id is covered; `share` where the experts
                tell nothing, `share_excess` where they tell no more than chance (and noise where label.p_value is
                large); `agreement` where either table is independent.
    Not this    A causal share: a router does not see the id but a hidden state, which holds the text before it. Nor a
                property of an expert. With n documents the prediction leans away from a document's own label by about
                1/n: where every id occurs once under each label (translations side by side), `words` is all lean,
                large, and `agreement` negative. Where a label has a word in n documents, `given_words` keeps about
                1 - 1/n of what it tells there: of one document alone it cannot be told from the document's own ways.
    Source      Direct standardisation by token id, left-one-document-out; conditional mutual information, Shannon 1948.
                Signs by document as in the wild cluster bootstrap, Cameron, Gelbach and Miller 2008, with departures
                scaled as in MacKinnon and White 1985 (HC2); p as in `excess_information`.

    Experts that follow the word, labels that prefer one word each: the words explain all of it.

    >>> token_t, document_t = np.array([1, 1, 2, 1, 1, 2, 2, 2, 1, 2, 2, 1]), np.arange(12) // 3
    >>> ids_tlk = (token_t - 1).astype(np.uint8)[:, None, None]
    >>> layer = composition(ids_tlk, token_t, document_t, np.array([0, 0, 1, 1]), least_tokens=2, permutations=99)[0]
    >>> round(layer.label.observed_bits, 4), layer.share, round(layer.agreement, 6), layer.given_words.observed_bits
    (0.0817, 1.0, 1.0, 0.0)
    """
    labels_d, strata_d = checked_documents(ids_tlk, token_t, document_t, labels_d, strata_d, least_tokens, permutations)
    rows_t = (labels_d[document_t] >= 0) & (ids_tlk != np.iinfo(ids_tlk.dtype).max).any(axis=(1, 2))
    table = by_id(ids_tlk[rows_t], np.asarray(token_t)[rows_t], np.asarray(document_t)[rows_t])
    labels_d, strata_d = labels_d[table.met_d], strata_d[table.met_d]
    _, group_d = np.unique(labels_d, return_inverse=True)
    sign_bd = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (permutations, len(group_d)))
    count_dle, predicted_dle, alone_dl = _profiles(table)
    ask = partial(excess_information, labels_d=group_d, permutations=permutations, seed=seed, strata_d=strata_d)
    parts = zip(
        ask(count_dle), ask(predicted_dle), _given_words(table, group_d, strata_d, sign_bd, least_tokens), strict=True
    )
    agreement_l = [
        _cosine_similarity(*_tables(layer, count_dle, predicted_dle, group_d)) for layer in range(ids_tlk.shape[1])
    ]
    one_label_l = _one_label(table, group_d)
    return tuple(
        _layer(label, words, given, agreement_l[layer], float(alone_dl[:, layer].sum()), float(one_label_l[layer]))
        for layer, (label, words, given) in enumerate(parts)
    )


def _layer(
    label: ExcessInformation,
    words: ExcessInformation,
    given_words: ExcessInformation,
    agreement: float,
    alone: float,
    one_label: float,
) -> Composition:
    """One layer's result; `alone` and `one_label` are numbers of assignments."""
    every, nan = label.assignments, float("nan")
    return Composition(
        label=label,
        words=words,
        given_words=given_words,
        share=words.observed_bits / label.observed_bits if label.observed_bits > _LEAST_BITS else nan,
        share_excess=words.excess_bits / label.excess_bits if label.excess_bits > _LEAST_BITS else nan,
        agreement=agreement,
        backed_off=alone / every if every else nan,
        one_label=one_label / every if every else nan,
        covered=given_words.assignments / every if every else nan,
    )


def _profiles(table: ById) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Executed and predicted counts of each document, and how many of its assignments no other document's id backs."""
    shape = (len(table.met_d), len(table.ids_lpk), table.experts)
    count_dle, predicted_dle, alone_dl = np.zeros(shape), np.zeros(shape), np.zeros(shape[:2])
    _elsewhere(table.ids_lpk, table.document_p, table.start_x, count_dle, predicted_dle, alone_dl)
    other_dle = count_dle.sum(axis=0) - count_dle
    rest_dl1 = other_dle.sum(axis=2, keepdims=True)
    other_dle = np.where(rest_dl1 > 0, other_dle, count_dle)  # the only document of a layer: it can tell nothing anyway
    total_dl1 = np.maximum(other_dle.sum(axis=2, keepdims=True), 1.0)
    return count_dle, predicted_dle + alone_dl[:, :, None] * other_dle / total_dl1, alone_dl


@jit
def _elsewhere(
    ids_lpk: NDArray[np.unsignedinteger],
    document_p: NDArray[np.integer],
    start_x: NDArray[np.integer],
    count_dle: NDArray[np.float64],
    predicted_dle: NDArray[np.float64],
    alone_dl: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Each id's assignments in a document, spread over experts as the same id's are in the other documents."""
    layers, _, slots = ids_lpk.shape
    experts = count_dle.shape[2]
    count_e, own_e = np.zeros(experts, np.int64), np.zeros(experts, np.int64)
    for layer in range(layers):
        for run in range(len(start_x) - 1):
            start, stop, filled = start_x[run], start_x[run + 1], 0
            for place in range(start, stop):
                for slot in range(slots):
                    if ids_lpk[layer, place, slot] < experts:
                        count_e[ids_lpk[layer, place, slot]] += 1
                        filled += 1
            while start < stop:
                document, own = document_p[start], 0
                while start < stop and document_p[start] == document:
                    for slot in range(slots):
                        if ids_lpk[layer, start, slot] < experts:
                            own_e[ids_lpk[layer, start, slot]] += 1
                            own += 1
                    start += 1
                rest = filled - own
                for expert in range(experts):
                    count_dle[document, layer, expert] += own_e[expert]
                    if rest > 0:
                        predicted_dle[document, layer, expert] += own * (count_e[expert] - own_e[expert]) / rest
                    own_e[expert] = 0
                if rest == 0:
                    alone_dl[document, layer] += own
            count_e[:] = 0


def _tables(
    layer: int, count_dle: NDArray[np.float64], predicted_dle: NDArray[np.float64], group_d: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Executed and predicted counts of one layer by true label."""
    onehot_gd = (group_d == np.arange(_groups(group_d))[:, None]).astype(np.float64)
    return onehot_gd @ count_dle[:, layer], onehot_gd @ predicted_dle[:, layer]


def _cosine_similarity(count_ge: NDArray[np.float64], predicted_ge: NDArray[np.float64]) -> float:
    """Cosine of two tables' departures from independence, each cell in roots of its expected count."""
    first, second = _departures(count_ge), _departures(predicted_ge)
    lengths = np.sqrt((first**2).sum()) * np.sqrt((second**2).sum())
    return float((first * second).sum() / lengths) if lengths > _LEAST_BITS * count_ge.sum() else float("nan")


def _departures(count_ge: NDArray[np.float64]) -> NDArray[np.float64]:
    expected_ge = count_ge.sum(axis=1, keepdims=True) * count_ge.sum(axis=0) / max(count_ge.sum(), 1.0)
    departure_ge: NDArray[np.float64] = (count_ge - expected_ge) / np.sqrt(np.where(expected_ge > 0, expected_ge, 1.0))
    return departure_ge


def _one_label(table: ById, group_d: NDArray[np.int64]) -> NDArray[np.float64]:
    """Assignments, per layer, of ids that occur under one label only."""
    if not len(table.document_p):
        return np.zeros(len(table.ids_lpk))
    group_p, starts = group_d[table.document_p], table.start_x[:-1]
    alike_x = np.minimum.reduceat(group_p, starts) == np.maximum.reduceat(group_p, starts)
    filled_lp = (table.ids_lpk < table.experts).sum(axis=2)
    alike_l: NDArray[np.float64] = filled_lp @ np.repeat(alike_x, np.diff(table.start_x)).astype(np.float64)
    return alike_l


def _given_words(
    table: ById,
    group_d: NDArray[np.int64],
    strata_d: NDArray[np.integer],
    sign_bd: NDArray[np.int8],
    least: int,
) -> list[ExcessInformation]:
    """Information about the label at the same id, over ids that are often enough under two labels or more."""
    sums = flipped_sums(table, group_d, strata_d, sign_bd, _groups(group_d), least)
    own_p = _label_where_often(table, group_d, least)
    filled_lp = (table.ids_lpk < table.experts).any(axis=2) & (own_p >= 0)
    documents_l = [len(np.unique(table.document_p[filled_p])) for filled_p in filled_lp]
    return [_conditional(*layer, documents=documents) for *layer, documents in zip(*sums, documents_l, strict=True)]


def _conditional(
    bits: float, entropy: float, total: float, squares: float, flipped_b: NDArray[np.float64], *, documents: int
) -> ExcessInformation:
    """One layer's conditional information; the null's chi-squared in bits, as many as the observed one's is."""
    told, nan = total > 0, float("nan")
    observed = max(bits / total, 0.0) if told else nan
    bits_of_square = observed / squares if squares > _LEAST_BITS * total else 1 / (2 * np.log(2) * max(total, 1.0))
    return against_null(
        float(observed),
        flipped_b * bits_of_square if told else np.full(len(flipped_b), np.nan),
        label_entropy_bits=float(entropy / total) if told else nan,
        documents=documents,
        assignments=int(total),
    )


def of_ids(table: ById, chosen_x: NDArray[np.bool_]) -> ById:
    """The same table with only some of its ids; documents keep their numbers."""
    length_x = np.diff(table.start_x)
    kept_p = np.repeat(chosen_x, length_x)
    return table._replace(
        ids_lpk=np.ascontiguousarray(table.ids_lpk[:, kept_p]),
        row_p=table.row_p[kept_p],
        document_p=table.document_p[kept_p],
        start_x=np.append(0, np.cumsum(length_x[chosen_x])),
    )


def _groups(group_d: NDArray[np.int64]) -> int:
    return int(group_d.max(initial=0)) + 1


def _label_where_often(table: ById, group_d: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Each place's true label, -1 where its id is too rare under it, or often enough under no other."""
    group_p = group_d[table.document_p]
    run_p = np.repeat(np.arange(len(table.start_x) - 1), np.diff(table.start_x))
    often_xg = np.zeros((len(table.start_x) - 1, _groups(group_d)), np.int64)
    np.add.at(often_xg, (run_p, group_p), 1)
    is_often_xg = often_xg >= least
    is_often_xg &= is_often_xg.sum(axis=1, keepdims=True) >= 2
    return np.where(is_often_xg[run_p, group_p], group_p, -1)


def checked_documents(
    ids_tlk: NDArray[np.unsignedinteger],
    token_t: NDArray[np.integer],
    document_t: NDArray[np.integer],
    labels_d: NDArray[np.integer],
    strata_d: NDArray[np.integer] | None,
    least_tokens: int,
    permutations: int,
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Labels and strata as plain arrays, one of each per document."""
    check_flat(ids_tlk, token_t, document_t, permutations)
    labels_d = np.asarray(labels_d)
    strata_d = np.zeros(len(labels_d), dtype=np.int64) if strata_d is None else np.asarray(strata_d)
    if labels_d.ndim != 1 or strata_d.shape != labels_d.shape:
        raise bad(f"{labels_d.shape} labels and {strata_d.shape} strata", "one label and one stratum per document")
    if not np.issubdtype(labels_d.dtype, np.integer):
        raise bad(f"labels of type {labels_d.dtype}", "integers, negative for a document without a label")
    if len(document_t) and not 0 <= np.min(document_t) <= np.max(document_t) < len(labels_d):
        raise bad(f"documents {np.min(document_t)}…{np.max(document_t)} for {len(labels_d)} labels", "a label for each")
    if least_tokens < 1:
        raise bad(f"at least {least_tokens} tokens", "1 or more")
    return labels_d, strata_d
