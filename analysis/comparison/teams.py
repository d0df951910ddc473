"""How much of the work experts do in pairs that keep meeting, beyond what loads and groups bring about."""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.shares import ratio
from gatescope.routing.router import RouterRule

OFTEN = 2.0
"""A pair is a team where it meets at least so many times as often as chance makes it."""

MEETINGS = 50.0
"""Read are pairs that chance makes meet in so many tokens, as `coactivation_lift` warns."""


def by_rule(rule: RouterRule, size: int) -> NDArray[np.float64]:
    """How many times as often an even router that chooses groups first brings two experts together than one without.

    Shapes      (size, size), of experts by number; groups are of neighbouring numbers.
    Units       1. All 1 without groups, and where a token gets one expert.
    Not this    Exact where loads are uneven: it multiplies the chance that the loads give.
    Source      Counting: both of one group if it is kept, both of two groups if both are.

    Groups {0, 1} and {2, 3}, one kept, both its experts chosen: a pair of one group has 1/2, any pair of six 1/6.

    >>> rule = RouterRule(layer=0, block=0, module="m", experts=4, k=2, score="softmax", groups=2, groups_kept=1)
    >>> by_rule(rule, 4)[0].tolist()
    [3.0, 3.0, 0.0, 0.0]
    """
    if rule.groups < 2 or rule.groups_kept >= rule.groups or rule.k < 2:
        return np.ones((size, size))
    own = rule.experts // rule.groups
    kept = own * rule.groups_kept
    same = rule.experts * (rule.experts - 1) / (kept * (kept - 1)) * rule.groups_kept / rule.groups
    other = same * (rule.groups_kept - 1) / (rule.groups - 1)
    group_e = np.arange(size) // own
    return np.where(group_e[:, None] == group_e, same, other)


def meetings_of_teams(
    count_lef: NDArray[np.float64], chance_lef: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each layer, the share of meetings that are of teams, and how many times as often its closest pair meets.

    Shapes      (layers, experts, experts) tokens that a pair works on together, and by chance, to (layers,) twice.
    Undefined   NaN where chance makes fewer than half of the pairs meet often enough to be read.

    One pair of three meets twice as often, the others half as often: 200 of 300 meetings.

    >>> count_ef = np.array([[np.nan, 200, 50], [200, np.nan, 50], [50, 50, np.nan]])
    >>> share_l, lift_l = meetings_of_teams(count_ef[None], np.full((1, 3, 3), 100.0))
    >>> round(float(share_l[0]), 4), float(lift_l[0])
    (0.6667, 2.0)
    """
    read_lef = np.isfinite(count_lef) & (chance_lef >= MEETINGS)
    lift_lef = np.where(read_lef, ratio(count_lef, chance_lef), 0.0)
    meets_lef = np.where(read_lef, count_lef, 0.0)
    share_l = ratio((meets_lef * (lift_lef >= OFTEN)).sum(axis=(1, 2)), meets_lef.sum(axis=(1, 2)))
    can_l = 2 * read_lef.sum(axis=(1, 2)) >= np.isfinite(count_lef).sum(axis=(1, 2))
    return np.where(can_l, share_l, np.nan), np.where(can_l, lift_lef.max(axis=(1, 2)), np.nan)
