"""Documents and tokens as points: which are routed alike, on a plane to look at and in numbers that do not need one.

What is measured (neighbours, purity) is measured in the original space, never on the plane: a plane of two axes cannot
keep the distances of hundreds. All that is needed of the space are the points' inner products, layer after layer added
up, so that a model of many experts needs no more memory than one of few.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from gatescope.analysis.registry import BOTH
from gatescope.analysis.statistics.information import shuffled
from gatescope.analysis.statistics.jit import cache_compiled
from gatescope.analysis.tally.tally import Tally, TokenRole, label_numbers, token_roles
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError

MOST_POINTS = 4000
FEWEST_FOR_UMAP = 5
_TIE = 1e-9
_ROWS = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Units of a tally, or tokens of a record, in a space where those that are routed alike are near each other.

    product_nn   inner products of their vectors
    row_n        which unit of the tally, or token of the record, each is
    document_n   which document, or block of documents, each belongs to
    slots_n      assignments behind each: a point of few is where chance put it
    labels       numbers of their labels by what they tell ("domain", "language", "token"), -1 for none
    names        of those numbers
    warnings     what was left out
    """

    product_nn: NDArray[np.float64]
    row_n: NDArray[np.intp]
    document_n: NDArray[np.intp]
    slots_n: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.intp]]
    names: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row_n)


class Layout(NamedTuple):
    """Points on a plane.

    place_nc    (points, 2)
    share_c     share of all variance along each axis; NaN for UMAP, whose axes mean nothing
    size_told   share of the variance of log slots that the place explains, less what chance explains: about 0, also
                below, where long and short documents lie mixed; NaN where all are of one size or for under 5 points
    """

    place_nc: NDArray[np.float64]
    share_c: NDArray[np.float64]
    size_told: float


class Purity(NamedTuple):
    """How often a point's nearest neighbours of other documents bear its own label, and how often chance would have it.

    value         share of neighbours with the same label, averaged over points
    chance        mean of the same over labels shuffled
    chance_spread standard deviation of that
    p_value       share of shuffles at least as pure, the true labels included: never 0
    greatest      what it could be at most, so few points of other documents bearing the same label
    points        labelled points that have such neighbours; documents: how many they are of; labels: how many differ
    warnings      why a value is undefined or says nothing
    """

    value: float
    chance: float
    chance_spread: float
    p_value: float
    greatest: float
    points: int
    documents: int
    labels: int
    warnings: tuple[str, ...] = ()


class _Neighbours(NamedTuple):
    """The nearest of every point, row after row; equally near ones share the places that are left among them."""

    of_x: NDArray[np.intp]
    is_x: NDArray[np.intp]
    weight_x: NDArray[np.float64]


def unit_points(
    tally: Tally,
    *,
    layer: int | None = None,
    facets: Sequence[TokenRole] = BOTH,
    most: int = 2000,
    seed: int = 0,
) -> Points:
    """Documents (or blocks of them) by how they spread over the experts, of one layer or of all.

    Units       Squared distance is the mean over layers of twice the squared Hellinger distance: 0 where two use all
                experts in the same shares, 2 where they share none.
    Undefined   A unit without assignments is left out, with a warning; so are units beyond `most`, chosen by `seed`.
    Not this    Distances free of length: a short document is far from all others by chance alone. See `size_told`.
    Source      Square roots of shares, Hellinger 1909; Legendre and Gallagher 2001 for ordination.
    """
    layers = _layers(layer, len(tally.layers))
    count_ule = tally.summed("assignments", facets)[:, layers]
    slots_u = count_ule.sum(axis=(1, 2))
    row_n, remarks = _chosen(slots_u > 0, most, seed, "documents or blocks without assignments")
    labels, names = {}, {}
    for what in ("domain", "language"):
        label_u, names[what] = label_numbers([getattr(unit, what) for unit in tally.units])
        labels[what] = label_u[row_n]
    return Points(
        product_nn=_products(np.sqrt(_shares(count_ule[row_n, at])) for at in range(len(layers))),
        row_n=row_n,
        document_n=np.arange(len(row_n)),
        slots_n=slots_u[row_n],
        labels=labels,
        names=names,
        warnings=remarks,
    )


