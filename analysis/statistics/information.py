"""How many bits an expert's choice tells about a document's label, beyond what the same documents tell by chance."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.routing.errors import OptionError

EXACT = 64.0
TINY = 1e-17
_FEW = 4
"""Groups up to which a matrix product adds rows up faster than one row after another."""
_SMALL = 1024
"""Counts whose n ln n is looked up."""
_CHUNK_CELLS = 1 << 16
"""Cells of the tables that are looked at together: as many as stay in the processor's cache."""
_TIE_BITS = 1e-9


class ExcessInformation(NamedTuple):
    """One layer's information about a label, and what chance alone would give.

    The function that returns it says what a shuffle is: for `excess_information`, labels shuffled among documents.

    observed_bits       plug-in mutual information of expert and label over assignments
    null_mean_bits      its mean over the shuffles
    excess_bits         observed minus null mean; about 0, also below, when experts know nothing of the label
    z                   excess in standard deviations of the null; NaN when the null does not vary
    p_value             share of shuffles at least as informative, the observed one included: never 0
    label_entropy_bits  the most that could be told: entropy of the label over assignments
    documents           documents that count, with at least one assignment at this layer
    assignments         their slots, empty ones not counted
    """

    observed_bits: float
    null_mean_bits: float
    excess_bits: float
    z: float
    p_value: float
    label_entropy_bits: float
    documents: int
    assignments: int


def excess_information(
    counts_dle: NDArray[np.number],
    labels_d: NDArray[np.integer],
    *,
    permutations: int = 1000,
    seed: int = 0,
    strata_d: NDArray[np.integer] | None = None,
) -> tuple[ExcessInformation, ...]:
    """Bits that experts tell about the label of a document, against labels permuted over documents.

    Shapes      counts_dle (documents, layers, experts) assignments, or expected ones; labels_d and strata_d
                (documents,). One result per layer. A negative label leaves its document out. With strata, labels move
                only within a stratum.
    Units       Bits. 0: experts are used alike under every label; label entropy: the expert gives the label away.
    Undefined   NaN where a layer has no assignments; z is NaN where every permutation gives the same value.
    Not this    The plug-in value `observed_bits`, which grows with the number of experts and labels and shrinks with
                text; nor a statement about tokens: labels are shuffled among documents, so what the words alone
                explain is still inside.
    Source      Permutation estimate of bias; p = (1 + #{T_π ≥ T}) / (1 + B), Phipson and Smyth 2010.

    Two experts that give away two even labels: 1 bit observed. Of the 6 ways to shuffle two labels to four documents,
    2 separate as well (1 bit), 4 tell nothing (0 bits), so the null mean is near 1/3.

    >>> counts_dle = np.array([[[8, 0]], [[8, 0]], [[0, 8]], [[0, 8]]])
    >>> layer = excess_information(counts_dle, np.array([0, 0, 1, 1]), permutations=999)[0]
    >>> layer.observed_bits, layer.label_entropy_bits, layer.documents, layer.assignments
    (1.0, 1.0, 4, 32)
    >>> abs(layer.null_mean_bits - 1 / 3) < 0.05, abs(layer.p_value - 1 / 3) < 0.05
    (True, True)
    """
    counts_dle, labels_d, strata_d = _checked(counts_dle, labels_d, strata_d, permutations)
    used_d = (labels_d >= 0) & (counts_dle.sum(axis=(1, 2)) > 0)
    counts_dle = counts_dle[used_d].astype(np.float64)
    _, group_d = np.unique(labels_d[used_d], return_inverse=True)
    shuffles = shuffled(group_d, strata_d[used_d], permutations, np.random.default_rng(seed))
    observed_lge = sums_by_label(counts_dle, group_d)
    null_bl = of_shuffles(
        counts_dle, shuffles, len(observed_lge[0]) if len(observed_lge) else 1, mutual_information_bits
    )
    documents_l = np.count_nonzero(counts_dle.sum(axis=2), axis=0)
    return tuple(
        _layer(observed_lge[layer], null_bl[:, layer], int(documents_l[layer])) for layer in range(len(observed_lge))
    )


