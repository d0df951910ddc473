"""Studies under a name: the metrics of a paper, and what it takes to reproduce its figures beside the right ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gatescope.analysis.statistics.load import expert_counts
from gatescope.analysis.tally.pairs import adjacent_rank_pairs
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord


@dataclass(frozen=True)
class Preset:
    """Metrics of the registry, what to know about them, and tables that no metric gives."""

    metrics: tuple[str, ...]
    says: str
    tables: dict[str, Callable[[RoutingRecord], pd.DataFrame]]


def as_released(record: RoutingRecord) -> pd.DataFrame:
    """Co-activation as the released script of OLMoE counts it: neighbours in rank, over the tokens of an expert."""
    pairs_lef = adjacent_rank_pairs(record.ids_tlk, record.experts).astype(np.float64)
    tokens_le = expert_counts(record).filled(0)
    share_lef = np.divide(
        pairs_lef, tokens_le[:, :, None], out=np.full(pairs_lef.shape, np.nan), where=tokens_le[:, :, None] > 0
    )
    layer, expert, other = (place.ravel() for place in np.indices(share_lef.shape))
    frame = pd.DataFrame({"layer": layer, "expert": expert, "other_expert": other, "value": share_lef.ravel()})
    return frame[np.isfinite(frame["value"])].reset_index(drop=True)


PRESETS: dict[str, Preset] = {
    "olmoe": Preset(
        metrics=("token_share_of_group", "coactivation_share", "vocabulary_specialisation"),
        says="OLMoE (arXiv 2409.02060): token_share_of_group is its equation 7, coactivation_share its equation 6 over "
        "all pairs of the executed set, vocabulary_specialisation its equation 8 beyond chance. "
        "coactivation_as_released counts neighbours in rank only, 7 of the 28 pairs of a token, as the released script "
        "does: it reproduces the published figure, which is not equation 6.",
        tables={"coactivation_as_released": as_released},
    ),
}


def preset(name: str) -> Preset:
    """One of `PRESETS`. Errors: OptionError for a name that is none."""
    if name not in PRESETS:
        raise OptionError(f"the preset {name!r}", expected=f"one of {', '.join(PRESETS)}", do="choose among those")
    return PRESETS[name]
