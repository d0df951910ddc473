"""The three questions a newcomer may begin with: where each is answered, and what is to be seen there.

Nothing in them is fixed: places and figures are found in the captures that ship with a model.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gatescope.analysis.claims.tour import Parting, Taker
from gatescope.analysis.labels.verdict import left_of_columns, strength
from gatescope.analysis.registry import Result
from gatescope.routing.record import RoutingRecord
from gatescope.server.view import ViewParts

SURE = 0.05
"""Greatest q of a difference that is spoken of."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One question: the page and the parts of the view that answer it, and two sentences on what is seen there."""

    question: str
    says: str
    page: str
    parts: ViewParts = field(default_factory=ViewParts)


def parting_stop(capture: str, record: RoutingRecord, found: Parting | None) -> Stop | None:
    """Why a layer parted two tokens of one text."""
    if found is None:
        return None
    piece = record.piece(int(record.token_t[found.second])).strip()
    return Stop(
        question=f"Why did layer {found.layer} split at “{piece}”?",
        says=f"“{piece}” is read twice, as tokens {found.first} and {found.second}. Layer {found.layer} gives the "
        f"second {_of(found.shared, found.slots)} it gave the first: the token is the same, what stands before it is "
        "not.",
        page="prompt",
        parts={"capture": capture, "token": found.second, "layer": found.layer},
    )


def taker_stop(capture: str, found: Taker | None) -> Stop | None:
    """Which expert takes digits."""
    if found is None:
        return None
    return Stop(
        question="Which expert likes numbers?",
        says=f"Expert {found.expert} of layer {found.layer} works on {found.share:.1%} of the {found.tokens:,} tokens "
        f"that are digits, and on {found.share_of_others:.1%} of all others. The difference is {100 * found.low:.0f} "
        f"to {100 * found.high:.0f} points (95 %, over documents).",
        page="expert",
        parts={"capture": capture, "layer": found.layer, "expert": found.expert},
    )


def specialization_stop(
    capture: str, difference: Result, share: Result, words: pd.DataFrame | None, *, group: str = "code"
) -> Stop | None:
    """Whether one domain routes differently: the expert used for it most, and what of that the words explain.

    `words` is the table of the composition by domain. None where no expert is significantly used for it.
    """
    if group not in difference.groups or difference.q is None:
        return None
    at = difference.groups.index(group)
    sure_le = np.where(difference.q[at] <= SURE, difference.value[at], np.nan)
    if np.isnan(sure_le).all():
        return None
    layer, expert = (int(each) for each in np.unravel_index(np.nanargmax(sure_le), sure_le.shape))
    here, points = share.value[at, layer, expert], 100 * sure_le[layer, expert]
    return Stop(
        question=f"Does {group} route differently?",
        says=f"{_strength(words)}Most of all, expert {expert} of layer {layer} works on {here:.0%} of the tokens of "
        f"{group}, {points:.0f} points more than of other texts (q = {difference.q[at, layer, expert]:.2g})."
        f"{_by_words(words, layer)}",
        page="domains",
        parts={"capture": capture, "by": "domain", "layer": layer, "expert": expert},
    )


def _strength(words: pd.DataFrame | None) -> str:
    """How much domains differ at the same word, as every page says it; nothing where that was not computed."""
    if words is None:
        return ""
    return f"{strength(left_of_columns(lambda name: words[name].to_numpy(np.float64)), 'domain').says} "


def _by_words(words: pd.DataFrame | None, layer: int) -> str:
    """How much of what a layer tells about the domain is the domain's words."""
    share = np.nan if words is None else words.loc[words["layer"] == layer, "share_excess"].mean()
    if np.isnan(share):
        return ""
    return f" The choice of words alone gives {share:.0%} of what that layer tells about the domain."


def _of(shared: int, slots: int) -> str:
    return f"none of the {slots} experts" if not shared else f"{shared} of the {slots} experts"
