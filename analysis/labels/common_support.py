"""What experts tell about a document's label when every label is given one mix of the words that all of them use."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.composition import checked_documents, of_ids
from gatescope.analysis.labels.words import ById, by_id
from gatescope.analysis.statistics.information import (
    ExcessInformation,
    against_null,
    mutual_information_bits,
    of_shuffles,
    shuffled,
)
from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.load import count_by
from gatescope.analysis.statistics.shares import ratio

_LEAST_BITS = 1e-9
_CHUNK_CELLS = 1 << 16


class CommonSupport(NamedTuple):
    """One layer's information about a document label, before and after the labels are given the same words.

    Every label counts alike in all three, however much text it has: at most log2 of their number could be told.

    overall         bits that experts tell about the label, over all assignments
    raw             the same over the assignments of shared ids, which every label has
    standardised    bits left when every label's assignments are weighted so that the shared ids have one mix
    left            standardised.excess_bits / raw.excess_bits: how much of it the mix of shared words does not explain
    ids             how many ids are shared
    covered         share of a label's assignments that are of shared ids, the mean over labels
    least_covered   the same of the label that has least of them
    alone           share of the mix that is an id which its stratum has under one label only: it is predicted as it
                    is, and tells neither for the label nor against
    reason          why `standardised` is undefined; empty where it is defined
    """

    overall: ExcessInformation
    raw: ExcessInformation
    standardised: ExcessInformation
    left: float
    ids: int
    covered: float
    least_covered: float
    alone: float
    reason: str


class PairSupport(NamedTuple):
    """Two labels by themselves, as they are numbered, and what experts tell of which of them it is, layer by layer."""

    first: int
    second: int
    layers: tuple[CommonSupport, ...]


class _Design(NamedTuple):
    """Label and stratum of each document, documents of a stratum together; labels shuffled (bd), signs drawn (bd)."""

    group_d: NDArray[np.int64]
    stratum_d: NDArray[np.int64]
    groups: int
    shuffled_bd: NDArray[np.intp]
    sign_bd: NDArray[np.float64]


class _Mix(NamedTuple):
    """One layer's shared ids: the places that hold one, and what an assignment of each id weighs under each label."""

    shared_p: NDArray[np.bool_]
    weight_xg: NDArray[np.float64]
    ids: int


def common_support(
    ids_tlk: NDArray[np.unsignedinteger],
    token_t: NDArray[np.integer],
    document_t: NDArray[np.integer],
    labels_d: NDArray[np.integer],
    *,
    least_tokens: int = 10,
    permutations: int = 1000,
    seed: int = 0,
    strata_d: NDArray[np.integer] | None = None,
) -> tuple[CommonSupport, ...]:
    """What experts tell about a label when all labels are given one mix of the words that all of them use.

    Shared ids occur at least `least_tokens` times under every label. Their mix w(x) is the mean over labels of their
    shares; the profile of label g becomes the sum over x of w(x) p(e | x, g). Two labels then differ only by what
    experts do at the same word, and only by as much of that as does not cancel over the words.

    `overall` and `raw` are held against labels shuffled among the documents of a stratum. For `standardised` such
    shuffles would give too little: true labels have some shared words often and others hardly ever, so that p(e | x, g)
    is noisy, while shuffled labels have all of them about equally often. Instead every label keeps its documents and
    its weights, and a draw flips the sign, or does not, of all in which a document departs from what its words do in
    its stratum.

    Shapes      ids_tlk (tokens, layers, slots) as in a record; token_t, document_t (tokens,); labels_d and strata_d
                (documents,). One result per layer. A negative label leaves its document out.
    Units       Bits, from 0 to log2 of the number of labels, and shares from 0 to 1; `left` can pass 1 or fall below 0.
    Undefined   NaN where a layer has no assignments; `raw`, `standardised` and `alone` where no id is shared, which
                `reason` says; `left` where `raw` tells no more than chance (and noise where raw.p_value is large).
    Not this    Information at the same word, which counts moves that cancel over words as well: see `composition`. Nor
                a figure of the whole text: with many labels the shared words may be commas and digits, so read it with
                `covered`. Nor free of what single documents are like: where four or so have the words, p is coarse.
    Source      Direct standardisation, on the common support; generalised Jensen-Shannon divergence, Lin 1991. Signs
                by document as in the wild cluster bootstrap, Cameron, Gelbach and Miller 2008, with departures scaled
                for what a document adds to its own prediction, MacKinnon and White 1985 (HC2); p as in
                `excess_information`.

    Experts that follow the word, labels that prefer one word each: with one mix of the two words nothing is left.

    >>> token_t, document_t = np.array([1, 1, 1, 2, 1, 1, 1, 2, 2, 2, 2, 1, 2, 2, 2, 1]), np.arange(16) // 4
    >>> ids_tlk = (token_t - 1).astype(np.uint8)[:, None, None]
    >>> layer = common_support(ids_tlk, token_t, document_t, np.array([0, 0, 1, 1]), least_tokens=2, permutations=99)[0]
    >>> round(layer.raw.observed_bits, 4), round(layer.standardised.observed_bits, 9), layer.ids, layer.covered
    (0.1887, 0.0, 2, 1.0)
    """
    labels_d, strata_d = checked_documents(ids_tlk, token_t, document_t, labels_d, strata_d, least_tokens, permutations)
    rows_t = (labels_d[document_t] >= 0) & (ids_tlk != np.iinfo(ids_tlk.dtype).max).any(axis=(1, 2))
    order_d = np.argsort(strata_d, kind="stable")
    table = by_id(ids_tlk[rows_t], np.asarray(token_t)[rows_t], np.argsort(order_d)[np.asarray(document_t)[rows_t]])
    met_d = order_d[table.met_d]
    design = _design(labels_d[met_d], strata_d[met_d], permutations, seed)
    tokens_xg = _by_cell(table, design, np.ones(len(table.row_p)))
    often = of_ids(table, np.all(tokens_xg >= least_tokens, axis=1))
    mix_l = [_mix(often, layer_pk, design, least_tokens) for layer_pk in often.ids_lpk]
    count_dle = np.stack([_counts(table, layer_pk) for layer_pk in table.ids_lpk], axis=1)
    shared = (_counts(often, layer_pk, mix.shared_p) for layer_pk, mix in zip(often.ids_lpk, mix_l, strict=True))
    shared_dle = np.stack(list(shared), axis=1)
    parts = zip(_raw(count_dle, design), _raw(shared_dle, design), mix_l, strict=True)
    covered_lg = ratio(_by_label(shared_dle, design), _by_label(count_dle, design))
    return tuple(
        _layer(overall, raw, _standardised(often, layer, mix, raw, design), mix.ids, covered_lg[layer], least_tokens)
        for layer, (overall, raw, mix) in enumerate(parts)
    )


