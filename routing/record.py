"""One capture of routing: its axes and its invariants.

Array names end in their axes: `t` token, `l` MoE layer, `k` slot, `e` routed expert. The token axis is outermost, so
documents append. A record that breaks a rule cannot be constructed; one that exists is read-only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntFlag
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import RecordError
from gatescope.routing.router import RouterRule
from gatescope.routing.slots import extremes, has_twice, is_falling

EMPTY8 = np.uint8(255)
EMPTY16 = np.uint16(65535)
SIMULATION = "simulation"
"""The engine of routes that were drawn at random: no model made them."""


class Flag(IntFlag):
    """What kind of token a row is. A plain prompt token has no flag.

    ENCODER marks what an encoder (or a vision tower) read, beside the tokens of the decoder: its positions count anew.
    """

    SPECIAL = 1
    TEMPLATE = 2
    GENERATED = 4
    IMAGE = 8
    ENCODER = 16


@dataclass(frozen=True)
class Document:
    """One text and what is known of it; an empty label means "not said".

    `language_guessed` tells a language that was worked out from the text from one that its owner gave.
    """

    text: str
    id: str = ""
    source: str = ""
    domain: str = ""
    language: str = ""
    language_guessed: bool = False


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a capture was made with: enough to repeat it, and to tell whether two captures may be compared.

    `threads` of a CPU are said and make no difference between captures; 0 where it is not known, or was no CPU.
    """

    model: str
    fingerprint: str
    dtype: str
    device: str
    revision: str = ""
    attention: str = ""
    experts_implementation: str = ""
    engine: str = "hooks"
    versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    threads: int = field(default=0, compare=False)

    @property
    def intervention(self) -> str:
        """What changed the routes before the experts ran, by name; empty where they are the model's own."""
        return str(self.options.get("intervention") or "")

    @property
    def is_simulated(self) -> bool:
        """Whether no model made the routes: they were drawn at random."""
        return self.engine == SIMULATION


