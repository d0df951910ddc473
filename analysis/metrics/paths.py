"""From layer to layer: which expert follows which, how much one tells of the next, and the paths that tokens take."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.load_balance import counts_ule
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.information import mutual_information_bits, shuffled_information_bits
from gatescope.analysis.statistics.load import narrow_count_by
from gatescope.analysis.statistics.shares import entropy_bits, ratio, shares
from gatescope.analysis.tally.pairs import BINS, FEW, count_paths, count_transitions, fits
from gatescope.analysis.tally.tally import Reading, Tally, TokenRole, statistic

RANKS = (1, 10, 100, 1000)
CROWDED = 8
ENOUGH = 5


@statistic(per="facet", axes="gle")
def first_choices(reading: Reading) -> NDArray[np.unsignedinteger]:
    """Tokens that had each expert as their first choice."""
    record = reading.record
    return narrow_count_by(record.ids_tlk[:, :, :1], reading.group_t, len(reading.groups), record.experts)


@statistic(per="group", axes="glef", needs=FEW)
def first_transitions(reading: Reading) -> NDArray[np.unsignedinteger] | None:
    """Tokens by first choice at a layer and at the next one; the last layer has no next one."""
    return _transitions(reading, 1)


@statistic(per="facet", axes="glef", needs=FEW)
def set_transitions(reading: Reading) -> NDArray[np.unsignedinteger] | None:
    """Tokens by every expert chosen at a layer and every one at the next; the last layer has no next one."""
    return _transitions(reading, reading.record.slots)


@statistic(per="facet", axes="gwb")
def paths(reading: Reading) -> NDArray[np.int64]:
    """Tokens by their path of first choices through the first 1, 2, 4 … and all layers, in bins of a hash."""
    record = reading.record
    depths = path_depths(len(record.layers))
    exact = [is_exact(record.experts, depth) for depth in depths]
    return count_paths(record.ids_tlk, reading.group_t, len(reading.groups), record.experts, depths, exact)


@metric(
    title="Transitions of the first choice",
    unit="1 (share of the first expert's tokens)",
    axes="lef",
    range=(0, 1),
    uniform="1 / E",
    null="the next layer's first choices whatever this layer chose",
    needs=("first_transitions", "tokens"),
    source="Yao et al. 2024 (arXiv 2401.08383), inter-layer expert affinity",
)
def transition_share(tally: Tally, ask: MetricOptions) -> Result:
    """Of the tokens whose first choice is one expert, how many have another as first choice in the next layer.

    Shapes      (layers, experts, experts): a layer's expert, then the next layer's.
    Undefined   NaN in the last layer, and for an expert without tokens that go on.
    Not this    Whether an expert's words cause it: much of it is that one word has its experts in both layers.
    """
    count_lef = tally.pooled("first_transitions", facets=ask.facets)
    from_le = count_lef.sum(axis=2)
    to_lf, total_l = count_lef.sum(axis=1), count_lef.sum(axis=(1, 2))
    value_lef = ratio(count_lef, from_le[:, :, None])
    null_lef = np.where(np.isfinite(value_lef), ratio(to_lf, total_l[:, None])[:, None], np.nan)
    own = (_own(tally, value_lef), _own(tally, null_lef))
    return Result(value=own[0], null=own[1])


@metric(
    title="Transitions of the set",
    unit="1 (share of the first expert's tokens)",
    axes="lef",
    range=(0, 1),
    uniform="k / E",
    null="the next layer's loads whatever this layer chose",
    needs=("set_transitions", "assignments", "tokens"),
    source="Yao et al. 2024 (arXiv 2401.08383), over all pairs of both executed sets",
)
def set_transition_share(tally: Tally, ask: MetricOptions) -> Result:
    """Of the tokens that one expert works on, how many another expert works on in the next layer.

    Units       Rows add up to the next layer's k where no slot is empty.
    Undefined   NaN in the last layer and for an expert without tokens.
    Not this    Experts of the same rank only, as some scripts pair them.
    """
    count_lef = tally.pooled("set_transitions", facets=ask.facets)
    from_le = counts_ule(tally, ask).sum(axis=0)
    value_lef = ratio(count_lef, from_le[:-1, :, None])
    null_lf = ratio(count_lef.sum(axis=1), from_le[:-1].sum(axis=1)[:, None])
    null_lef = np.where(np.isfinite(value_lef), null_lf[:, None], np.nan)
    return Result(value=_own(tally, value_lef), null=_own(tally, null_lef))


@metric(
    title="Transition information",
    unit="bits in excess of chance",
    axes="l",
    range=(None, None),
    uniform="0",
    null="mean over all permutations of the layer's choices among the tokens; the plain value is the sum",
    needs=("first_transitions", "tokens"),
    source="Shannon 1948; chance, Vinh, Epps and Bailey 2010",
)
def transition_information(tally: Tally, ask: MetricOptions) -> Result:
    """How many bits a token's first choice tells about its first choice in the next layer, within domains.

    Units       Bits, the mean over domains by tokens; about 0, also below, where layers are independent.
    Undefined   NaN in the last layer, and where no token ran both.
    Not this    The plug-in value, which is too high by about E² / (2 N ln 2) bits. Chance is that of independent
                tokens: tokens of one text are alike, and tell more. With fewer than five tokens to a cell, chance
                tells nearly all there is, and the excess is too low: a warning says where. Nor the value over pooled
                domains, which is higher because domains differ in both layers.
    """
    tables = _by_label(tally, ask, "domain")
    (excess_dl, chance_dl), weight_dl = _bits(tables), _tokens(tables)
    value_l, null_l = (_padded(_weighted(bits_dl, weight_dl)) for bits_dl in (excess_dl, chance_dl))
    return Result(value=value_l, null=null_l, warnings=_sparse(tables))


@metric(
    title="Predictability of the next layer",
    unit="1 (share of the next choice's entropy)",
    axes="l",
    range=(None, 1),
    uniform="0",
    null="0: corrected for what shuffled tokens tell",
    needs=("first_transitions", "tokens"),
    source="Theil 1970, uncertainty coefficient; adjusted for chance as Vinh, Epps and Bailey 2010",
)
def transition_predictability(tally: Tally, ask: MetricOptions) -> Result:
    """What share of the uncertainty about a token's next first choice its present one takes away, within domains.

    Undefined   NaN in the last layer, where no token ran both, and where the next layer has one expert only.
    Not this    Accuracy of a prediction. Limits as in `transition_information`.
    """
    tables = _by_label(tally, ask, "domain")
    (excess_dl, chance_dl), weight_dl = _bits(tables), _tokens(tables)
    entropy_dl = entropy_bits(shares(np.stack(list(tables.values())).sum(axis=2)))
    value_l = _padded(ratio(_weighted(excess_dl, weight_dl), _weighted(entropy_dl - chance_dl, weight_dl).round(12)))
    return Result(value=value_l, null=np.where(np.isnan(value_l), np.nan, 0.0), warnings=_sparse(tables))


@metric(
    title="Transition information by label",
    unit="bits in excess of chance",
    axes="lg",
    range=(None, None),
    uniform="0",
    null="mean over all permutations of the layer's choices among the tokens; the plain value is the sum",
    needs=("first_transitions", "tokens"),
    source="Shannon 1948; chance, Vinh, Epps and Bailey 2010",
    by=("domain", "language"),
)
def transition_information_by_label(tally: Tally, ask: MetricOptions) -> Result:
    """How many bits a token's first choice tells about its next one, in each domain or language on its own."""
    tables = {label: table for label, table in _by_label(tally, ask, ask.by).items() if label}
    excess_gl, chance_gl = _bits(tables) if tables else np.zeros((2, 0, len(tally.layers) - 1))
    return Result(value=_padded(excess_gl.T), null=_padded(chance_gl.T), groups=tuple(tables), warnings=_sparse(tables))


