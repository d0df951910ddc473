"""One expert at a glance: how busy, how heavily weighted, what it is used for, beside the others of its layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Figure, Html
from gatescope.app.charts.page import Page
from gatescope.routing.errors import OptionError
from gatescope.server.view import LABELS

GLANCE = "How busy is it, and for which texts is it used more often?"
STATES = {-2: "dead", -1: "cold", 0: "neither hot nor cold", 1: "hot"}
SURE = 0.05
NO_TELLING = "too little to tell"

STYLE = """<style>
.gs-tiles { --faint: color-mix(in srgb, currentColor 16%, transparent); display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); margin: 0 !important; padding: 0 !important;
  font-variant-numeric: tabular-nums; }
.gs-tiles div { border: 1px solid var(--faint); border-radius: 8px; padding: .45rem .7rem; }
.gs-tiles dt { font-size: .8125rem; opacity: .8; margin: 0; font-weight: 400; }
.gs-tiles dd { margin: 0 !important; font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
.gs-tiles small { display: block; font-size: .8125rem; font-weight: 400; opacity: .85; }
</style>"""


class Chosen(NamedTuple):
    """An expert: its layer's number and name, and its own number."""

    layer: int
    name: str
    expert: int

    @property
    def place(self) -> dict[str, object]:
        """Where it stands, as a table says it."""
        return {"layer": self.layer, "expert": self.expert}


def chosen_of(page: Page) -> Chosen:
    """The expert of the address, if its layer has it; else the busiest. Errors: OptionError where none worked."""
    load = page.measure("relative_load")
    layer, expert = page.view.layer, page.view.expert
    if layer is None or expert is None or not np.isfinite(load.value[layer, expert]):
        layer, expert = busiest(load.value, layer)
    return Chosen(layer, page.layers[layer], expert)


@dataclass(frozen=True)
class UsageDifference:
    """The group an expert is used for most: by how much larger the share of its tokens is, and how sure that is."""

    group: str
    more: float
    q: float

    @property
    def is_sure(self) -> bool:
        """Whether it is beyond shuffled labels."""
        return self.q <= SURE


def busiest(load_le: NDArray[np.float64], layer: int | None) -> tuple[int, int]:
    """The layer and number of the busiest expert, of all layers or of one. Errors: OptionError where none worked."""
    shown_le = load_le if layer is None else load_le[layer : layer + 1]
    if not np.isfinite(shown_le).any() or np.nanmax(shown_le) == 0:
        raise OptionError(
            "no token of this kind was given to an expert here",
            expected="tokens that count",
            do="choose other tokens in the sidebar (nothing may have been generated), or release the slice",
        )
    at = np.unravel_index(int(np.nanargmax(shown_le)), shown_le.shape)
    return (int(at[0]) if layer is None else layer), int(at[1])


def by_load(load_e: NDArray[np.float64]) -> list[int]:
    """A layer's experts, the busiest first."""
    known = np.flatnonzero(np.isfinite(load_e))
    order: list[int] = known[np.argsort(-load_e[known], kind="stable")].tolist()
    return order


def usage_difference_of(found: Result, layer: int, expert: int) -> UsageDifference | None:
    """The group an expert is used for most; None where none is known."""
    more_g = found.value[:, layer, expert]
    if found.q is None or not np.isfinite(more_g).any():
        return None
    group = int(np.nanargmax(more_g))
    q = float(found.q[group, layer, expert])
    return UsageDifference(found.groups[group], float(more_g[group]), q if np.isfinite(q) else 1.0)


def glance(page: Page, chosen: Chosen) -> Figure:
    """How busy an expert is and what it is used for."""
    layer, expert = chosen.layer, chosen.expert
    load, state = (page.measure(name) for name in ("relative_load", "expert_state"))
    mass, differences = page.if_known("relative_gate_mass"), {by: _usage_difference(page, by, chosen) for by in LABELS}
    standing = float(state.value[layer, expert])
    return replace(
        glance_words(chosen.name, expert, load, standing, differences, layer, page.population),
        body=(Html(tiles(load, mass, standing, differences, layer, expert)),),
        frame=lambda: glance_frame(load, mass, state, layer),
        at={"layer": layer},
    )


def _usage_difference(page: Page, by: str, chosen: Chosen) -> UsageDifference | None:
    """What it is used for, None where the texts have no such label."""
    found = page.if_known("usage_difference", by=by)
    return None if found is None else usage_difference_of(found, chosen.layer, chosen.expert)


def glance_words(
    layer: str,
    expert: int,
    load: Result,
    state: float,
    differences: Mapping[str, UsageDifference | None],
    at: int,
    population: str,
) -> Figure:
    """What is said around the tiles; `layer` is its name and `at` its number."""
    order = by_load(load.value[at])
    value = load.value[at, expert]
    sure = [f"for {lean.group}" for lean in differences.values() if lean is not None and lean.is_sure and lean.more > 0]
    difference = f" It is used more often {' and '.join(sure)}." if sure else ""
    called = f", and is {STATES[int(state)]}" if np.isfinite(state) and state else ""
    return Figure(
        key="glance",
        takeaway=(
            f"Expert {expert} of layer {layer} does {value:.2f} times an even share of the work"
            f"{_range(load, at, expert)}, the {ranked(order.index(expert) + 1)} of {len(order)}"
            f"{called}.{difference}"
        ),
        population=population,
        unit="multiple of an even share",
        null="1: an even router; differences, labels shuffled among documents",
        badge="observed",
        metric="relative_load",
        says=(
            (
                "State",
                "hot: significantly above twice an even share; cold: significantly below a tenth; dead: never chosen.",
            ),
            (
                "Used more for",
                "the group with the largest share of its tokens beyond all other documents, if q ≤ 0.05.",
            ),
            ("Not this", "a label. Which words a group has is part of it: see the words below, and Domains."),
        ),
    )


def _range(found: Result, layer: int, expert: int) -> str:
    if found.low is None or found.high is None or not np.isfinite(found.low[layer, expert]):
        return ""
    return f" (95 % interval {found.low[layer, expert]:.2f} to {found.high[layer, expert]:.2f})"


def ranked(number: int) -> str:
    """A place by load in words.

    >>> ranked(1), ranked(2), ranked(11), ranked(23)
    ('busiest', '2nd busiest', '11th busiest', '23rd busiest')
    """
    if number == 1:
        return "busiest"
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending} busiest"


