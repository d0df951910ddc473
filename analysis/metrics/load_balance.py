"""How evenly the work of each layer falls on its experts, by count and by gate mass, beside what chance alone gives.

The plain functions take counts (rows, experts) of layers or of draws, masked where a layer has no such expert. What an
even router would show is worked out at the effective number of tokens: those of a document are not independent.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.registry import MetricOptions, Result, metric, tokens_of
from gatescope.analysis.statistics import load
from gatescope.analysis.statistics.bootstrap import Statistic as Summed
from gatescope.analysis.statistics.bootstrap import Tables, bootstrap, over_layers
from gatescope.analysis.statistics.design_effect import design_effect
from gatescope.analysis.statistics.shares import entropy_bits as entropy_of_shares
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.tally import Tally

Rows = Callable[[NDArray[np.number]], NDArray[np.float64]]
Floor = Callable[["_Chance"], NDArray[np.float64]]
Interval = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]
MILLER = "Shannon 1948; counts corrected as by Miller 1955"
SHAZEER, MAXVIO = "Shazeer et al. 2017 (arXiv 1701.06538)", "Wang et al. 2024 (arXiv 2408.15664), equation 4"
FLOOR = "an even router over as many effective tokens"
SURELY = 1e-6
FOLDED = np.sqrt(2 / np.pi)  # mean absolute value of a standard normal number
COLD, HOT = 0.1, 2.0
DEAD = -2.0


def counts_ule(tally: Tally, ask: MetricOptions, name: str = "assignments") -> NDArray[np.int64]:
    """Assignments (or another statistic) by unit, layer and expert, of the facets asked for."""
    own_ule: NDArray[np.int64] = tally.summed(name, ask.facets)
    return own_ule


def present(tally: Tally, counts: NDArray[np.number]) -> np.ma.MaskedArray:
    """Counts (…, layers, experts) with the experts that a layer does not have masked."""
    experts_l1 = np.array([[rule.experts] for rule in tally.layers])
    beyond_le = np.arange(counts.shape[-1]) >= experts_l1
    return np.ma.MaskedArray(counts, mask=np.broadcast_to(beyond_le, counts.shape))


def strata_of(tally: Tally) -> NDArray[np.intp] | None:
    """The domain that each unit is drawn within; None where a domain has one unit, which cannot be drawn anew."""
    _, domain_u = np.unique([unit.domain for unit in tally.units], return_inverse=True)
    return domain_u if np.bincount(domain_u).min(initial=2) > 1 else None


def interval(
    tally: Tally, ask: MetricOptions, tables: Tables, of: Summed, *, bounds: tuple[float, float], corrected: bool = True
) -> Interval:
    """95 % over documents, less what resampling adds by itself where `corrected`; None where none was asked for."""
    if not ask.resamples:
        return None, None
    found = bootstrap(
        tables,
        of,
        resamples=ask.resamples,
        seed=ask.seed,
        strata_u=strata_of(tally),
        bias_corrected=corrected,
        bounds=bounds,
    )
    return found.low, found.high


def relative(counts_le: NDArray[np.number]) -> NDArray[np.float64]:
    """Each expert's count as a multiple of its row's mean; NaN where masked or where a row has no counts."""
    counts_le = np.ma.masked_array(counts_le, dtype=np.float64)
    mean_l1 = np.ma.filled(counts_le.mean(axis=-1, keepdims=True), 0.0)
    mean_le = np.where(np.ma.getmaskarray(counts_le), 0.0, np.broadcast_to(mean_l1, counts_le.shape))
    return ratio(np.ma.filled(counts_le, 0.0), mean_le)


def layer_effect(tally: Tally, ask: MetricOptions) -> NDArray[np.float64]:
    """How many tokens of each layer say as much as one independent token, over its experts; NaN where not known."""
    count_ule = counts_ule(tally, ask)
    found = design_effect(count_ule, count_ule.sum(axis=2) / [rule.k for rule in tally.layers])
    spread_le = np.where(np.isnan(found.factor), 0.0, found.rate * (1 - found.rate))
    return ratio((spread_le * np.nan_to_num(found.factor)).sum(axis=1), spread_le.sum(axis=1))


class _Chance:
    """What a perfectly even router shows at the effective number of tokens of each layer."""

    def __init__(self, tally: Tally, ask: MetricOptions) -> None:
        effect_l = layer_effect(tally, ask)
        slots_l = counts_ule(tally, ask).sum(axis=(0, 2)).astype(np.float64)
        tokens_l = slots_l / [rule.k for rule in tally.layers]
        effective_l = ratio(tokens_l, np.where(np.isnan(effect_l), 1.0, effect_l))
        shrink_l = ratio(np.ones(len(tokens_l)), np.sqrt(effective_l))
        self.experts_l = np.array([rule.experts for rule in tally.layers], np.float64)
        self.cv_l = load.load_cv_floor(tally.layers, tokens=1) * shrink_l
        self.largest_l = load.max_violation_floor(tally.layers, tokens=1) * shrink_l
        self.correction_l = ratio(self.experts_l - 1, 2 * np.log(2) * slots_l)
        alone = "The noise floor takes tokens for independent: for more it needs at least two documents."
        self.warnings = (alone,) if len(tally.units) < 2 else ()

    @property
    def gini_l(self) -> NDArray[np.float64]:
        """Of experts whose loads are normal and add up to a constant."""
        return self.cv_l * np.sqrt((1 - 1 / self.experts_l) / np.pi)

    @property
    def bits_l(self) -> NDArray[np.float64]:
        """Second order in the spread of the load, and corrected as the value is."""
        bits_l = np.log2(self.experts_l) - self.cv_l**2 / (2 * np.log(2)) + self.correction_l
        clipped_l: NDArray[np.float64] = np.clip(bits_l, 0.0, np.log2(self.experts_l))
        return clipped_l


def _layers(
    tally: Tally,
    ask: MetricOptions,
    of: Rows,
    *,
    name: str = "assignments",
    floor: Floor | None = None,
    most: float = np.inf,
) -> Result:
    """One number per layer of a statistic of counts, with its interval and the value of an even router."""
    chance = _Chance(tally, ask) if floor else None
    table_ule = present(tally, counts_ule(tally, ask, name))
    low, high = interval(tally, ask, table_ule, over_layers(of), bounds=(0.0, most))
    even_l = of(present(tally, np.ones(table_ule.shape[1:])))
    if low is not None and high is not None and (even_l > 0).any():  # a measure that is greatest where all are alike
        low, high = np.minimum(low, even_l), np.minimum(high, even_l)
    null_l, warnings = (floor(chance), chance.warnings) if chance and floor else (None, ())
    found = Result(value=of(table_ule.sum(axis=0)), low=low, high=high, null=null_l, warnings=warnings)
    return with_sample_size(found, tally, ask)


def with_sample_size(found: Result, tally: Tally, ask: MetricOptions) -> Result:
    """A result with the tokens it speaks of, which `ask` names, and why it has no interval."""
    few = ask.resamples > 0 and found.low is not None and len(tally.units) < 2
    warnings = ("No interval: it is over documents, and there are fewer than two.",) if few else ()
    return replace(found, tokens=tokens_of(tally, ask), warnings=(*found.warnings, *warnings))


def _relative(tally: Tally, ask: MetricOptions, name: str) -> Result:
    table_ule = present(tally, counts_ule(tally, ask, name))
    low, high = interval(tally, ask, table_ule, relative, bounds=(0.0, np.inf), corrected=False)
    return with_sample_size(Result(value=relative(table_ule.sum(axis=0)), low=low, high=high), tally, ask)


@metric(
    title="Relative load",
    unit="1 (1: an even share)",
    axes="le",
    range=(0, None),
    uniform="1",
    needs=("assignments", "tokens"),
    source="DeepSeek-V3 technical report, section 4.5.3",
)
def relative_load(tally: Tally, ask: MetricOptions) -> Result:
    """How much work each expert gets, as a multiple of an even share of its layer's assignments."""
    return _relative(tally, ask, "assignments")