def mutual_information_bits(counts_ge: NDArray[np.number]) -> NDArray[np.float64]:
    """Plug-in mutual information of the two last axes of a table of counts.

    Shapes      (..., groups, experts) to (...).
    Units       Bits, from 0 (independent) to the smaller of the two entropies.
    Undefined   NaN where a table holds no counts.
    Not this    Information corrected for small samples: see `excess_information`.
    Source      Shannon 1948.

    >>> float(mutual_information_bits(np.array([[4, 0], [0, 4]]))), float(mutual_information_bits(np.ones((2, 2))))
    (1.0, 0.0)
    """
    table_ge = np.asarray(counts_ge, dtype=np.float64)
    total = table_ge.sum(axis=(-1, -2))
    parts = _n_log_n(table_ge).sum(axis=(-1, -2)) + _n_log_n(total)
    parts -= _n_log_n(table_ge.sum(axis=-1)).sum(axis=-1) + _n_log_n(table_ge.sum(axis=-2)).sum(axis=-1)
    bits = np.full(total.shape, np.nan)
    np.divide(parts, total, out=bits, where=total > 0)
    return np.maximum(bits, 0.0)


def shuffled_information_bits(counts_ge: NDArray[np.number]) -> NDArray[np.float64]:
    """Mean of `mutual_information_bits` over all ways to shuffle the same rows and columns to each other anew.

    Shapes      (..., groups, experts) of whole numbers to (...).
    Units       Bits: what tables of these margins tell by chance; about (G - 1) (E - 1) / (2 N ln 2) of many counts.
    Undefined   NaN where a table holds no counts.
    Not this    The chance of documents: single counts are shuffled, as if each were independent of the others.
    Source      Expected mutual information under fixed margins, Vinh, Epps and Bailey 2010. Cells that expect more
                than 64 by the moments of their hypergeometric distribution, all others exactly.

    Two counts of each kind: of 6 shuffles, 2 separate them (1 bit), 4 tell nothing.

    >>> round(float(shuffled_information_bits(np.array([[2, 0], [0, 2]]))), 12)
    0.333333333333
    """
    counts_ge = np.asarray(counts_ge)
    tables_xge = np.ascontiguousarray(counts_ge.reshape(-1, *counts_ge.shape[-2:]), np.int64)
    rows_xg, columns_xe = tables_xge.sum(axis=2), tables_xge.sum(axis=1)
    return np.array(
        [_shuffled(*margins) for margins in zip(rows_xg, columns_xe, strict=True)], dtype=np.float64
    ).reshape(counts_ge.shape[:-2])


@jit
def _shuffled(rows_g: NDArray[np.integer], columns_e: NDArray[np.integer]) -> float:  # pragma: no cover
    """One table: the cells' expected n log n, less the margins'."""
    total = rows_g.sum()
    if total == 0:
        return np.nan
    nats = total * np.log(total)
    for row in rows_g:
        nats -= row * np.log(row) if row else 0.0
    for column in columns_e:
        nats -= column * np.log(column) if column else 0.0
    n_ln_n = np.zeros(_SMALL)
    for n in range(2, _SMALL):
        n_ln_n[n] = n * np.log(n)
    factorials = math.lgamma(total + 1.0)
    row_g = np.array([math.lgamma(row + 1.0) + math.lgamma(total - row + 1.0) for row in rows_g])
    column_e = np.array([math.lgamma(column + 1.0) + math.lgamma(total - column + 1.0) for column in columns_e])
    for g in range(len(rows_g)):
        for e in range(len(columns_e)):
            row, column = float(rows_g[g]), float(columns_e[e])
            if row and column:
                nats += _cell(row, column, float(total), row_g[g] + column_e[e] - factorials, n_ln_n)
    bits: float = max(nats / total / np.log(2), 0.0)
    return bits


@jit
def _cell(
    row: float, column: float, total: float, margins: float, n_ln_n: NDArray[np.float64]
) -> float:  # pragma: no cover
    """Expected n ln n of one cell, which is hypergeometric; `margins` is what factorials of those add to its chance."""
    mean = row * column / total
    if mean > EXACT:
        spread = mean * (total - row) * (total - column) / total / (total - 1)
        third = spread * (total - 2 * row) * (total - 2 * column) / total / (total - 2)
        nats: float = mean * np.log(mean) + spread / 2 / mean - third / 6 / mean**2 + spread**2 / 4 / mean**3
        return nats
    mode = np.floor((row + 1) * (column + 1) / (total + 2))
    top = (
        margins - math.lgamma(mode + 1) - math.lgamma(row - mode + 1)
        - math.lgamma(column - mode + 1) - math.lgamma(total - row - column + mode + 1)
    )  # fmt: skip
    summed, chance, n = 0.0, math.exp(top), mode
    while chance > TINY:  # upwards from the commonest
        summed += chance * (n_ln_n[int(n)] if n < _SMALL else n * np.log(n))
        chance *= (row - n) * (column - n) / (n + 1) / (total - row - column + n + 1)
        n += 1
    chance, n = math.exp(top), mode
    while chance > TINY and n > 2:
        chance *= n * (total - row - column + n) / (row - n + 1) / (column - n + 1)
        n -= 1
        summed += chance * n_ln_n[int(n)] if n < _SMALL else chance * n * np.log(n)
    return summed