def support_of_pairs(
    ids_tlk: NDArray[np.unsignedinteger],
    token_t: NDArray[np.integer],
    document_t: NDArray[np.integer],
    labels_d: NDArray[np.integer],
    *,
    least_tokens: int = 10,
    permutations: int = 1000,
    seed: int = 0,
    strata_d: NDArray[np.integer] | None = None,
) -> tuple[PairSupport, ...]:
    """The same of every two labels by themselves: two have more words in common than all of them do.

    Shapes, units, what is undefined and what it is not: as `common_support`, of two labels at a time. The p-values of
    the pairs are not corrected for being many.

    >>> token_t, document_t = np.array([1, 2, 1, 2, 1, 2, 3, 4]), np.arange(8) // 2
    >>> ids_tlk = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.uint8)[:, None, None]
    >>> labels_d, options = np.array([0, 0, 1, 2]), {"least_tokens": 1, "permutations": 9}
    >>> pairs = support_of_pairs(ids_tlk, token_t, document_t, labels_d, **options)
    >>> [(pair.first, pair.second, pair.layers[0].ids, pair.layers[0].standardised.observed_bits) for pair in pairs]
    [(0, 1, 2, 1.0), (0, 2, 0, nan), (1, 2, 0, nan)]
    """
    labels_d, _ = checked_documents(ids_tlk, token_t, document_t, labels_d, strata_d, least_tokens, permutations)
    label_t, found = labels_d[document_t], []
    for first, second in combinations(np.unique(labels_d[labels_d >= 0]).tolist(), 2):
        rows_n = np.flatnonzero((label_t == first) | (label_t == second))
        layers = common_support(
            ids_tlk[rows_n],
            token_t[rows_n],
            document_t[rows_n],
            labels_d,
            least_tokens=least_tokens,
            permutations=permutations,
            seed=seed,
            strata_d=strata_d,
        )
        found.append(PairSupport(first, second, layers))
    return tuple(found)


def _design(labels_d: NDArray[np.integer], strata_d: NDArray[np.integer], permutations: int, seed: int) -> _Design:
    generator = np.random.default_rng(seed)
    names, group_d = np.unique(labels_d, return_inverse=True)
    shuffled_bd = shuffled(group_d, strata_d, permutations, generator)
    sign_bd = generator.choice(np.array([-1.0, 1.0]), shuffled_bd.shape)
    return _Design(group_d, np.asarray(strata_d), max(len(names), 1), shuffled_bd, sign_bd)


