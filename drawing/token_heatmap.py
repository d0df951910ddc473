"""The token-by-token picture: a quantity of a capture as the arguments of the matrix component."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.statistics.load import expert_counts
from gatescope.analysis.token.routing_trace import QUANTITIES, Quantity, extreme_cell, takeaway, top_expert
from gatescope.drawing.heatmap import TOKEN_FLAGS, Scale
from gatescope.routing.groups import layer_names
from gatescope.routing.record import Flag, RoutingRecord

TOP_EXPERT = "expert"
"""The view of identities before the registry's quantities: each token's first expert, and its share of the weight."""

SHORT = {
    TOP_EXPERT: "Expert",
    "margin": "Margin",
    "entropy": "Entropy",
    "top1-weight": "Top weight",
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
            says="The expert with the most weight for each token, layer by layer: colour and number name it, and the "
            "stronger the colour, the larger its share.",
            low="pale: the experts of this token shared the work",
            high="full colour: the first expert did nearly all of it",
            unit="an identity, not an amount: there is nothing to average",
            not_this="not comparable between layers: expert 3 of two layers are different experts",
        )
    quantity = QUANTITIES[view]
    return Explanation(quantity.says, quantity.low, quantity.high, quantity.unit, quantity.not_this)


def striking_cell(record: RoutingRecord, view: str) -> tuple[int | None, int] | None:
    """The (layer, token) at the interesting end of a view, the one its sentence names; None without any value."""
    if not record.tokens:
        return None
    quantity = QUANTITIES["top1-weight" if view == TOP_EXPERT else view]
    cell = extreme_cell(record, quantity) if quantity.is_available(record) else None
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
    share_lt = _first_share(record)
    known = share_lt[np.isfinite(share_lt)]
    scale = Scale.of(
        np.clip(known, *np.quantile(known, [CLIPPED, 1.0])) if known.size else known,
        "expert with most of the weight",
        palette="experts",
    )
    return TokenFigure(share_lt, scale, _busiest(record), expert_lt)


def _first_share(record: RoutingRecord) -> NDArray[np.float32]:
    """What part of the weight a token gave in a layer its first expert had; 1 where no weights were recorded."""
    has_expert_lt = (record.ids_tlk[:, :, 0] != record.empty).T
    if record.weight_tlk is None:
        return np.where(has_expert_lt, np.float32(1), np.float32("nan"))
    weight_tlk = np.abs(record.weight_tlk.astype(np.float32))
    total_lt = weight_tlk.sum(axis=2).T
    share_lt = np.divide(weight_tlk[:, :, 0].T, total_lt, out=np.ones_like(total_lt), where=total_lt > 0)
    return np.ascontiguousarray(np.where(has_expert_lt, share_lt, np.float32("nan")))


def _busiest(record: RoutingRecord) -> str:
    """The rule in words, and the expert that ran most often against an even share."""
    counts_le = expert_counts(record).filled(0)
    passed_l = (record.ids_tlk != record.empty).any(axis=2).sum(axis=0)
    even_l = np.array([rule.k / rule.experts for rule in record.layers])
    share_le = counts_le / np.maximum(passed_l, 1)[:, None]
    layer, expert = np.unravel_index(int(np.argmax(share_le / even_l[:, None])), share_le.shape)
    rules = {(rule.k, rule.experts) for rule in record.layers}
    k, experts = record.layers[layer].k, record.layers[layer].experts
    each = f"{k} of its {experts} experts" if len(rules) == 1 else "some of its experts"
    return (
        f"Each layer sends every token to {each}. The busiest, expert {expert} of layer "
        f"{layer_names(record.layers)[layer]}, ran for {share_le[layer, expert]:.0%} of the tokens; an even share is "
        f"{even_l[layer]:.1%}. N = {record.tokens:,} token{'s' * (record.tokens != 1)}."
    )


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