def empty_slot(dtype: np.dtype | type) -> int:
    """The id that means "no expert in this slot" (a dropped token, or fewer than k).

    >>> empty_slot(np.uint8), empty_slot(np.uint16)
    (255, 65535)
    """
    return int(np.iinfo(dtype).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingRecord:
    """What one or more documents' tokens were routed to, layer by layer, exactly as executed.

    Shapes
        ids_tlk      (tokens, layers, slots)   uint8 (uint16 above 255 experts), by decreasing weight
        weight_tlk   (tokens, layers, slots)   float16, the weight multiplied into the output; 0 in an empty slot
        rejected_tl  (tokens, layers)          same dtype as ids: the best expert that was not chosen
        margin_tl    (tokens, layers)          float16, k-th minus (k+1)-th selection score
        entropy_tl   (tokens, layers)          float16, nats, of the normalised gate over all experts
        lse_tl       (tokens, layers)          float16, log-sum-exp of the raw logits
        logit_tle    (tokens, layers, experts) float16, raw; NaN beyond a layer's own number of experts
        wanted_ids_tlk, wanted_weight_tlk      as ids_tlk and weight_tlk: what the router itself chose, where an
                                               intervention changed what ran; rejected and margin are of these
        token_t, document_t, position_t        int32; document_t indexes `documents`, position_t restarts in each
        flag_t                                 uint8, see `Flag`
        loss_t, predicted_t                    float32 (NaN where there is no next token) and int32

    Absent arrays are None: a value not recorded is never zero.
    `pieces` maps each token id that occurs (also as a prediction) to the text it stands for.
    Errors      RecordError when a rule is broken, naming the array, the place and the value.
    """

    ids_tlk: NDArray[np.unsignedinteger]
    weight_tlk: NDArray[np.float16] | None
    token_t: NDArray[np.int32]
    document_t: NDArray[np.int32]
    position_t: NDArray[np.int32]
    flag_t: NDArray[np.uint8]
    documents: tuple[Document, ...]
    layers: tuple[RouterRule, ...]
    provenance: Provenance
    pieces: Mapping[int, str] = field(default_factory=dict)
    rejected_tl: NDArray[np.unsignedinteger] | None = None
    margin_tl: NDArray[np.float16] | None = None
    entropy_tl: NDArray[np.float16] | None = None
    lse_tl: NDArray[np.float16] | None = None
    logit_tle: NDArray[np.float16] | None = None
    loss_t: NDArray[np.float32] | None = None
    predicted_t: NDArray[np.int32] | None = None
    wanted_ids_tlk: NDArray[np.unsignedinteger] | None = None
    wanted_weight_tlk: NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_ids(self, self.ids_tlk)
        _check_weights(self, self.ids_tlk, self.weight_tlk)
        _check_wanted(self)
        _check_documents(self)
        for _, array in self.arrays():
            array.flags.writeable = False
        object.__setattr__(self, "pieces", MappingProxyType(dict(self.pieces)))

    @property
    def tokens(self) -> int:
        """Number of recorded tokens."""
        return int(self.ids_tlk.shape[0])

    @property
    def slots(self) -> int:
        """Most experts any layer gives a token."""
        return int(self.ids_tlk.shape[2])

    @property
    def empty(self) -> int:
        """The id of an empty slot in this record."""
        return empty_slot(self.ids_tlk.dtype)

    @property
    def experts(self) -> int:
        """Most routed experts of any layer."""
        return max(rule.experts for rule in self.layers)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and array of everything recorded, absent ones left out."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                yield item.name, value

    def take(self, rows_t: slice | NDArray[np.integer | np.bool_]) -> "RoutingRecord":
        """The same record for some of its tokens, in their order; documents keep their numbers."""
        if isinstance(rows_t, np.ndarray) and rows_t.dtype == bool and len(rows_t) == self.tokens and rows_t.all():
            return self
        taken: dict[str, Any] = {name: array[rows_t].copy() for name, array in self.arrays()}
        return replace(self, **taken)

    def of_documents(self, numbers: Sequence[int]) -> "RoutingRecord":
        """The same record of some of its documents only, in the order given, numbered anew from 0.

        Errors      RecordError for a number that no document has, or that comes twice.
        """
        if len(set(numbers)) != len(numbers) or not set(numbers) <= set(range(len(self.documents))):
            raise broken(f"the documents {list(numbers)[:8]}", f"some of 0 to {len(self.documents) - 1}, each once")
        new_d = np.full(len(self.documents), -1, np.int32)
        new_d[list(numbers)] = np.arange(len(numbers), dtype=np.int32)
        rows_t = np.flatnonzero(new_d[self.document_t] >= 0)
        rows_t = rows_t[np.argsort(new_d[self.document_t[rows_t]], kind="stable")]
        taken: dict[str, Any] = {name: array[rows_t].copy() for name, array in self.arrays()}
        taken["document_t"] = new_d[taken["document_t"]]
        return replace(self, **taken, documents=tuple(self.documents[number] for number in numbers))

    def image_places(self) -> NDArray[np.int32]:
        """Each image token's place in its image, shape (tokens,): counted along its run, -1 where a token is of none.

        A run is what follows one another in a document, in the decoder or in a tower; images that touch count as one.
        """
        is_image_t = (self.flag_t & Flag.IMAGE) > 0
        follows_t = np.zeros(self.tokens, bool)
        follows_t[1:] = is_image_t[1:] & is_image_t[:-1] & (np.diff(self.document_t) == 0)
        follows_t[1:] &= (np.diff(self.position_t) == 1) & (np.diff(self.flag_t & Flag.ENCODER) == 0)
        row_t = np.arange(self.tokens)
        first_t = np.maximum.accumulate(np.where(follows_t, 0, row_t))
        return np.where(is_image_t, row_t - first_t, -1).astype(np.int32)

    def piece(self, token_id: int) -> str:
        """The text of a token id, or its number in angle brackets where the record does not hold it."""
        return self.pieces.get(int(token_id), f"<{int(token_id)}>")


_DTYPES: dict[str, tuple[type, ...]] = {
    "ids_tlk": (np.uint8, np.uint16),
    "rejected_tl": (np.uint8, np.uint16),
    "wanted_ids_tlk": (np.uint8, np.uint16),
    "wanted_weight_tlk": (np.float16,),
    "weight_tlk": (np.float16,),
    "margin_tl": (np.float16,),
    "entropy_tl": (np.float16,),
    "lse_tl": (np.float16,),
    "logit_tle": (np.float16,),
    "loss_t": (np.float32,),
    "predicted_t": (np.int32,),
    "token_t": (np.int32,),
    "document_t": (np.int32,),
    "position_t": (np.int32,),
    "flag_t": (np.uint8,),
}


def broken(found: str, expected: str) -> RecordError:
    """The error of a record that is none."""
    return RecordError(
        found, expected=expected, do="capture again; if it repeats, the writer of this record is at fault"
    )


def _check_shapes(record: RoutingRecord) -> None:
    """dtype and shape of every array against its name's axes."""
    tokens, layers, slots = _axes_of_ids(record)
    size = {"t": tokens, "l": layers, "k": slots, "e": record.experts}
    for name, array in record.arrays():
        if array.dtype.type not in _DTYPES[name]:
            wanted = " or ".join(np.dtype(kind).name for kind in _DTYPES[name])
            raise broken(f"{name} is {array.dtype}", f"{name} to be {wanted}")
        expected = tuple(size[axis] for axis in name.rsplit("_", 1)[1])
        if array.shape != expected:
            raise broken(f"{name} has shape {array.shape}", f"{expected}, to agree with ids_tlk {record.ids_tlk.shape}")
    for name, ids in (("rejected_tl", record.rejected_tl), ("wanted_ids_tlk", record.wanted_ids_tlk)):
        if ids is not None and ids.dtype != record.ids_tlk.dtype:
            raise broken(f"{name} is {ids.dtype}", f"the dtype of ids_tlk, {record.ids_tlk.dtype}")


def _axes_of_ids(record: RoutingRecord) -> tuple[int, int, int]:
    shape = record.ids_tlk.shape
    if not record.layers:
        raise broken("a record of 0 layers", "at least one MoE layer")
    if len(shape) != 3 or shape[1] != len(record.layers):
        raise broken(f"ids_tlk has shape {shape} for {len(record.layers)} layers", "(tokens, layers, slots)")
    numbers = [rule.layer for rule in record.layers]
    if numbers != list(range(len(numbers))):
        raise broken(f"layers are numbered {numbers}", "0, 1, 2 … in order (`block` holds the absolute index)")
    if shape[2] != max(rule.k for rule in record.layers):
        raise broken(f"ids_tlk has {shape[2]} slots", f"the largest k, {max(rule.k for rule in record.layers)}")
    return shape


def _check_ids(record: RoutingRecord, ids_tlk: NDArray[np.unsignedinteger]) -> None:
    """Ids within the layer's experts, each at most once per token, empty slots last."""
    empty = record.empty
    if record.experts > empty:
        raise broken(f"{ids_tlk.dtype} ids for {record.experts} experts", "uint16 ids above 255 experts")
    if _are_full(record, ids_tlk) and not has_twice(ids_tlk):
        return
    for rule in record.layers:
        ids_tk = ids_tlk[:, rule.layer]
        filled_tk = ids_tk != empty
        _raise_at(filled_tk & (ids_tk >= rule.experts), ids_tk, rule, f"an expert below {rule.experts}")
        _raise_at(filled_tk[:, 1:] & ~filled_tk[:, :-1], ids_tk[:, 1:], rule, "empty slots after the filled ones")
        _raise_at(filled_tk[:, rule.k :], ids_tk[:, rule.k :], rule, f"no route beyond the layer's k={rule.k}")
        twice_tk = np.zeros(ids_tk.shape, bool)
        for apart in range(1, rule.k):  # several times faster than to sort
            twice_tk[:, apart:] |= (ids_tk[:, apart:] == ids_tk[:, :-apart]) & filled_tk[:, apart:]
        _raise_at(twice_tk, ids_tk, rule, "each expert at most once per token")


def _are_full(record: RoutingRecord, ids_tlk: NDArray[np.unsignedinteger]) -> bool:
    """Whether every slot of every layer holds one of the layer's experts."""
    is_all = all(rule.k == ids_tlk.shape[2] for rule in record.layers)
    return is_all and all(
        greatest < rule.experts for greatest, rule in zip(extremes(ids_tlk).greatest_l, record.layers, strict=True)
    )


def _raise_at(bad_tk: NDArray[np.bool_], value_tk: NDArray[np.number], rule: RouterRule, expected: str) -> None:
    if bad_tk.any():
        token, slot = np.argwhere(bad_tk)[0]
        where = f"token {token}, layer {rule.layer} ({rule.module}), slot {slot}"
        raise broken(f"{value_tk[token, slot]} at {where}", expected)


def _check_wanted(record: RoutingRecord) -> None:
    """The router's own choice by the rules of what ran."""
    if record.wanted_ids_tlk is not None:
        _check_ids(record, record.wanted_ids_tlk)
        _check_weights(record, record.wanted_ids_tlk, record.wanted_weight_tlk)
    elif record.wanted_weight_tlk is not None:
        raise broken("wanted_weight_tlk without wanted_ids_tlk", "both or neither")


def _check_weights(
    record: RoutingRecord, ids_tlk: NDArray[np.unsignedinteger], weight_tlk: NDArray[np.float16] | None
) -> None:
    """Finite weights in decreasing order, 0 exactly where the slot is empty."""
    if weight_tlk is None or (_are_full(record, ids_tlk) and is_falling(weight_tlk)):
        return
    for rule in record.layers:
        weight_tk = weight_tlk[:, rule.layer]
        empty_tk = ids_tlk[:, rule.layer] == record.empty
        _raise_at(~np.isfinite(weight_tk), weight_tk, rule, "a finite weight")
        _raise_at(empty_tk & (weight_tk != 0), weight_tk, rule, "weight 0 in an empty slot")
        rises_tk = (weight_tk[:, 1:] > weight_tk[:, :-1]) & ~empty_tk[:, 1:]
        _raise_at(rises_tk, weight_tk[:, 1:], rule, "slots in order of decreasing weight")


def _check_documents(record: RoutingRecord) -> None:
    """Documents in order, each one's tokens together, positions rising within it (and within what its encoder read)."""
    document_t, position_t = record.document_t, record.position_t
    if record.tokens == 0:
        return
    if document_t.min() < 0 or document_t.max() >= len(record.documents):
        raise broken(f"document_t runs {document_t.min()}…{document_t.max()}", f"0…{len(record.documents) - 1}")
    step_t = np.diff(document_t)
    if (step_t < 0).any():
        raise broken(f"document_t goes back at token {np.argmax(step_t < 0) + 1}", "documents one after another")
    same_side_t = np.diff(record.flag_t & Flag.ENCODER) == 0
    falls_t = (step_t == 0) & same_side_t & (np.diff(position_t) <= 0)
    if falls_t.any():
        raise broken(f"position_t does not rise at token {np.argmax(falls_t) + 1}", "rising positions in a document")