@metric(
    title="Relative gate mass",
    unit="1 (1: an even share)",
    axes="le",
    range=(0, None),
    uniform="1",
    needs=("gate_mass", "tokens"),
    source="Relative load, with the weights that multiply the experts' output in place of counts",
)
def relative_gate_mass(tally: Tally, ask: MetricOptions) -> Result:
    """How much weight each expert is given, as a multiple of an even share of its layer's weights."""
    return _relative(tally, ask, "gate_mass")


def _evenness(
    title: str, source: str, floor: Floor, *, uniform: str = "0", most: float | None = None, mass: Rows | None = None
) -> Callable[[Rows], Rows]:
    """Declare a measure of evenness twice: of counts, with its noise floor, and of gate mass, by `mass` if given."""

    def declare(of: Rows) -> Rows:
        name, highest = of.__name__.removeprefix("load_"), np.inf if most is None else most
        for what, needed in (("load", "assignments"), ("gate mass", "gate_mass")):
            is_load = what == "load"
            taken, null = (of, floor) if is_load else (mass or of, None)

            def compute(
                tally: Tally, ask: MetricOptions, *, of: Rows = taken, needed: str = needed, null: Floor | None = null
            ) -> Result:
                return _layers(tally, ask, of, name=needed, floor=null, most=highest)

            compute.__name__, compute.__doc__ = f"{what.replace(' ', '_')}_{name}", of.__doc__
            metric(
                title=f"{title} of the {what}",
                unit={"entropy": "bits", "effective_experts": "experts"}.get(name, "1"),
                axes="l",
                range=(0, most),
                uniform=f"{uniform}, up to the noise floor" if is_load else uniform,
                null=FLOOR if is_load else "",
                needs=(needed, "assignments", "tokens"),
                source=source,
            )(compute)
        return of

    return declare