@metric(
    title="Different paths",
    unit="paths",
    axes="w",
    range=(0, None),
    needs=("paths", "tokens"),
    source="Linear counting, Whang et al. 1990",
)
def path_count(tally: Tally, ask: MetricOptions) -> Result:
    """How many different paths tokens take through the first 1, 2, 4 … and all layers, by their first choices.

    Units       Paths; exact while all that are possible have a bin each, an estimate (of standard error 0.3 % at
                50,000 paths) from the share of empty bins beyond.
    Undefined   NaN where every bin is taken (some 700,000 paths).
    Not this    A property of the model alone: it grows with the text, to as many as there are tokens.
    """
    return _over_paths(tally, ask, lambda count_b, exact: _distinct(count_b, exact))


@metric(
    title="Coverage of the most frequent paths",
    unit="1 (share of tokens)",
    axes="wr",
    range=(0, 1),
    needs=("paths", "tokens"),
    source="Exact counts by path, or by the bins of a hash",
)
def path_coverage(tally: Tally, ask: MetricOptions) -> Result:
    """What share of tokens takes the 1, 10, 100 and 1000 most frequent paths.

    Units       1. Where paths share bins it is too high, by about the rank over 65,536, and by more where most paths
                occur once: a warning says at which depths.
    """
    found = _over_paths(tally, ask, lambda count_b, _exact: _coverage(count_b))
    crowded = _over_paths(tally, ask, _is_crowded).value
    names = [name for name, is_crowded in zip(found.labels["w"], crowded, strict=True) if is_crowded]
    warnings = (f"Paths share bins through {', '.join(names)}: coverage there is too high.",) if names else ()
    return replace(found, labels=found.labels | {"r": tuple(f"top {rank}" for rank in RANKS)}, warnings=warnings)


