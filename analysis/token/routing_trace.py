"""What a router did with each token at each layer: the quantities of the token-by-layer picture, in one registry.

A new quantity is one decorated function; the page, its legend and its explanation read the rest from the registry.
Everything here returns NaN where a value does not exist: not recorded, no previous token, an empty slot.

Two tokens of one layer, experts 0 and 2, then 2 and 1: one of two is kept.

>>> from gatescope.routing import *
>>> rule = RouterRule(layer=0, block=0, module="mlp", experts=4, k=2, score="softmax")
>>> record = RoutingRecord(ids_tlk=np.array([[[0, 2]], [[2, 1]]], np.uint8), weight_tlk=None,
...     token_t=np.array([5, 6], np.int32), document_t=np.zeros(2, np.int32), position_t=np.arange(2, dtype=np.int32),
...     flag_t=np.zeros(2, np.uint8), documents=(Document("a b"),), layers=(rule,), pieces={5: "a", 6: " b"},
...     provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"))
>>> overlap(record).tolist(), top_expert(record).tolist()
([[nan], [0.5]], [[0], [2]])
>>> takeaway(record, QUANTITIES["overlap"])  # doctest: +NORMALIZE_WHITESPACE
'Overlap with the previous token is 0.5 on average (share of k; chance: 0.5);
 highest at token 1 “ b” in layer 0, 0.5. N = 1 token.'
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from gatescope.routing import Flag, RouterRule, RoutingRecord
from gatescope.routing.groups import layer_names

Values = Callable[[RoutingRecord], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number per token and layer, and all a reader needs to understand it.

    `null` gives a layer's value for an indifferent router, named by `null_words`; None or NaN where there is no such
    value in closed form. `extreme` is the end worth looking for first, `needs` the array of the record it is read from.
    `lead` begins a sentence of which "by" and a number are the end; where there is none, the title and the unit do.
    """

    slug: str
    title: str
    unit: str
    low: str
    high: str
    extreme: Literal["low", "high"]
    needs: str
    says: str
    not_this: str
    values: Values
    null: Callable[[RouterRule], float] | None = None
    null_words: str = ""
    lead: str = ""

    def is_available(self, record: RoutingRecord) -> bool:
        """Whether the record holds what this quantity is read from."""
        return getattr(record, self.needs) is not None

    def null_l(self, record: RoutingRecord) -> NDArray[np.float64]:
        """The value of an indifferent router, layer by layer; NaN where there is none in closed form."""
        nulls = [float("nan") if self.null is None else self.null(rule) for rule in record.layers]
        return np.array(nulls, dtype=np.float64)


class _Words(TypedDict):
    """What a quantity says of itself, by the names that `Quantity` gives it."""

    title: str
    unit: str
    low: str
    high: str
    extreme: Literal["low", "high"]
    needs: str
    says: str
    not_this: str
    null: NotRequired[Callable[[RouterRule], float]]
    null_words: NotRequired[str]
    lead: NotRequired[str]


QUANTITIES: dict[str, Quantity] = {}


def _quantity(slug: str, **words: Unpack[_Words]) -> Callable[[Values], Values]:
    """Enter a function into the registry."""

    def enter(values: Values) -> Values:
        QUANTITIES[slug] = Quantity(slug=slug, values=values, **words)
        return values

    return enter


@_quantity(
    "margin",
    title="selection margin",
    unit="difference of selection scores",
    lead="The last expert chosen beat the next",
    low="a close call: a small change of number format or wording can swap an expert",
    high="a clear choice",
    extreme="low",
    needs="margin_tl",
    says="How far the last chosen expert was ahead of the best one left out.",
    not_this="not the confidence in the first choice: it compares the k-th with the (k+1)-th expert",
)
def margin(record: RoutingRecord) -> NDArray[np.float32]:
    """Gap between the last expert chosen and the best one left out.

    Shapes      (tokens, layers).
    Units       Those of the router's selection score: logits, or sigmoid scores plus the balancing bias where there is
                one; compare within one model only.
    Undefined   NaN where not recorded.
    Not this    Confidence in the first choice.
    Source      Near-tie analysis of routing under changes of precision.
    """
    return _absent(record) if record.margin_tl is None else record.margin_tl.astype(np.float32)


@_quantity(
    "entropy",
    title="gate entropy",
    unit="bits",
    low="the router is sure: nearly all probability on few experts",
    high="the router is undecided: all experts look alike to it",
    extreme="low",
    needs="entropy_tl",
    says="How spread out the router's preferences are over all experts, before it keeps the best k.",
    not_this="not the evenness of the load: one token's gate, not many tokens' choices",
    null=lambda rule: float(np.log2(rule.experts)),
    null_words="every expert alike",
)
def entropy(record: RoutingRecord) -> NDArray[np.float32]:
    """Entropy of the normalised gate over all routed experts.

    Shapes      (tokens, layers).
    Units       Bits, from 0 (one expert has it all) to log2 E (all alike). Records hold nats.
    Undefined   NaN where not recorded.
    Not this    The entropy of the executed weights, at most log2 k; nor the entropy of the load.
    Source      Shannon 1948.
    """
    return (
        _absent(record) if record.entropy_tl is None else record.entropy_tl.astype(np.float32) / np.log(2, dtype="f4")
    )


