"""How groups of documents (domains, languages) use the experts: profiles, how far apart they lie, what chance gives."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.registry import MetricOptions
from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.information import Shuffles, floats_for, in_parts, mutual_information_bits, shuffled
from gatescope.analysis.statistics.shares import ratio, shares
from gatescope.analysis.tally.tally import Tally, label_numbers
from gatescope.routing.errors import OptionError

_TIE = 1e-9

Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Of sums of assignments (draws, groups, layers, experts) and of tokens (draws, groups); answers draws first."""
Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Of two profiles, shares along the last axis."""


OTHER = {"domain": "language", "language": "domain"}


class Labelled(NamedTuple):
    """The units of a tally under one kind of label, in an order that the experts' names have no part in.

    count_ule   assignments of the facets asked for; tokens_u: tokens of those
    group_u     number of the unit's label in `names`, -1 for a unit without one
    unlabelled  documents without a label
    strata_u    number of the unit's other label (its language, under domains): what labels may be shuffled within
    row_u       the unit's row in the tally
    """

    count_ule: NDArray[np.int64]
    tokens_u: NDArray[np.int64]
    group_u: NDArray[np.intp]
    names: tuple[str, ...]
    unlabelled: int
    strata_u: NDArray[np.intp]
    row_u: NDArray[np.intp]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know of the labels."""
        few = [name for g, name in enumerate(self.names) if np.count_nonzero(self.group_u == g) < 2]
        remarks = []
        if self.unlabelled:
            remarks.append(f"{self.unlabelled} documents without a label are left out")
        if few:
            remarks.append(f"one document only (no interval, no test): {', '.join(few)}")
        if len(self.names) < 2:
            remarks.append("one label or none: there is nothing to tell apart")
        elif not self.can_be_shuffled:
            remarks.append("no two labels share a stratum (a language, under domains): no shuffle differs, and p is 1")
        return tuple(remarks)

    @property
    def can_be_shuffled(self) -> bool:
        """Whether any stratum has units of two labels."""
        known_u = self.group_u >= 0
        pairs = np.unique(np.stack([self.strata_u, self.group_u], axis=1)[known_u], axis=0)
        return len(pairs) > len(np.unique(pairs[:, 0]))

    def only(self, chosen_u: NDArray[np.bool_]) -> "Labelled":
        """The same of some units."""
        return self._replace(
            count_ule=self.count_ule[chosen_u],
            tokens_u=self.tokens_u[chosen_u],
            group_u=self.group_u[chosen_u],
            strata_u=self.strata_u[chosen_u],
            row_u=self.row_u[chosen_u],
        )


class Tested(NamedTuple):
    """A measure of the true labels, its mean over shuffled labels, and the share of shuffles at least as large."""

    value: NDArray[np.float64]
    null_mean: NDArray[np.float64]
    p_value: NDArray[np.float64]


class _Part(NamedTuple):
    """Some draws of the labels, and the tokens of each group (draws, groups), which all layers share."""

    shuffles: Shuffles
    tokens_bg: NDArray[np.float64]


def labelled(tally: Tally, ask: MetricOptions) -> Labelled:
    """Units with tokens of the facets asked for, under their domains or languages."""
    count_ule = tally.summed("assignments", ask.facets)
    tokens_u = tally.summed("tokens", ask.facets)
    group_u, names = label_numbers([getattr(unit, ask.by) for unit in tally.units])
    order_u = _nameless_order(count_ule, tokens_u, group_u)
    order_u = order_u[tokens_u[order_u] > 0]
    documents_u = np.array([unit.documents for unit in tally.units])
    unlabelled = int(documents_u[(group_u < 0) & (tokens_u > 0)].sum())
    strata_u, _ = label_numbers([getattr(unit, OTHER[ask.by]) for unit in tally.units])
    own = count_ule[order_u], tokens_u[order_u], group_u[order_u]
    return Labelled(*own, names, unlabelled, strata_u[order_u], order_u)