@metric(
    title="Path entropy",
    unit="bits",
    axes="w",
    range=(0, None),
    needs=("paths", "tokens"),
    source="Shannon 1948, plug-in",
)
def path_entropy(tally: Tally, ask: MetricOptions) -> Result:
    """How many bits it takes to tell a token's path of first choices, of the paths that this text takes.

    Undefined   NaN where more than one bin in 8 is taken by a hash: below that, paths that share a bin lower it by at
                most about 0.1 bits.
    Not this    The entropy of the model's paths, which needs many more tokens than paths: at most log2 of the tokens.
                `same_path` has no such bias.
    """
    return _over_paths(tally, ask, _path_entropy)


@metric(
    title="Same path",
    unit="1 (probability)",
    axes="w",
    range=(None, 1),
    uniform="1 / E for each layer, multiplied",
    null="first choices of each layer independent of the others, with their own loads",
    needs=("paths", "first_choices", "tokens"),
    source="Simpson 1949, without bias; corrected for bins shared by chance",
)
def same_path(tally: Tally, ask: MetricOptions) -> Result:
    """How likely two tokens drawn at random take the same path of first choices: one over it is how many paths count.

    Units       1, without bias whatever the number of tokens; with a hash it may fall a little below 0 (by 1 / 65,536).
    Undefined   NaN for fewer than two tokens.
    """
    share_le = shares(tally.pooled("first_choices", facets=ask.facets))
    same_l = np.where(np.isfinite(share_le).any(axis=1), np.nansum(share_le**2, axis=1), 1.0)
    null_w = np.array([same_l[:depth].prod() for depth in path_depths(len(tally.layers))])
    found = _over_paths(tally, ask, _same_path)
    return replace(found, null=np.where(np.isfinite(found.value), null_w, np.nan))


def path_depths(layers: int) -> tuple[int, ...]:
    """Numbers of layers after which paths are counted.

    >>> path_depths(24), path_depths(2)
    ((1, 2, 4, 8, 16, 24), (1, 2))
    """
    powers = [1 << power for power in range(layers.bit_length()) if 1 << power < layers]
    return (*powers, layers)


def is_exact(experts: int, depth: int) -> bool:
    """Whether every possible path of so many layers has a bin of its own."""
    return bool((experts + 1) ** depth <= BINS)


def _transitions(reading: Reading, slots: int) -> NDArray[np.unsignedinteger] | None:
    record = reading.record
    if not fits(len(record.layers), record.experts):
        return None
    return count_transitions(record.ids_tlk[:, :, :slots], reading.group_t, len(reading.groups), record.experts)


def _by_label(tally: Tally, ask: MetricOptions, by: str) -> dict[str, NDArray[np.int64]]:
    """First transitions of the facets asked for, summed by domain or language, in order of the labels."""
    tables: dict[str, NDArray[np.int64]] = {}
    for group, table in tally.grouped("first_transitions"):
        label = getattr(group, by)
        if TokenRole(group.facet) in ask.facets:
            tables[label] = tables[label] + table if label in tables else table
    return dict(sorted(tables.items())) or {"": tally.pooled("first_transitions", facets=())}