def token_points(
    record: RoutingRecord,
    *,
    layer: int | None = None,
    facets: Sequence[TokenRole] = BOTH,
    by_weight: bool = False,
    most: int = 2000,
    seed: int = 0,
) -> Points:
    """Tokens by the experts they use, or by the weights they give them, at one layer or at all: a random `most`.

    Units       Squared distance is the mean over layers of 2 - 2 cosine: 0 where two tokens use the same experts, 2
                where they share none.
    Undefined   A token that no expert of these layers took is left out, with a warning. A layer that has none of it
                adds 0 to its products. `by_weight` of a record without weights: an error.
    Not this    The same in every sample: `seed` chooses it. Tokens of one document are near each other for more than
                one reason, so purity leaves them out.
    """
    layers = _layers(layer, len(record.layers))
    if by_weight and record.weight_tlk is None:
        raise OptionError("no weights in this record", expected="recorded weights", do="choose by_weight=False")
    used_t = (record.ids_tlk[:, layers] != record.empty).any(axis=(1, 2))
    wanted_t = np.isin(token_roles(record), [int(facet) for facet in facets])
    row_n, remarks = _chosen(used_t, most, seed, "tokens that no expert took", wanted_t)
    document_n = record.document_t[row_n].astype(np.intp)
    labels, names = {}, {}
    for what in ("domain", "language"):
        label_d, names[what] = label_numbers([getattr(document, what) for document in record.documents])
        labels[what] = label_d[document_n]
    token_x, labels["token"] = np.unique(record.token_t[row_n], return_inverse=True)
    names["token"] = tuple(record.piece(token) for token in token_x)
    return Points(
        product_nn=_products((_token_block(record, row_n, at, by_weight) for at in layers), len(row_n)),
        row_n=row_n,
        document_n=document_n,
        slots_n=(record.ids_tlk[row_n][:, layers] != record.empty).sum(axis=(1, 2)),
        labels=labels,
        names=names,
        warnings=remarks,
    )


def principal(points: Points) -> Layout:
    """The plane along which points differ most (principal components); the largest of each axis is positive.

    Undefined   `share_c` is NaN where all points are the same; they then all lie at 0.
    Source      Pearson 1901; from inner products, Gower 1966.
    """
    place_nc, variance = _rotated(points, 2)
    share_c = (place_nc**2).sum(axis=0) / variance if variance else np.full(2, np.nan)
    return Layout(place_nc, share_c, _size_told(place_nc, points.slots_n))


def neighbourhood(points: Points, *, neighbours: int = 15, least_distance: float = 0.1, seed: int = 0) -> Layout:
    """A plane that keeps who is near whom (UMAP), started from the principal components; the same for the same seed.

    Undefined   An error for fewer than 5 points. `neighbours` is cut to the number of other points.
    Not this    A map of distances: how far apart clusters lie, how large and how dense they are, means nothing, and
                clusters appear in noise too. Believe `purity`, which is measured before points are laid out.
    Source      McInnes, Healy and Melville 2018 (arXiv 1802.03426); the start as in Kobak and Linderman 2021.
    """
    if len(points) < FEWEST_FOR_UMAP:
        raise OptionError(f"{len(points)} points", expected=f"{FEWEST_FOR_UMAP} or more", do="look at `principal`")
    if neighbours < 2 or not 0 <= least_distance <= 1:
        found = f"{neighbours} neighbours, {least_distance} apart"
        raise OptionError(found, expected="at least 2, and 0 to 1", do="pass 15 and 0.1")
    place_nc, variance = _rotated(points, len(points))
    if variance == 0:
        return Layout(place_nc, np.full(2, np.nan), float("nan"))
    start_nc = place_nc[:, :2] / np.abs(place_nc).max()
    start_nc = start_nc + np.random.default_rng(seed).normal(scale=1e-4, size=start_nc.shape)
    umap = _umap()(
        n_neighbors=min(neighbours, len(points) - 1),
        min_dist=least_distance,
        random_state=seed,
        n_jobs=1,
        init=start_nc.astype(np.float32),
    )
    laid_nc = umap.fit_transform(place_nc).astype(np.float64)
    return Layout(laid_nc, np.full(2, np.nan), _size_told(laid_nc, points.slots_n))