def _nameless_order(
    count_ule: NDArray[np.number], tokens_u: NDArray[np.number], group_u: NDArray[np.integer]
) -> NDArray[np.intp]:
    """Units by label, size and how they use busy experts: draws do not depend on what the experts are called."""
    weight_le = count_ule.sum(axis=0)
    loads = [np.sort(count_ule, axis=2), *((count_ule * weight_le**power).sum(axis=2) for power in (1, 2, 3))]
    rows_u = [np.concatenate([np.ravel(load[u]) for load in loads]).tobytes() for u in range(len(count_ule))]
    keys = list(zip(group_u.tolist(), tokens_u.tolist(), rows_u, strict=True))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.intp)


def group_sums(units: Labelled) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assignments (groups, layers, experts) and tokens (groups,) of each label."""
    size, known_u = len(units.names), units.group_u >= 0
    count_gle = np.zeros((size, *units.count_ule.shape[1:]), np.int64)
    tokens_g = np.zeros(size, np.int64)
    np.add.at(count_gle, units.group_u[known_u], units.count_ule[known_u])
    np.add.at(tokens_g, units.group_u[known_u], units.tokens_u[known_u])
    return count_gle, tokens_g


def against_shuffles(
    units: Labelled, measure: Measure, *, shuffles: int, seed: int, either_side: bool = False
) -> Tested:
    """A measure of two groups against the same with labels shuffled at random within strata, one layer at a time.

    All units must have a label. With `either_side`, a shuffle is as extreme if it lies as far from the mean of all.
    Errors: OptionError for no shuffles.
    """
    if shuffles < 1:
        raise OptionError(f"{shuffles} shuffles", expected="at least 1", do="ask for more resamples, 1000 for a figure")
    shuffled_bu = shuffled(units.group_u, units.strata_u, shuffles, np.random.default_rng(seed))
    parts = _parts(units, np.concatenate([units.group_u[None], shuffled_bu]))
    layers = [_layer(units, measure, parts, layer, either_side) for layer in range(units.count_ule.shape[1])]
    return Tested(*(np.concatenate(parts) for parts in zip(*layers, strict=True)))


def observed(units: Labelled, measure: Measure) -> NDArray[np.float64]:
    """A measure of the labels as they are."""
    parts = _parts(units, units.group_u[None])
    layers = [_draws(units, measure, parts, layer) for layer in range(units.count_ule.shape[1])]
    value: NDArray[np.float64] = np.concatenate(layers, axis=1)[0]
    return value


def _draws(units: Labelled, measure: Measure, parts: Sequence[_Part], layer: int) -> NDArray[np.float64]:
    """The measure of one layer (draws, 1, …), some draws at a time."""
    own_ue = units.count_ule[:, layer]
    count_ue: NDArray[np.floating] = own_ue.astype(floats_for(own_ue))
    return np.concatenate([measure(part.shuffles.sums(count_ue)[:, :, None], part.tokens_bg) for part in parts])


def _parts(units: Labelled, group_bu: NDArray[np.intp]) -> list[_Part]:
    tokens_u1 = units.tokens_u[:, None].astype(floats_for(units.tokens_u[:, None]))
    drawn = in_parts(group_bu, len(units.names), units.count_ule.shape[2])
    return [_Part(shuffles, shuffles.sums(tokens_u1)[:, :, 0]) for _, shuffles in drawn]


def _layer(
    units: Labelled, measure: Measure, parts: Sequence[_Part], layer: int, either_side: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Value, mean over the shuffles, and p; a shuffle that is undefined counts as larger."""
    draw_b = _draws(units, measure, parts, layer)
    value, mean = draw_b[0], np.nan_to_num(draw_b[1:]).mean(axis=0)
    far_b = np.abs(draw_b - np.nan_to_num(draw_b).mean(axis=0)) if either_side else draw_b
    larger = np.count_nonzero(~(far_b < far_b[0] - _TIE), axis=0)  # the true labels are one of the shuffles
    nan = np.isnan(value)
    return value, np.where(nan, np.nan, mean), np.where(nan, np.nan, larger / len(draw_b))