def _bits(tables: dict[str, NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mutual information of the two last axes in excess of chance, and chance, by label and layer."""
    count_dlef = np.stack(list(tables.values()))
    chance_dl = shuffled_information_bits(count_dlef)
    return mutual_information_bits(count_dlef) - chance_dl, chance_dl


def _tokens(tables: dict[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    return np.stack([table.sum(axis=(1, 2)) for table in tables.values()]).astype(np.float64)


def _weighted(value_dl: NDArray[np.float64], weight_dl: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over domains by their tokens; a domain without any does not count."""
    return ratio((np.nan_to_num(value_dl) * weight_dl).sum(axis=0), weight_dl.sum(axis=0))


def _sparse(tables: dict[str, NDArray[np.int64]]) -> tuple[str, ...]:
    """A warning where a table has so few tokens that chance tells most of what there is to tell."""
    few = set()
    for count_lef in tables.values():
        total_l = count_lef.sum(axis=(1, 2))
        room_l = np.count_nonzero(count_lef.sum(axis=2), axis=1) * np.count_nonzero(count_lef.sum(axis=1), axis=1)
        few |= set(np.flatnonzero((total_l > 0) & (total_l < ENOUGH * room_l)).tolist())
    if not few:
        return ()
    return (f"Fewer than {ENOUGH} tokens for each pair of experts in layers {sorted(few)}: bits there are too few.",)


def _over_paths(tally: Tally, ask: MetricOptions, measure: Callable[[NDArray[np.int64], bool], object]) -> Result:
    """A measure of the bins of every depth."""
    depths, experts = path_depths(len(tally.layers)), max(rule.experts for rule in tally.layers)
    count_wb = tally.pooled("paths", facets=ask.facets)
    value = [measure(count_b, is_exact(experts, depth)) for count_b, depth in zip(count_wb, depths, strict=True)]
    names = (*(f"{depth} layer{'s' * (depth > 1)}" for depth in depths[:-1]), f"all {depths[-1]}")
    return Result(value=np.array(value, np.float64), labels={"w": names})


def _distinct(count_b: NDArray[np.int64], exact: bool) -> float:
    taken = np.count_nonzero(count_b)
    if exact:
        return float(taken)
    return float(-BINS * np.log1p(-taken / BINS)) if taken < BINS else float("nan")


def _coverage(count_b: NDArray[np.int64]) -> list[float]:
    total, most = count_b.sum(), np.sort(count_b)[::-1].cumsum()
    return [float(most[rank - 1] / total) if total else float("nan") for rank in RANKS]


def _is_crowded(count_b: NDArray[np.int64], exact: bool) -> bool:
    """Whether too many bins are taken for one bin to be one path."""
    return not exact and bool(np.count_nonzero(count_b) > BINS // CROWDED)


def _path_entropy(count_b: NDArray[np.int64], exact: bool) -> float:
    taken_b = count_b[count_b > 0].astype(np.float64)
    if not len(taken_b) or _is_crowded(count_b, exact):
        return float("nan")
    total = taken_b.sum()
    return max(0.0, float(np.log2(total) - (np.sort(taken_b) * np.log2(np.sort(taken_b))).sum() / total))


def _same_path(count_b: NDArray[np.int64], exact: bool) -> float:
    total = int(count_b.sum())
    if total < 2:
        return float("nan")
    same = int((count_b * (count_b - 1)).sum()) / (total * (total - 1))
    return same if exact else (same * BINS - 1) / (BINS - 1)


def _padded(value_l: NDArray[np.float64]) -> NDArray[np.float64]:
    """With the last layer, which nothing follows."""
    return np.concatenate([value_l, np.full((1, *value_l.shape[1:]), np.nan)])


def _own(tally: Tally, value_lef: NDArray[np.float64]) -> NDArray[np.float64]:
    """With the last layer, and NaN beyond each layer's own experts."""
    experts_l = np.array([rule.experts for rule in tally.layers])
    own_le = np.arange(value_lef.shape[1]) < experts_l[:, None]
    out_lef = _padded(value_lef)
    out_lef[:-1][~(own_le[:-1, :, None] & own_le[1:, None, :])] = np.nan
    return out_lef