@_evenness("Gini coefficient", "CommitteeAudit, equation 14", lambda chance: chance.gini_l, most=1.0)
def gini(counts_re: NDArray[np.number]) -> NDArray[np.float64]:
    """How unequal experts are (Gini): half the mean difference of two experts over the mean load.

    Units       1, from 0 (all alike) to 1 - 1/E (all on one expert).
    Undefined   NaN in a row without counts.

    >>> gini(np.array([[1, 3], [2, 2], [0, 4]])).tolist()
    [0.25, 0.0, 0.5]
    """
    counts_re = np.ma.masked_array(counts_re, dtype=np.float64)
    experts_r = np.ma.count(counts_re, axis=1)
    sorted_re = np.sort(np.ma.filled(counts_re, 0.0), axis=1)  # those that are not there come first, as 0
    rank_re = np.arange(1, sorted_re.shape[1] + 1) - (sorted_re.shape[1] - experts_r)[:, None]
    lead_r = (sorted_re * (2 * rank_re - experts_r[:, None] - 1)).sum(axis=1)
    return ratio(lead_r, experts_r * sorted_re.sum(axis=1))


def entropy_bits(counts_re: NDArray[np.number], *, corrected: bool = False) -> NDArray[np.float64]:
    """Entropy of each row's shares in bits; `corrected` adds what so small a sample lacks (Miller and Madow).

    Units       Bits, from 0 to log2 E; a corrected value above log2 E is cut there.
    Undefined   NaN in a row without counts.
    Source      Miller 1955: (m - 1) / 2N nats, with m experts seen in N slots.

    >>> entropy_bits(np.array([[2, 2], [4, 0]])).tolist(), entropy_bits(np.array([[4, 4, 8]])).tolist()
    ([1.0, 0.0], [1.5])
    """
    counts_re = np.ma.masked_array(counts_re, dtype=np.float64)
    filled_re = np.ma.filled(counts_re, 0.0)
    total_r1 = filled_re.sum(axis=1, keepdims=True)
    bits_r = entropy_of_shares(ratio(filled_re, total_r1))
    if corrected:
        bits_r = bits_r + ratio((filled_re > 0).sum(axis=1) - 1.0, 2 * np.log(2) * total_r1[:, 0])
    return np.clip(bits_r, 0.0, np.log2(np.ma.count(counts_re, axis=1)))