def pair_distances(
    units: Labelled, distance: Distance, *, shuffles: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Distance of every two groups' profiles, its mean with the two labels shuffled, and p: (l, g, h).

    Only the units of the two groups are shuffled, within their strata, so that a third group has no say. NaN null and p
    without shuffles, for a group of one unit, and of a group with itself, where the distance is 0.
    """
    size, layers = len(units.names), units.count_ule.shape[1]
    count_gle, _ = group_sums(units)
    value, null, p = (np.full((layers, size, size), np.nan) for _ in range(3))
    for g in range(size):
        value[:, g, g] = np.where(count_gle[g].sum(axis=-1) > 0, 0.0, np.nan)
        for h in range(g):
            tested = _pair(units, distance, (h, g), shuffles, seed)
            for table, found in zip((value, null, p), tested, strict=True):
                table[:, g, h] = table[:, h, g] = found
    return value, null, p


def _pair(units: Labelled, distance: Distance, pair: tuple[int, int], shuffles: int, seed: int) -> Tested:
    """Two groups, and no others."""
    both = units.only(np.isin(units.group_u, pair))
    both = both._replace(group_u=(both.group_u == pair[1]).astype(np.intp), names=("", ""))

    def measure(count_bgle: NDArray[np.float64], _tokens_bg: NDArray[np.float64]) -> NDArray[np.float64]:
        share_bgle = shares(count_bgle)
        return distance(share_bgle[:, 0], share_bgle[:, 1])

    if shuffles and np.bincount(both.group_u, minlength=2).min() > 1:
        return against_shuffles(both, measure, shuffles=shuffles, seed=seed)
    value = observed(both, measure)
    return Tested(value, np.full(value.shape, np.nan), np.full(value.shape, np.nan))


def token_share_by_group(
    units: Labelled, *, resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Share of each group's tokens that use each expert, with its interval over the group's units: (g, l, e)."""
    parts = []
    for g in range(len(units.names)):
        own = units.only(units.group_u == g)
        tables = (own.count_ule, own.tokens_u)
        if resamples:
            parts.append(bootstrap(tables, _per_token, resamples=resamples, seed=seed, bounds=(0.0, 1.0))[:3])
        else:
            parts.append((_per_token(*(table.sum(axis=0)[None] for table in tables))[0],) * 3)
    value, low, high = (np.array([part[n] for part in parts]) for n in range(3))
    return (value, low, high) if resamples else (value, None, None)


def _per_token(count_ble: NDArray[np.number], tokens_b: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(count_ble, tokens_b[:, None, None])


def composition_share(count_rows: list[NDArray[np.integer]]) -> tuple[float, float]:
    """Label information of published counts in bits, and which share of it the mix of token ids alone gives.

    Shapes      One array per label, of rows (expert, token id, count).
    Units       Bits; 1: profiles predicted from p(expert | id) lie as far apart as the counted ones. Can pass 1.
    Undefined   NaN where the experts tell nothing of the label.
    Not this    `analysis.composition`, which needs documents: here every label predicts itself, which raises the share.
    Source      Direct standardisation by token id, pooled.

    Two ids, each with an expert of its own: the words explain all.

    >>> rows = [np.array([[0, 7, 3], [1, 8, 1]]), np.array([[0, 7, 1], [1, 8, 3]])]
    >>> round(composition_share(rows)[1], 9)
    1.0
    """
    experts = 1 + max(int(rows[:, 0].max()) for rows in count_rows)
    id_x, place = np.unique(np.concatenate([rows[:, 1] for rows in count_rows]), return_inverse=True)
    places = np.split(place, np.cumsum([len(rows) for rows in count_rows])[:-1])
    count_dxe = np.zeros((len(count_rows), len(id_x), experts))
    for at, (rows, place_r) in enumerate(zip(count_rows, places, strict=True)):
        np.add.at(count_dxe[at], (place_r, rows[:, 0]), rows[:, 2])
    given_xe = shares(count_dxe.sum(axis=0))
    told = float(mutual_information_bits(count_dxe.sum(axis=1)))
    words = float(mutual_information_bits(count_dxe.sum(axis=2) @ given_xe))
    return told, words / told if told > _TIE else float("nan")
