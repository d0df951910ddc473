"""The token-by-token picture: a quantity of a capture as the arguments of the matrix component."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.token.routing_trace import QUANTITIES, Quantity, extreme_cell, takeaway, top_expert
from gatescope.app.components import TOKEN_FLAGS, Scale
from gatescope.routing.groups import layer_names
from gatescope.routing.record import Flag, RoutingRecord

TOP_EXPERT = "expert"
"""The view of identities beside the registry's quantities: the number of each token's first expert."""

SHORT = {
    "margin": "Margin",
    "entropy": "Entropy",
    "top1-weight": "Top weight",
    TOP_EXPERT: "Top expert",
    "overlap": "Overlap with previous",
}
"""Names short enough for a row of buttons; a quantity without one goes by its title."""

CLOSEST = 0.05
"""Share of a layer's tokens whose choice of experts is called close."""

CLIPPED = 0.02
"""Share of the values at the dull end that may lie beyond the scale: a few outliers must not grey out the rest."""


@dataclass(frozen=True, eq=False)
class TokenFigure:
    """What is drawn for one view of one capture: `values_lt` or `expert_lt` by layer and token, and the sentence."""

    values_lt: NDArray[np.float32]
    scale: Scale
    sentence: str
    expert_lt: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Explanation:
    """What a view means, in the reader's words."""

    says: str
    low: str
    high: str
    unit: str
    not_this: str


def views(record: RoutingRecord | None = None) -> tuple[str, ...]:
    """The views there are, or those a record holds the numbers for; in the order of their buttons."""
    every = (
        *(slug for slug in SHORT if slug in QUANTITIES or slug == TOP_EXPERT),
        *(slug for slug in QUANTITIES if slug not in SHORT),
    )
    return tuple(
        view for view in every if record is None or view == TOP_EXPERT or QUANTITIES[view].is_available(record)
    )


def view_title(view: str) -> str:
    """The name of a view on its button."""
    return SHORT.get(view) or QUANTITIES[view].title.capitalize()


def token_figure(record: RoutingRecord, view: str) -> TokenFigure:
    """One view of a capture, ready to draw.

    Shapes      (layers, tokens): the record's axes swapped, for layers are the rows of the picture
    """
    if view == TOP_EXPERT:
        return _identities(record)
    quantity = QUANTITIES[view]
    values_lt = np.ascontiguousarray(quantity.values(record).T)
    return TokenFigure(values_lt, _scale(quantity, record, values_lt), takeaway(record, quantity))


def picture_frame(record: RoutingRecord, view: str) -> pd.DataFrame:
    """A view of a capture as a table, a row for each layer and token: its value, or the expert that came first."""
    drawn = token_figure(record, view)
    layer, token = np.indices(drawn.values_lt.shape).reshape(2, -1)
    value = drawn.values_lt if drawn.expert_lt is None else drawn.expert_lt
    return pd.DataFrame({"layer": layer, "token": token, "value": value.ravel()})


def explain(view: str) -> Explanation:
    """What a view means."""
    if view == TOP_EXPERT:
        return Explanation(
            says="The number of the expert with the largest weight, at each layer.",
            low="",
            high="",
            unit="an identity, not an amount: there is nothing to average",
            not_this="not comparable between layers: expert 3 of two layers are different experts",
        )
    quantity = QUANTITIES[view]
    return Explanation(quantity.says, quantity.low, quantity.high, quantity.unit, quantity.not_this)


def striking_cell(record: RoutingRecord, view: str) -> tuple[int | None, int] | None:
    """The (layer, token) at the interesting end of a view, the one its sentence names; None without any value."""
    if not record.tokens:
        return None
    cell = None if view == TOP_EXPERT else extreme_cell(record, QUANTITIES[view])
    return (None, 0) if cell is None else (cell[1], cell[0])


def token_pieces(record: RoutingRecord) -> list[str]:
    """The text of each token."""
    return [record.piece(token) for token in record.token_t.tolist()]


def token_flags(record: RoutingRecord) -> NDArray[np.uint8]:
    """The flags of each token as the component knows them."""
    names = {Flag.SPECIAL: "special", Flag.TEMPLATE: "template", Flag.GENERATED: "generated"}
    flag_t = np.zeros(record.tokens, np.uint8)
    for bit, name in names.items():
        flag_t |= np.where(record.flag_t & bit, TOKEN_FLAGS[name], 0).astype(np.uint8)
    return flag_t


def changes(record: RoutingRecord) -> NDArray[np.bool_]:
    """Where the first expert is another than that of the token before, shape (layers, tokens)."""
    expert_lt = top_expert(record).T
    changes_lt = np.zeros(expert_lt.shape, bool)
    changes_lt[:, 1:] = expert_lt[:, 1:] != expert_lt[:, :-1]
    return changes_lt


def close_calls(record: RoutingRecord) -> NDArray[np.bool_] | None:
    """Where the margin is among the closest of its layer, shape (layers, tokens); None where none was recorded."""
    if record.margin_tl is None or not record.tokens:
        return None
    margin_lt = record.margin_tl.astype(np.float32).T
    known_lt = np.where(np.isfinite(margin_lt), margin_lt, np.inf)
    return known_lt <= np.quantile(known_lt, CLOSEST, axis=1, keepdims=True)


def row_names(record: RoutingRecord) -> list[str] | None:
    """Names of the rows; None where a layer's number says it all."""
    names = layer_names(record.layers)
    return None if names == [str(layer) for layer in range(len(names))] else names


def _identities(record: RoutingRecord) -> TokenFigure:
    expert_lt = np.ascontiguousarray(top_expert(record).T)
    taken = len(np.unique(expert_lt[0][expert_lt[0] >= 0]))
    sentence = (
        f"In {_first_layer(record)}, {taken} of {record.layers[0].experts} experts come first for some token. "
        f"N = {record.tokens:,} token{'s' * (record.tokens != 1)}."
    )
    scale = Scale("expert with the largest weight", low=0, high=1, palette="neutral")
    return TokenFigure(np.zeros(expert_lt.shape, np.float32), scale, sentence, expert_lt)


def _first_layer(record: RoutingRecord) -> str:
    return "the first layer" if len(record.layers) > 1 else "this layer"


def _scale(quantity: Quantity, record: RoutingRecord, values_lt: NDArray[np.float32]) -> Scale:
    """The ends of the colours: the interesting end in full, the dull one without its outliers."""
    null_l = np.unique(quantity.null_l(record))
    null = float(null_l[0]) if len(null_l) == 1 and np.isfinite(null_l[0]) else None
    known = values_lt[np.isfinite(values_lt)]
    if known.size:
        low, high = np.quantile(known, [0.0, 1 - CLIPPED] if quantity.extreme == "low" else [CLIPPED, 1.0])
        known = np.clip(known, low, high)
    return Scale.of(
        known, quantity.title, unit=quantity.unit, null=null, pool="min" if quantity.extreme == "low" else "max"
    )