def purity(points: Points, by: str, *, neighbours: int = 10, permutations: int = 200, seed: int = 0) -> Purity:
    """Do the points that are nearest bear the same label? Of points of other documents, in the original space.

    What documents have in common shows as domain, as language and as words at once: read the three beside each other,
    each against its own chance. Labels that are the same throughout every document are shuffled among documents, others
    (token ids) among the tokens of each document, so that what documents alone explain is in the chance.

    Units       1, from 0 to `greatest`.
    Undefined   NaN where no labelled point has one of another document. A point with fewer neighbours than asked for
                counts with those it has; equally near ones share the places that are left.
    Not this    A statement about the plane. Nor does purity above chance by domain speak of domains, as long as
                purity by token id may explain it.
    Source      p = (1 + #{T_π ≥ T}) / (1 + B), Phipson and Smyth 2010.
    """
    if by not in points.labels:
        raise OptionError(f"purity by {by!r}", expected=f"one of {', '.join(points.labels)}", do="choose one of those")
    if neighbours < 1 or permutations < 1:
        found = f"{neighbours} neighbours, {permutations} permutations"
        raise OptionError(found, expected="at least 1 of each", do="pass 10 and 200")
    kept_n = np.flatnonzero(points.labels[by] >= 0)
    label_n, document_n = points.labels[by][kept_n], points.document_n[kept_n]
    near = _neighbours(points.product_nn[np.ix_(kept_n, kept_n)], document_n, neighbours)
    counted_n = np.unique(near.of_x)
    labels, documents = len(np.unique(label_n)), len(np.unique(document_n))
    if not len(counted_n):
        nan, why = float("nan"), f"No purity by {by}: labelled points are of {documents} documents, and 2 are needed."
        return Purity(nan, nan, nan, nan, nan, 0, documents, labels, (why,))
    value = _pure(near, label_n, len(counted_n))
    shuffle_bn = _shuffles(label_n, document_n, permutations, np.random.default_rng(seed))
    chance_b = np.array([_pure(near, shuffled_n, len(counted_n)) for shuffled_n in shuffle_bn])
    return Purity(
        value=value,
        chance=float(chance_b.mean()),
        chance_spread=float(chance_b.std()),
        p_value=float((1 + np.count_nonzero(chance_b >= value - _TIE)) / (1 + permutations)),
        greatest=float(_greatest(label_n, document_n, neighbours)[counted_n].mean()),
        points=len(counted_n),
        documents=documents,
        labels=labels,
        warnings=(f"All points have the same {by}: purity says nothing.",) if labels == 1 else (),
    )


def _layers(layer: int | None, layers: int) -> list[int]:
    if layer is None:
        return list(range(layers))
    if not 0 <= layer < layers:
        raise OptionError(f"layer {layer}", expected=f"0 to {layers - 1}", do="choose a layer of the model")
    return [layer]