def _n_log_n(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """n log2 n, with 0 log2 0 = 0."""
    return counts * np.log2(np.where(counts > 0, counts, 1.0))


def _entropy_bits(counts_g: NDArray[np.float64]) -> float:
    total = counts_g.sum()
    return float(np.log2(total) - _n_log_n(counts_g).sum() / total) if total else float("nan")


def _layer(observed_ge: NDArray[np.float64], null_b: NDArray[np.float64], documents: int) -> ExcessInformation:
    """One layer's result from its observed table and its permuted values."""
    return against_null(
        float(mutual_information_bits(observed_ge)),
        null_b,
        label_entropy_bits=_entropy_bits(observed_ge.sum(axis=1)),
        documents=documents,
        assignments=round(float(observed_ge.sum())),
    )


def against_null(
    observed: float, null_b: NDArray[np.float64], *, label_entropy_bits: float, documents: int, assignments: int
) -> ExcessInformation:
    """An observed value beside the values of the shuffles: excess, z and p, NaN where nothing was observed."""
    mean, deviation = float(null_b.mean()), float(null_b.std(ddof=1)) if len(null_b) > 1 else 0.0
    nan = float("nan")
    p_value = float((1 + np.count_nonzero(null_b >= observed - _TIE_BITS)) / (1 + len(null_b)))
    return ExcessInformation(
        observed_bits=observed,
        null_mean_bits=mean,
        excess_bits=observed - mean,
        z=(observed - mean) / deviation if deviation > _TIE_BITS else nan,
        p_value=nan if np.isnan(observed) else p_value,
        label_entropy_bits=label_entropy_bits,
        documents=documents,
        assignments=assignments,
    )


def shuffled(
    group_d: NDArray[np.integer], strata_d: NDArray[np.integer], shuffles: int, generator: np.random.Generator
) -> NDArray[np.intp]:
    """Labels shuffled at random within each stratum: (shuffles, documents)."""
    shuffled_bd = np.empty((shuffles, len(group_d)), dtype=np.intp)
    drawn_bd = generator.random(shuffled_bd.shape)
    for stratum in np.unique(strata_d):
        own_s = np.flatnonzero(strata_d == stratum)
        # doubles drawn at random do not tie: a stable sort, which takes four times as long, gives the same
        shuffled_bd[:, own_s] = group_d[own_s[np.argsort(drawn_bd[:, own_s], axis=1)]]
    return shuffled_bd


def of_shuffles(
    counts_dle: NDArray[np.number],
    group_bd: NDArray[np.integer],
    groups: int,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """A statistic of the counts of each group and expert, one number for each shuffle and layer: (shuffles, layers).

    `statistic` takes (shuffles, groups, experts) of a layer, some at a time, so that no table leaves the cache.
    """
    layers, experts = counts_dle.shape[1:]
    count_lde = np.ascontiguousarray(counts_dle.swapaxes(0, 1), floats_for(counts_dle))
    value_bl = np.empty((len(group_bd), layers))
    for rows, shuffles in in_parts(group_bd, groups, experts):
        for layer, count_de in enumerate(count_lde):
            value_bl[rows, layer] = statistic(shuffles.sums(count_de))
    return value_bl


def in_parts(group_bd: NDArray[np.integer], groups: int, cells: int) -> Iterator[tuple[slice, "Shuffles"]]:
    """Shuffles, as many at a time as leave their sums of so many cells in the processor's cache."""
    step = max(1, _CHUNK_CELLS // max(1, groups * cells))
    for start in range(0, len(group_bd), step):
        yield slice(start, start + step), Shuffles(group_bd[start : start + step], groups)


class Shuffles:
    """Groups that documents are shuffled into, (shuffles, documents), for sums over each; a negative group is none."""

    def __init__(self, group_bd: NDArray[np.integer], groups: int) -> None:
        self._group_bd, self._groups = np.ascontiguousarray(group_bd), groups

    @cached_property
    def _is_own_xd(self) -> NDArray[np.float32] | None:
        """Whose documents each group's are, but the last group's, which has the rest; None for many groups."""
        shuffles, documents = self._group_bd.shape
        if self._groups > _FEW or self._group_bd.min(initial=0) < 0:
            return None
        is_own_bgd = self._group_bd[:, None, :] == np.arange(self._groups - 1)[:, None]
        return np.asarray(is_own_bgd.reshape(shuffles * (self._groups - 1), documents), np.float32)

    def sums(self, count_dx: NDArray[np.floating]) -> NDArray[np.float64]:
        """Rows of documents added up by group: (shuffles, groups, cells).

        Floats of 4 bytes must be whole numbers whose sums are exact (`floats_for`).

        >>> shuffles = Shuffles(np.array([[0, 1, 0], [1, 1, -1]]), 2)
        >>> shuffles.sums(np.array([[1.0], [2.0], [4.0]]))[:, :, 0].tolist()
        [[5.0, 2.0], [0.0, 3.0]]
        """
        shape = (len(self._group_bd), self._groups, count_dx.shape[1])
        if count_dx.dtype == np.float32 and self._is_own_xd is not None:
            sums_bgx = np.empty(shape)
            sums_bgx[:, :-1] = (self._is_own_xd @ count_dx).reshape(shape[0], shape[1] - 1, shape[2])
            np.subtract(count_dx.sum(axis=0, dtype=np.float64), sums_bgx[:, :-1].sum(axis=1), out=sums_bgx[:, -1])
            return sums_bgx
        sums_bgx = np.zeros(shape, count_dx.dtype)
        _add_rows(np.ascontiguousarray(count_dx), self._group_bd, sums_bgx)
        return sums_bgx.astype(np.float64, copy=False)


@jit
def _add_rows(
    count_dx: NDArray[np.floating], group_bd: NDArray[np.integer], sums_bgx: NDArray[np.floating]
) -> None:  # pragma: no cover
    for shuffle in range(len(group_bd)):
        for document in range(len(count_dx)):
            if group_bd[shuffle, document] >= 0:
                sums_x, count_x = sums_bgx[shuffle, group_bd[shuffle, document]], count_dx[document]
                for cell in range(len(count_x)):
                    sums_x[cell] += count_x[cell]


def sums_by_label(counts_dle: NDArray[np.number], group_d: NDArray[np.integer]) -> NDArray[np.float64]:
    """Counts summed over the documents of each group: (layers, groups, experts)."""
    documents, layers, experts = counts_dle.shape
    groups = int(group_d.max(initial=0)) + 1
    onehot_gd = (group_d == np.arange(groups)[:, None]).astype(np.float64)
    sums = onehot_gd @ counts_dle.reshape(documents, layers * experts)
    counts_lge: NDArray[np.float64] = sums.reshape(groups, layers, experts).swapaxes(0, 1)
    return counts_lge


def floats_for(counts_dle: NDArray[np.number]) -> type[np.floating]:
    """Floats of 4 bytes where they hold any sum over documents exactly, as they do whole numbers below 2 ** 24."""
    is_whole = counts_dle.dtype.kind in "iub" or bool((counts_dle == np.rint(counts_dle)).all())
    is_small = bool(counts_dle.sum(axis=0).max(initial=0) < 1 << np.finfo(np.float32).nmant)
    return np.float32 if is_whole and is_small else np.float64


def _checked(
    counts_dle: NDArray[np.number],
    labels_d: NDArray[np.integer],
    strata_d: NDArray[np.integer] | None,
    permutations: int,
) -> tuple[NDArray[np.number], NDArray[np.integer], NDArray[np.integer]]:
    """The arguments as plain arrays that agree with each other."""
    counts_dle, labels_d = np.ma.filled(counts_dle, 0), np.asarray(labels_d)
    strata_d = np.zeros(len(labels_d), dtype=np.int64) if strata_d is None else np.asarray(strata_d)
    if counts_dle.ndim != 3:
        raise _bad(f"counts of shape {counts_dle.shape}", "(documents, layers, experts)")
    if labels_d.shape != counts_dle.shape[:1] or strata_d.shape != labels_d.shape:
        found = f"{labels_d.shape} labels and {strata_d.shape} strata for {len(counts_dle)} documents"
        raise _bad(found, "one label and one stratum per document")
    if not np.issubdtype(labels_d.dtype, np.integer):
        raise _bad(f"labels of type {labels_d.dtype}", "integers, negative for a document without a label")
    if counts_dle.size and counts_dle.min() < 0:
        raise _bad(f"a count of {counts_dle.min()}", "counts of 0 or more")
    if permutations < 1:
        raise _bad(f"{permutations} permutations", "at least 1")
    return counts_dle, labels_d, strata_d


def _bad(found: str, expected: str) -> OptionError:
    return OptionError(found, expected=expected, do="pass counts and labels of the same documents")