@_evenness("Minimal violation (MinVio)", "MaxVio mirrored", lambda chance: np.minimum(chance.largest_l, 1.0), most=1.0)
def min_violation(counts_re: NDArray[np.number]) -> NDArray[np.float64]:
    """How far the least busy expert lies below the mean load, as a share of it: 0 … 1.

    >>> min_violation(np.array([[1, 3], [2, 2]])).tolist()
    [0.5, 0.0]
    """
    return np.ma.filled(1.0 - np.ma.masked_invalid(relative(counts_re)).min(axis=1), np.nan)


@_evenness("Mean violation (AvgVio)", "Mean absolute deviation", lambda chance: FOLDED * chance.cv_l, most=2.0)
def mean_violation(counts_re: NDArray[np.number]) -> NDArray[np.float64]:
    """How far experts lie from the mean load on average, as a share of it: 0 … 2 (1 - 1/E).

    >>> mean_violation(np.array([[1, 3], [0, 4]])).tolist()
    [0.5, 1.0]
    """
    return np.ma.filled(np.abs(np.ma.masked_invalid(relative(counts_re)) - 1.0).mean(axis=1), np.nan)


@_evenness("Entropy", MILLER, lambda chance: chance.bits_l, uniform="log2 E", mass=entropy_bits)
def entropy(counts_re: NDArray[np.number]) -> NDArray[np.float64]:
    """Entropy of the shares, what so few slots hide added: log2 E bits when all are alike, 0 when one has it all."""
    return entropy_bits(counts_re, corrected=True)


@_evenness(
    "Effective number of experts",
    MILLER,
    lambda chance: np.exp2(chance.bits_l),
    uniform="E",
    mass=lambda mass_re: np.exp2(entropy_bits(mass_re)),
)
def effective_experts(counts_re: NDArray[np.number]) -> NDArray[np.float64]:
    """How many equally used experts would spread the work as widely: the perplexity of the shares."""
    return np.exp2(entropy(counts_re))


_evenness("Maximal violation (MaxVio)", MAXVIO, lambda chance: chance.largest_l)(load.max_violation)
_evenness("Coefficient of variation", SHAZEER, lambda chance: chance.cv_l)(load.load_cv)


def lorenz(counts_re: NDArray[np.number]) -> NDArray[np.float64]:
    """Share of the work that the r least busy experts do together, for r = 0 … E; NaN beyond a row's own experts.

    >>> lorenz(np.array([[3, 1, 4]])).tolist()
    [[0.0, 0.125, 0.5, 1.0]]
    """
    counts_re = np.ma.masked_array(counts_re, dtype=np.float64)
    rows, most = counts_re.shape
    share_rn = np.full((rows, most + 1), np.nan)
    rising_re = np.sort(np.ma.filled(counts_re, np.inf), axis=1)  # masked ones last
    experts_r = counts_re.count(axis=1)
    for experts in np.unique(experts_r):
        own_r = experts_r == experts
        rising_oe = np.ascontiguousarray(rising_re[own_r, :experts])
        summed_on = np.concatenate([np.zeros((len(rising_oe), 1)), np.cumsum(rising_oe, axis=1)], axis=1)
        share_rn[own_r, : experts + 1] = ratio(summed_on, rising_oe.sum(axis=1, keepdims=True))
    return share_rn