def _equal_weight(rule: RouterRule) -> float:
    """The weight of each chosen expert when the router finds all experts alike."""
    if rule.is_renormalised:
        return rule.scale / rule.k
    return rule.scale / rule.experts if rule.score == "softmax" else float("nan")


@_quantity(
    "top1-weight",
    title="weight of the first expert",
    unit="combine weight",
    low="the chosen experts speak about equally loud",
    high="one expert dominates the output",
    extreme="high",
    needs="weight_tlk",
    says="The factor with which the most heavily weighted expert entered the layer's output.",
    not_this="not a probability where the model scales its weights, and not how large the expert's answer was",
    null=_equal_weight,
    null_words="every expert alike",
)
def top_weight(record: RoutingRecord) -> NDArray[np.float32]:
    """Combine weight of the first expert, as multiplied into the output.

    Shapes      (tokens, layers).
    Units       1; weights sum to 1, or to the router's scale, only where the router renormalises them.
    Undefined   NaN where no weights were recorded or the token had no expert.
    Not this    The router's probability of that expert, where weights are renormalised or scaled.
    Source      The first slot of the record's weights.
    """
    if record.weight_tlk is None:
        return _absent(record)
    first_tl = record.weight_tlk[:, :, 0].astype(np.float32)
    return np.where(record.ids_tlk[:, :, 0] == record.empty, np.float32("nan"), first_tl)


@_quantity(
    "overlap",
    title="overlap with the previous token",
    unit="share of k",
    low="all experts changed from one token to the next",
    high="the same experts as for the token before",
    extreme="high",
    needs="ids_tlk",
    says="What part of the experts this token shares with the one before it, at the same layer.",
    not_this="not the overlap between layers: expert numbers mean nothing across layers",
    null=lambda rule: rule.k / rule.experts,
    null_words="chance",
)
def overlap(record: RoutingRecord) -> NDArray[np.float32]:
    """Share of a layer's k experts that the previous token used as well.

    Shapes      (tokens, layers).
    Units       1, from 0 (none) to 1 (all). Chance, with an even load: k/E.
    Undefined   NaN for the first token of a document, after a token that was not recorded, and where either token had
                no expert.
    Not this    The Jaccard index, whose union grows with k; nor whether the first choice is the same.
    Source      Mean overlap of two random k-subsets is k²/E (hypergeometric).
    """
    values_tl = _absent(record)
    if record.tokens > 1:
        shared_tl = _shared(record.ids_tlk[1:], record.ids_tlk[:-1], record.empty)
        values_tl[1:] = shared_tl / np.array([rule.k for rule in record.layers], dtype=np.float32)
        is_next_t = (np.diff(record.document_t) == 0) & (np.diff(record.position_t) == 1)
        has_expert_tl = record.ids_tlk[:, :, 0] != record.empty
        values_tl[1:][~(is_next_t[:, None] & has_expert_tl[1:] & has_expert_tl[:-1])] = np.nan
    return values_tl


def top_expert(record: RoutingRecord) -> NDArray[np.int32]:
    """Number of the most heavily weighted expert: an identity, to be coloured by category and never averaged.

    Shapes      (tokens, layers).
    Units       None. -1: the token had no expert.
    Not this    A quantity; nor comparable between layers: expert 3 of two layers are different experts.
    Source      The record's first slot.
    """
    ids_tl = record.ids_tlk[:, :, 0].astype(np.int32)
    return np.where(ids_tl == record.empty, np.int32(-1), ids_tl)


def next_token_loss(record: RoutingRecord) -> NDArray[np.float32]:
    """How surprised the model was by the token that followed: one number per token, the same for all layers.

    Shapes      (tokens,).
    Units       Nats. 0: it was certain; ln(vocabulary): it had no idea.
    Undefined   NaN for the last token of a document, and where not recorded.
    Not this    The surprise at the token itself, which stands one row earlier.
    Source      Cross-entropy of the next token.
    """
    return np.full(record.tokens, np.nan, np.float32) if record.loss_t is None else record.loss_t.astype(np.float32)