def tiles(
    load: Result,
    mass: Result | None,
    state: float,
    differences: Mapping[str, UsageDifference | None],
    layer: int,
    expert: int,
) -> str:
    """The tiles as HTML; every label of a corpus is escaped."""
    order = by_load(load.value[layer])
    known = state if np.isfinite(state) else None
    shown = [
        ("Load", f"{load.value[layer, expert]:.2f} ×", _ends(load, layer, expert)),
        ("Rank by load", f"{order.index(expert) + 1} of {len(order)}", ""),
        ("State", NO_TELLING if known is None else STATES[int(known)], ""),
        (
            "Weight given",
            "not recorded" if mass is None else f"{mass.value[layer, expert]:.2f} ×",
            _ends(mass, layer, expert),
        ),
        *(_difference(by, lean) for by, lean in differences.items()),
    ]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in shown
    )
    return f'{STYLE}<dl class="gs-tiles">{items}</dl>'


def _ends(found: Result | None, layer: int, expert: int) -> str:
    if found is None or found.low is None or found.high is None or not np.isfinite(found.low[layer, expert]):
        return ""
    return f"95 %: {found.low[layer, expert]:.2f} to {found.high[layer, expert]:.2f}"


def _difference(by: str, lean: UsageDifference | None) -> tuple[str, str, str]:
    name = f"Used more for ({by})"
    if lean is None:
        return name, "not labelled", ""
    if not lean.is_sure or lean.more <= 0:
        return name, "none significantly", f"most: {lean.group}, q = {lean.q:.2g}"
    return name, lean.group, f"+{100 * lean.more:.1f} points of tokens, q = {lean.q:.2g}"


def glance_frame(load: Result, mass: Result | None, state: Result, layer: int) -> pd.DataFrame:
    """Every expert of the layer, the busiest first."""
    order = by_load(load.value[layer])
    frame = pd.DataFrame({"layer": layer, "expert": order, "relative_load": load.value[layer, order]})
    for name, ends in (("low", load.low), ("high", load.high)):
        if ends is not None:
            frame[name] = ends[layer, order]
    if mass is not None:
        frame["relative_weight"] = mass.value[layer, order]
    return frame.assign(state=[STATES.get(int(s)) if np.isfinite(s) else None for s in state.value[layer, order]])