@metric(
    title="Lorenz curve of the load",
    unit="1 (share of the layer's assignments)",
    axes="lr",
    range=(0, 1),
    uniform="a straight line from 0 to 1",
    needs=("assignments", "tokens"),
    source="Lorenz 1905",
)
def load_lorenz(tally: Tally, ask: MetricOptions) -> Result:
    """What share of the work the least used experts do together, from none of them to all."""
    table_ule = present(tally, counts_ule(tally, ask))
    low, high = interval(tally, ask, table_ule, _lorenz_draws, bounds=(0.0, 1.0))
    points = tuple(str(number) for number in range(table_ule.shape[2] + 1))
    found = Result(value=lorenz(table_ule.sum(axis=0)), low=low, high=high, labels={"r": points})
    return with_sample_size(found, tally, ask)


def _lorenz_draws(sums_ble: NDArray[np.float64]) -> NDArray[np.float64]:
    draws, layers, experts = sums_ble.shape
    return lorenz(sums_ble.reshape(-1, experts)).reshape(draws, layers, experts + 1)


@metric(
    title="Dead, cold and hot experts",
    unit="class: -2 dead, -1 cold, 0 neither, 1 hot",
    axes="le",
    range=(-2, 1),
    uniform="0",
    needs=("assignments", "tokens"),
    source="Dead: chance below 1e-6 under an even router; cold and hot: document bootstrap of the relative load",
)
def expert_state(tally: Tally, ask: MetricOptions) -> Result:
    """Which experts are dead, cold or hot beyond what so few texts can do by chance.

    Units       -2: never chosen, where an even router would leave it out with a chance below one in a million; -1: its
                load is significantly below a tenth of an even share (upper end of the interval); 1: significantly above
                twice (lower end); 0: neither.
    Undefined   NaN for an expert that was never chosen in too few tokens to tell, or where there is no interval.
    Not this    A finding about other texts: texts of one domain never make an expert dead, only cold.
    """
    count_ule = counts_ule(tally, ask)
    count_le = present(tally, count_ule.sum(axis=0))
    found = _relative(tally, ask, "assignments")
    state_le = np.full(count_le.shape, np.nan)
    if found.low is not None and found.high is not None:
        known_le = np.isfinite(found.low) & (np.ma.getdata(count_le) > 0)
        sure_le = np.where(found.high < COLD, -1.0, np.where(found.low > HOT, 1.0, 0.0))
        state_le[known_le] = sure_le[known_le]
    significant_l = _chance_of_none(tally, count_le)
    unused_le = (np.ma.filled(count_le, 1) == 0) & (significant_l < SURELY)[:, None]
    one_domain = len({unit.domain for unit in tally.units}) == 1 and tally.units[0].domain != ""
    state_le[unused_le] = -1.0 if one_domain else DEAD
    return Result(
        value=state_le,
        warnings=(*found.warnings, *_state_warnings(tally, ask, count_le, significant_l)),
    )


def _chance_of_none(tally: Tally, count_le: np.ma.MaskedArray) -> NDArray[np.float64]:
    """How likely an even router passes one expert over in so many slots, k of each token."""
    k_l, experts_l = np.array([(rule.k, rule.experts) for rule in tally.layers]).T
    chance_l: NDArray[np.float64] = (1 - k_l / experts_l) ** (np.ma.filled(count_le, 0).sum(axis=1) / k_l)
    return chance_l


def _state_warnings(
    tally: Tally, ask: MetricOptions, count_le: np.ma.MaskedArray, significant_l: NDArray[np.float64]
) -> tuple[str, ...]:
    domains = {unit.domain for unit in tally.units}
    warnings = []
    if ((np.ma.filled(count_le, 1) == 0) & (significant_l >= SURELY)[:, None]).any():
        warnings.append("Too few tokens to call an expert dead that was never chosen: left undefined.")
    if domains == {""}:
        warnings.append("The texts name no domain: an expert that is dead here may serve texts of another kind.")
    elif len(domains) == 1:
        warnings.append("The texts are of one domain: an expert that was never chosen counts as cold, not dead.")
    if not ask.resamples:
        warnings.append("Cold and hot need intervals, and none were asked for.")
    return tuple(warnings)