def takeaway(record: RoutingRecord, quantity: Quantity) -> str:
    """One computed sentence for a figure of this quantity: the layer and the token at its interesting end.

    Tokens that belong to the model's format (special, template) are left out when there are others.
    """
    values_tl, rows_t = quantity.values(record), _own_rows(record)
    cell = _extreme(values_tl, rows_t, quantity)
    if cell is None:
        return f"This capture holds no {quantity.title}."
    row, layer = cell
    value, values_tl = values_tl[cell], values_tl[rows_t]
    ties = int(np.count_nonzero(values_tl == value))
    counted = int(np.isfinite(values_tl).any(axis=1).sum())
    where = f"{'first ' if ties > 1 else ''}at {_place(record, row)} in {_layer(record, layer)}"
    number = in_decimals(value) + (f" ({ties:,} times)" if ties > 1 else "")
    end = "lowest" if quantity.extreme == "low" else "highest"
    return (
        f"{_layers(record, quantity, values_tl)}; {end} {where}, {number}. N = {counted:,} token{'s' * (counted != 1)}."
    )


def in_decimals(value: float) -> str:
    """A number of at most three digits that count, without an exponent.

    >>> in_decimals(0.1849), in_decimals(0.0000137), in_decimals(12.0), in_decimals(0.0)
    ('0.185', '0.0000137', '12', '0')
    """
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


def extreme_cell(record: RoutingRecord, quantity: Quantity) -> tuple[int, int] | None:
    """The row of the token and the layer at the quantity's interesting end, the first of equals; None without any.

    Tokens that belong to the model's format are left out when there are others.
    """
    return _extreme(quantity.values(record), _own_rows(record), quantity)


def _extreme(values_tl: NDArray[np.float32], rows_t: NDArray[np.intp], quantity: Quantity) -> tuple[int, int] | None:
    own_tl = values_tl[rows_t]
    if not np.isfinite(own_tl).any():
        return None
    sign = 1.0 if quantity.extreme == "low" else -1.0
    ranked_tl = np.where(np.isfinite(own_tl), sign * own_tl, np.inf)
    token, layer = np.unravel_index(int(np.argmin(ranked_tl)), ranked_tl.shape)
    return int(rows_t[token]), int(layer)


def _layers(record: RoutingRecord, quantity: Quantity, values_tl: NDArray[np.float32]) -> str:
    """The layer whose mean is at the interesting end, in words."""
    count_l = np.isfinite(values_tl).sum(axis=0)
    total_l = np.where(np.isfinite(values_tl), values_tl, 0.0).sum(axis=0, dtype=np.float64)
    mean_l = np.divide(total_l, count_l, out=np.full(len(count_l), np.nan), where=count_l > 0)
    layer = int(np.nanargmin(mean_l) if quantity.extreme == "low" else np.nanargmax(mean_l))
    null = quantity.null_l(record)[layer]
    mean = f"{in_decimals(mean_l[layer])} on average"
    if quantity.lead:
        end = "smallest" if quantity.extreme == "low" else "largest"
        where = "" if len(record.layers) == 1 else f" in {_layer(record, layer)}, where it is {end}"
        return f"{quantity.lead} by {mean}{where}"
    words = quantity.unit if np.isnan(null) else f"{quantity.unit}; {quantity.null_words}: {null:.3g}"
    title, mean = quantity.title[0].upper() + quantity.title[1:], f"{mean} ({words})"
    if len(record.layers) == 1:
        return f"{title} is {mean}"
    end = "lowest" if quantity.extreme == "low" else "highest"
    return f"{title} is {end} in {_layer(record, layer)}, {mean}"


def _layer(record: RoutingRecord, layer: int) -> str:
    """A layer by its number and what else it takes to know it."""
    return f"layer {layer_names(record.layers)[layer]}"


def _place(record: RoutingRecord, row: int) -> str:
    """A token as its position and text, and its document where there are several."""
    piece = record.piece(record.token_t[row]).replace("\n", "↵")
    piece = piece if len(piece) <= 20 else piece[:19] + "…"
    document = int(record.document_t[row])
    of = f" of document {record.documents[document].id or document}" if len(record.documents) > 1 else ""
    return f"token {record.position_t[row]} “{piece}”{of}"


def _own_rows(record: RoutingRecord) -> NDArray[np.intp]:
    """Rows of the text's own tokens; all rows when every token belongs to the model's format."""
    rows_t = np.flatnonzero((record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE)) == 0)
    return rows_t if len(rows_t) else np.arange(record.tokens)


def _shared(
    one_tlk: NDArray[np.unsignedinteger], other_tlk: NDArray[np.unsignedinteger], empty: int
) -> NDArray[np.float32]:
    """How many experts two rows of slots have in common; each occurs at most once in a row."""
    shared_tl = np.zeros(one_tlk.shape[:2], dtype=np.float32)
    filled_tlk = one_tlk != empty
    for slot in range(other_tlk.shape[2]):
        shared_tl += ((one_tlk == other_tlk[:, :, slot, None]) & filled_tlk).any(axis=2)
    return shared_tl


def _absent(record: RoutingRecord) -> NDArray[np.float32]:
    """A value for no token at no layer."""
    return np.full((record.tokens, len(record.layers)), np.nan, dtype=np.float32)