def _by_cell(table: ById, design: _Design, weight_p: NDArray[np.number | np.bool_]) -> NDArray[np.float64]:
    """Sums over the places of each id and label: (ids, labels)."""
    run_p = np.repeat(np.arange(len(table.start_x) - 1), np.diff(table.start_x))
    shape = (len(table.start_x) - 1, design.groups)
    cell_p = run_p * design.groups + design.group_d[table.document_p]
    return np.bincount(cell_p, weight_p, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _mix(table: ById, ids_pk: NDArray[np.unsignedinteger], design: _Design, least: int) -> _Mix:
    """The ids with enough tokens at one layer under every label, and what makes their shares the same."""
    filled_p = np.count_nonzero(ids_pk < table.experts, axis=1)
    shared_x = np.all(_by_cell(table, design, filled_p > 0) >= least, axis=1) & (design.groups > 1)
    filled_xg = _by_cell(table, design, filled_p) * shared_x[:, None]
    share_xg = ratio(filled_xg, filled_xg.sum(axis=0))
    weight_xg = np.nan_to_num(ratio(share_xg.mean(axis=1, keepdims=True), filled_xg))
    return _Mix(np.repeat(shared_x, np.diff(table.start_x)), weight_xg, int(shared_x.sum()))


def _counts(
    table: ById, ids_pk: NDArray[np.unsignedinteger], chosen_p: NDArray[np.bool_] | slice = slice(None)
) -> NDArray[np.float64]:
    """Assignments of every document at one layer, over chosen places: (documents, experts)."""
    return count_by(ids_pk[chosen_p][:, None], table.document_p[chosen_p], len(table.met_d), table.experts)[
        :, 0
    ].astype(np.float64)


def _by_label(count_dle: NDArray[np.float64], design: _Design) -> NDArray[np.float64]:
    """Assignments of each layer and label."""
    onehot_gd = design.group_d == np.arange(design.groups)[:, None]
    filled_lg: NDArray[np.float64] = (onehot_gd @ count_dle.sum(axis=2)).T
    return filled_lg


def _even_bits(count_ge: NDArray[np.float64]) -> NDArray[np.float64]:
    """Information of labels that count alike; a label without assignments is left out."""
    total_g1 = count_ge.sum(axis=-1, keepdims=True)
    return mutual_information_bits(count_ge / np.where(total_g1 > 0, total_g1, 1.0))


def _raw(count_dle: NDArray[np.float64], design: _Design) -> list[ExcessInformation]:
    """What experts tell of the label, against labels shuffled among documents, layer by layer."""
    every_bd = np.concatenate([design.group_d[None], design.shuffled_bd])
    bits_bl = of_shuffles(count_dle, every_bd, design.groups, _even_bits)
    filled_dl = count_dle.sum(axis=2)
    return [
        against_null(
            float(bits_bl[0, layer]),
            bits_bl[1:, layer],
            label_entropy_bits=float(np.log2(design.groups)) if filled_dl[:, layer].any() else float("nan"),
            documents=int(np.count_nonzero(filled_dl[:, layer])),
            assignments=int(filled_dl[:, layer].sum()),
        )
        for layer in range(count_dle.shape[1])
    ]


def _standardised(
    table: ById, layer: int, mix: _Mix, raw: ExcessInformation, design: _Design
) -> tuple[ExcessInformation, float]:
    """Information under one mix of words against sign flips; and the share of the mix that is alone."""
    shape = (design.groups, table.experts)
    profile_ge, predicted_ge, moved_de = np.zeros(shape), np.zeros(shape), np.zeros((len(table.met_d), shape[1]))
    alone = _depart(
        table.ids_lpk[layer],
        table.document_p,
        table.start_x,
        mix.weight_xg,
        design.group_d,
        design.stratum_d,
        profile_ge,
        predicted_ge,
        moved_de,
    )
    observed = float(_even_bits(profile_ge))
    null_b = np.concatenate([_even_bits(shuffle_bge) for shuffle_bge in _flipped(predicted_ge, moved_de, design)])
    entropy, documents, assignments = raw.label_entropy_bits, raw.documents, raw.assignments
    told = against_null(observed, null_b, label_entropy_bits=entropy, documents=documents, assignments=assignments)
    return told, alone / design.groups if mix.ids else float("nan")


def _flipped(
    predicted_ge: NDArray[np.float64], moved_de: NDArray[np.float64], design: _Design
) -> Iterator[NDArray[np.float64]]:
    """Profiles with every document's departure added or taken away, a bounded number of shuffles at a time."""
    step = max(1, _CHUNK_CELLS // max(1, predicted_ge.size))
    own_gd = [np.flatnonzero(design.group_d == group) for group in range(design.groups)]
    for start in range(0, len(design.sign_bd), step):
        sign_bd = design.sign_bd[start : start + step]
        moved_bge = np.stack([sign_bd[:, own_d] @ moved_de[own_d] for own_d in own_gd], axis=1)
        yield np.maximum(predicted_ge + moved_bge - moved_bge.mean(axis=1, keepdims=True), 0.0)


@jit
def _depart(
    ids_pk: NDArray[np.unsignedinteger],
    document_p: NDArray[np.integer],
    start_x: NDArray[np.integer],
    weight_xg: NDArray[np.float64],
    group_d: NDArray[np.integer],
    stratum_d: NDArray[np.integer],
    profile_ge: NDArray[np.float64],
    predicted_ge: NDArray[np.float64],
    moved_de: NDArray[np.float64],
) -> float:  # pragma: no cover
    """Profiles of the labels under one mix, as executed and as the word predicts them within a stratum, and departures.

    Returns the summed weight of ids that a stratum has under one label only.
    """
    groups, experts = profile_ge.shape
    count_e, own_e, filled_g = np.zeros(experts), np.zeros(experts), np.zeros(groups)
    alone = 0.0
    for run in range(len(start_x) - 1):
        start, end, weight_g = start_x[run], start_x[run + 1], weight_xg[run]
        while start < end and weight_g[0] > 0:
            stop, stratum = start, stratum_d[document_p[start]]
            count_e[:], filled_g[:] = 0.0, 0.0
            while stop < end and stratum_d[document_p[stop]] == stratum:
                filled_g[group_d[document_p[stop]]] += _count(ids_pk[stop], count_e)
                stop += 1
            filled, free = filled_g.sum(), _freedom(filled_g, weight_g)
            alone += (filled_g * weight_g).sum() if free == 0.0 else 0.0
            for group in range(groups if filled > 0 else 0):
                for expert in range(experts):
                    predicted_ge[group, expert] += weight_g[group] * filled_g[group] * count_e[expert] / filled
            while start < stop:
                document, own = document_p[start], 0.0
                own_e[:] = 0.0
                while start < stop and document_p[start] == document:
                    own += _count(ids_pk[start], own_e)
                    start += 1
                group, scale = group_d[document], 0.0
                if own < filled:
                    scale = weight_g[group] * np.sqrt(free / (1.0 - own / filled))
                for expert in range(experts):
                    profile_ge[group, expert] += weight_g[group] * own_e[expert]
                    if own < filled:
                        moved_de[document, expert] += scale * (own_e[expert] - own / filled * count_e[expert])
    return alone


@jit
def _count(ids_k: NDArray[np.unsignedinteger], count_e: NDArray[np.float64]) -> float:  # pragma: no cover
    """Adds one place's assignments to the counts; how many they are."""
    filled = 0.0
    for expert in ids_k:
        if expert < len(count_e):
            count_e[expert] += 1.0
            filled += 1.0
    return filled


@jit
def _freedom(filled_g: NDArray[np.float64], weight_g: NDArray[np.float64]) -> float:  # pragma: no cover
    """How much of the noise at one id and stratum parts the labels: 1 where all have it evenly, 0 where one has it.

    The rest is in the prediction, which differs between labels where they have an id in different strata.
    """
    mass, squares, noise, having = 0.0, 0.0, 0.0, 0
    for filled, weight in zip(filled_g, weight_g):  # noqa: B905
        if filled > 0:
            mass += weight * filled
            squares += (weight * filled) ** 2
            noise += weight**2 * filled
            having += 1
    groups = len(filled_g)
    if having < 2:
        return 0.0
    between = (squares - mass**2 / groups) / (filled_g.sum() * (1.0 - 1.0 / groups) * noise)
    freedom: float = min(max(1.0 - between, 0.0), 1.0)
    return freedom


def _layer(
    overall: ExcessInformation,
    raw: ExcessInformation,
    standardised: tuple[ExcessInformation, float],
    ids: int,
    covered_g: NDArray[np.float64],
    least: int,
) -> CommonSupport:
    """One layer's result; NaN and a reason where no id is shared."""
    told, alone = standardised
    reason, some = "", overall.assignments > 0
    if not ids:
        lacking = f"no word has {least} tokens under each of {len(covered_g)} labels"
        reason = (lacking if len(covered_g) > 1 else "fewer than two labels") if some else "no assignments"
    return CommonSupport(
        overall=overall,
        raw=raw,
        standardised=told,
        left=told.excess_bits / raw.excess_bits if raw.excess_bits > _LEAST_BITS else float("nan"),
        ids=ids,
        covered=float(np.nan_to_num(covered_g).mean()) if some else float("nan"),
        least_covered=float(np.nan_to_num(covered_g).min()) if some else float("nan"),
        alone=alone,
        reason=reason,
    )
