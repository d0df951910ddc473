"""Whether a corpus has enough tokens for what one wants to say of it, layer by layer."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.load_balance import counts_ule, layer_effect, present, relative
from gatescope.analysis.registry import MetricOptions
from gatescope.analysis.statistics.design_effect import split_half, tokens_needed
from gatescope.analysis.tally.tally import Tally

HALVES = 100


class Enough(NamedTuple):
    """Tokens that are there and tokens that are needed, layer by layer.

    tokens_l       routed by the layer
    effect_l       how many of them say as much as one independent token; NaN where not known, and 1 is then used
    load_l, pairs_l, transitions_l    needed for one expert's load to 10 %, for 50 in the average pair, and step
    reliability_l  how well the loads of as many other documents would agree with these, 0 to 1; NaN for one document
    """

    tokens_l: NDArray[np.float64]
    effect_l: NDArray[np.float64]
    load_l: NDArray[np.float64]
    pairs_l: NDArray[np.float64]
    transitions_l: NDArray[np.float64]
    reliability_l: NDArray[np.float64]


def enough(tally: Tally, ask: MetricOptions, *, halves: int = HALVES) -> Enough:
    """What is there beside what is needed.

    Units       Tokens; reliability 1.
    Undefined   `pairs_l` is NaN where tokens use one expert.
    Not this    A promise about rare experts, or rare domains: it speaks of the average expert of all the text.
    Source      `analysis.sufficiency.tokens_needed` at an even router, times the design effect of each layer;
                `analysis.sufficiency.split_half` of the relative load.
    """
    count_ule = counts_ule(tally, ask)
    effect_l = layer_effect(tally, ask)
    times_l = np.where(np.isnan(effect_l), 1.0, effect_l)
    needed = tokens_needed(tally.layers)
    found = split_half(present(tally, count_ule), relative, halves=halves, seed=ask.seed)
    return Enough(
        tokens_l=count_ule.sum(axis=(0, 2)) / [rule.k for rule in tally.layers],
        effect_l=effect_l,
        load_l=needed.load_l * times_l,
        pairs_l=needed.pairs_l * times_l,
        transitions_l=needed.transitions_l * times_l,
        reliability_l=found.reliability,
    )