def _chosen(
    used: NDArray[np.bool_], most: int, seed: int, without: str, wanted: NDArray[np.bool_] | bool = True
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Numbers of those to lay out, in order, and what is to be said of the others."""
    if not 1 <= most <= MOST_POINTS:
        raise OptionError(f"at most {most} points", expected=f"1 to {MOST_POINTS}", do="lay out a sample")
    left_out = np.count_nonzero(wanted & ~used)
    remarks = (f"{left_out:,} {without} are left out.",) if left_out else ()
    row_n = np.flatnonzero(used & wanted)
    if len(row_n) > most:
        remarks = (*remarks, f"A random {most:,} of {len(row_n):,} are laid out.")
        row_n = np.sort(np.random.default_rng(seed).choice(row_n, most, replace=False))
    return row_n, remarks


def _shares(count_ne: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows that sum to 1, or to 0 where they have nothing."""
    share_ne: NDArray[np.float64] = count_ne / np.maximum(count_ne.sum(axis=1, keepdims=True), 1)
    return share_ne


def _token_block(record: RoutingRecord, row_n: NDArray[np.intp], layer: int, by_weight: bool) -> NDArray[np.float64]:
    """What tokens give each expert of a layer, of length 1 in all; of length 0 where they give nothing."""
    ids_nk = record.ids_tlk[row_n, layer]
    experts = record.layers[layer].experts
    block_ne = np.zeros((len(row_n), experts + 1))  # the last takes the empty slots
    given_nk = record.weight_tlk[row_n, layer] if by_weight and record.weight_tlk is not None else np.ones(ids_nk.shape)
    np.put_along_axis(block_ne, np.minimum(ids_nk, experts).astype(np.intp), given_nk.astype(np.float64), axis=1)
    length_n1 = np.linalg.norm(block_ne[:, :experts], axis=1, keepdims=True)
    return block_ne[:, :experts] / np.where(length_n1 > 0, length_n1, 1.0)


def _products(blocks: Iterator[NDArray[np.float64]], points: int = 0) -> NDArray[np.float64]:
    """Inner products, averaged over blocks."""
    total_nn, number = np.zeros((points, points)), 0
    for number, block_ne in enumerate(blocks, start=1):
        total_nn = block_ne @ block_ne.T if number == 1 else total_nn + block_ne @ block_ne.T
    return total_nn / max(number, 1)


def _rotated(points: Points, axes: int) -> tuple[NDArray[np.float64], float]:
    """Coordinates along the first axes of variance (at least two, however few vary), and all variance times points."""
    number = len(points)
    if not number:
        return np.zeros((0, 2)), 0.0
    mean_n = points.product_nn.mean(axis=0)
    centred_nn = points.product_nn - mean_n - mean_n[:, None] + mean_n.mean()
    variance = float(np.trace(centred_nn))
    if variance <= _TIE * max(np.trace(points.product_nn), _TIE):
        return np.zeros((number, 2)), 0.0
    value_c, vector_nc = eigh(centred_nn, subset_by_index=[max(number - axes, 0), number - 1])
    kept_c = np.flatnonzero(value_c > 1e-12 * variance)[::-1]
    found_nc = vector_nc[:, kept_c] * np.sqrt(value_c[kept_c])
    largest_c = (np.abs(found_nc) > np.abs(found_nc).max(axis=0) * (1 - _TIE)).argmax(axis=0)
    found_nc *= np.sign(found_nc[largest_c, np.arange(len(kept_c))])
    return np.pad(found_nc, ((0, 0), (0, max(2 - len(kept_c), 0)))), variance


def _size_told(place_nc: NDArray[np.float64], slots_n: NDArray[np.int64]) -> float:
    """Adjusted share of variance of a least-squares fit."""
    points, axes = place_nc.shape
    if points < axes + 3 or len(np.unique(slots_n)) < 2:
        return float("nan")
    log_n = np.log(slots_n) - np.log(slots_n).mean()
    known_nc = place_nc - place_nc.mean(axis=0)
    fitted_n = known_nc @ np.linalg.lstsq(known_nc, log_n, rcond=None)[0]
    return float(1 - ((log_n - fitted_n) ** 2).sum() / (log_n**2).sum() * (points - 1) / (points - axes - 1))


@cache
def _umap() -> Any:
    """UMAP, imported when it is asked for: it takes seconds, and warns of a part of it that is not used here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP
    cache_compiled("umap")
    return UMAP


def _neighbours(product_nn: NDArray[np.float64], document_n: NDArray[np.intp], neighbours: int) -> _Neighbours:
    """The nearest points of other documents, some rows at a time."""
    square_n = np.diagonal(product_nn)
    none = np.zeros(0, np.intp)
    of, others, weights = [none], [none], [np.zeros(0)]
    for start in range(0, len(square_n), _ROWS):
        rows = slice(start, start + _ROWS)
        far_mn = square_n[rows, None] + square_n - 2 * product_nn[rows]
        far_mn[document_n[rows, None] == document_n] = np.inf
        near_mn, weight_mn = _nearest(far_mn, neighbours)
        row_x, other_x = np.nonzero(near_mn)
        of.append(row_x + start)
        others.append(other_x)
        weights.append(weight_mn[near_mn])
    return _Neighbours(np.concatenate(of), np.concatenate(others), np.concatenate(weights))


def _nearest(far_mn: NDArray[np.float64], neighbours: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which are nearest in each row, and the share of each in the places, which adds up to 1 where there are any."""
    places_m = np.minimum(neighbours, np.isfinite(far_mn).sum(axis=1))
    most = min(neighbours, far_mn.shape[1])
    first_mk = np.sort(np.partition(far_mn, most - 1, axis=1)[:, :most], axis=1)
    last_m = first_mk[np.arange(len(far_mn)), np.maximum(places_m, 1) - 1]
    last_m1 = np.where(places_m > 0, last_m, -np.inf)[:, None]
    nearer_mn, tied_mn = far_mn < last_m1 - _TIE, np.abs(far_mn - last_m1) <= _TIE
    left_m = (places_m - np.count_nonzero(nearer_mn, axis=1)) / np.maximum(np.count_nonzero(tied_mn, axis=1), 1)
    weight_mn = np.where(nearer_mn, 1.0, left_m[:, None]) / np.maximum(places_m, 1)[:, None]
    return nearer_mn | tied_mn, weight_mn


def _pure(near: _Neighbours, label_n: NDArray[np.intp], points: int) -> float:
    return float(near.weight_x[label_n[near.of_x] == label_n[near.is_x]].sum() / points)


def _shuffles(
    label_n: NDArray[np.intp], document_n: NDArray[np.intp], shuffles: int, generator: np.random.Generator
) -> NDArray[np.intp]:
    """Labels of documents shuffled among documents; labels that change within one, among its points."""
    _, first_d, number_n = np.unique(document_n, return_index=True, return_inverse=True)
    label_d = label_n[first_d]
    if (label_d[number_n] == label_n).all():
        return shuffled(label_d, np.zeros(len(label_d), np.intp), shuffles, generator)[:, number_n]
    return shuffled(label_n, number_n, shuffles, generator)


def _greatest(label_n: NDArray[np.intp], document_n: NDArray[np.intp], neighbours: int) -> NDArray[np.float64]:
    """Share of its places that each point could fill with points of its label and another document."""
    number_n = np.unique(document_n, return_inverse=True)[1]
    both_n = np.unique(label_n * (number_n.max(initial=0) + 1) + number_n, return_inverse=True)[1]
    alike_n = np.bincount(label_n)[label_n] - np.bincount(both_n)[both_n]
    places_n = np.minimum(len(label_n) - np.bincount(number_n)[number_n], neighbours)
    share_n: NDArray[np.float64] = np.minimum(alike_n, places_n) / np.maximum(places_n, 1)
    return share_n
