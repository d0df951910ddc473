"""What a server says of one sequence it ran, as a record: only expert ids, in the server's own count of layers.

Servers list either every hidden layer, those without experts as zeros, or the MoE layers alone. Which it is follows
from the model's layers where they are given. Where they are not, a layer of zeros alone has no experts: a choice of two
or more experts never names expert 0 twice. A token without routes is told the same way, or by -1 in every slot.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document, Flag, Provenance, RoutingRecord, empty_slot
from gatescope.routing.router import RouterRule

UNKNOWN = -1  # the token id of a token whose id the answer does not hold
NO_ROUTE = -1  # stands in every slot of a token whose routes the server did not keep
GIVE_LAYERS = "give the layers of the model that the server ran"


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """One sequence that a server ran: its tokens, and the experts of its tokens from `start` on, but the last.

    `ids_thk` has the shape (tokens, layers as the server counts them, slots). `prompt_ids` and `output_ids` are token
    ids, UNKNOWN where the answer does not hold them. `name` is the model's, as the server calls it.
    """

    document: Document
    ids_thk: NDArray[np.integer]
    prompt_ids: Sequence[int]
    output_ids: Sequence[int]
    start: int = 0
    name: str = ""


def forwarded(ids_thk: NDArray[np.integer], *, tokens: int, start: int) -> NDArray[np.integer]:
    """The rows of the tokens that were run, all but the last; one row more is the last one's, which never ran."""
    expected = tokens - 1 - start
    if expected < 0 or len(ids_thk) not in (expected, expected + 1):
        raise TraceError(
            f"rows that do not fit the tokens ({len(ids_thk)} rows, {tokens} tokens, the first {start} not asked for)",
            expected=f"{max(expected, 0)} rows: one for each token but the last, which is never run",
            do="keep the request beside its answer if it skipped a beginning; otherwise ask again",
        )
    return ids_thk[:expected]


def decoder_layers(layers: Sequence[RouterRule]) -> tuple[RouterRule, ...]:
    """The layers that a server reports, numbered anew: those of the decoder."""
    kept = tuple(replace(rule, layer=n) for n, rule in enumerate(r for r in layers if r.stack == "decoder"))
    blocks = [rule.block for rule in kept]
    if blocks != sorted(set(blocks)):
        raise TraceError(
            f"layers at the blocks {blocks}",
            expected="rising blocks, each with one MoE layer: servers report one choice for each block",
            do="leave out the layers that the server does not report",
        )
    return kept


def record_of(
    served: Served, layers: tuple[RouterRule, ...], provenance: Provenance
) -> tuple[RoutingRecord, list[int]]:
    """The record of one sequence, and the positions of its tokens that the server had no routes for.

    Errors      TraceError where the ids are not those of such layers; RecordError where they break a record's rule.
    """
    ids_tlk = _own_layers(served.ids_thk, layers)
    has_route_t = _has_route(ids_tlk)
    ids_tlk = ids_tlk[has_route_t]
    _check_range(ids_tlk, layers)
    position_t = served.start + np.flatnonzero(has_route_t)
    token_t = np.array([*served.prompt_ids, *served.output_ids], dtype=np.int64)[position_t]
    is_new_t = position_t >= len(served.prompt_ids)
    kind = np.uint8 if max(rule.experts for rule in layers) <= empty_slot(np.uint8) else np.uint16
    record = RoutingRecord(
        ids_tlk=ids_tlk.astype(kind),
        weight_tlk=None,
        token_t=token_t.astype(np.int32),
        document_t=np.zeros(len(token_t), np.int32),
        position_t=position_t.astype(np.int32),
        flag_t=np.where(is_new_t, Flag.GENERATED, 0).astype(np.uint8),
        documents=(served.document,),
        layers=layers,
        provenance=provenance,
    )
    return record, (served.start + np.flatnonzero(~has_route_t)).tolist()


def inferred_layers(sequences: Iterable[Served], *, experts: int) -> tuple[RouterRule, ...]:
    """The layers that the ids themselves show, where nobody gave them; each has `experts`, which ids cannot tell."""
    shape, has_choice_h, highest = (0, 0), np.zeros(0, bool), 0
    for served in sequences:
        if not len(served.ids_thk):
            continue
        if not len(has_choice_h):
            shape, has_choice_h = served.ids_thk.shape[1:], np.zeros(served.ids_thk.shape[1], bool)
        _check_shape(shape, served.ids_thk.shape[1:])
        has_choice_h |= (served.ids_thk > 0).any(axis=(0, 2))
        highest = max(highest, int(served.ids_thk.max()))
    _check_decidable(shape[1], has_choice_h)
    _check_experts(experts, highest)
    blocks = np.flatnonzero(has_choice_h).tolist()
    return tuple(
        RouterRule(
            layer=n, block=block, module=f"layer {block} of the trace", experts=experts, k=shape[1], score="unknown"
        )
        for n, block in enumerate(blocks)
    )


def _check_shape(first: tuple[int, ...], other: tuple[int, ...]) -> None:
    if first != other:
        raise TraceError(
            f"answers of different shapes ({first} and {other} layers and slots)",
            expected="the answers of one model",
            do="import the answers of each model on their own",
        )


def _check_decidable(k: int, has_choice_h: NDArray[np.bool_]) -> None:
    """Without the model's layers, layers without experts can be told from the others only where k is 2 or more."""
    if k < 2 or not has_choice_h.any():
        raise TraceError(
            f"layers that cannot be told from the ids alone ({k} experts for each token)",
            expected="the model's layers, or ids of two or more experts for each token: with one, a layer without "
            "experts looks like one that always chooses expert 0",
            do=GIVE_LAYERS,
        )


def _check_experts(experts: int, highest: int) -> None:
    if experts <= highest:
        raise TraceError(
            f"a number of experts that is not known ({experts} given, {highest} is the highest id)",
            expected="the model's layers or its number of experts: experts that were never chosen leave no trace",
            do=GIVE_LAYERS,
        )


def _own_layers(ids_thk: NDArray[np.integer], layers: tuple[RouterRule, ...]) -> NDArray[np.int64]:
    """The ids of the layers alone, the layers without experts left out."""
    if not len(ids_thk):
        return np.zeros((0, len(layers), max(rule.k for rule in layers)), np.int64)
    hidden, k = ids_thk.shape[1:]
    blocks = [rule.block for rule in layers]
    if {k} != {rule.k for rule in layers}:
        raise _other_model(f"{k} experts for each token, layers that choose {sorted({rule.k for rule in layers})}")
    if hidden == len(layers):
        return ids_thk.astype(np.int64)
    if hidden <= blocks[-1]:
        raise _other_model(
            f"{hidden} layers, where the model has {len(layers)} with experts, the last in block {blocks[-1]}"
        )
    without_h = np.setdiff1d(np.arange(hidden), blocks)
    stray_h = ((ids_thk[:, without_h] != 0) & (ids_thk[:, without_h] != NO_ROUTE)).any(axis=(0, 2))
    if stray_h.any():
        raise _other_model(f"experts in block {without_h[stray_h][0]}, which has none in the layers given")
    return ids_thk[:, blocks].astype(np.int64)


def _other_model(found: str) -> TraceError:
    return TraceError(
        f"an answer of another model than the layers given ({found})",
        expected="every block with experts among the layers, with its number of experts for each token",
        do=GIVE_LAYERS,
    )


def _has_route(ids_tlk: NDArray[np.int64]) -> NDArray[np.bool_]:
    """False for tokens whose routes the server did not keep: -1, or expert 0 in several slots, in every layer."""
    lost_t = (ids_tlk == NO_ROUTE).all(axis=(1, 2))
    if ids_tlk.shape[2] > 1:
        lost_t |= (ids_tlk == 0).all(axis=(1, 2))
    has_t: NDArray[np.bool_] = ~lost_t
    return has_t


def _check_range(ids_tlk: NDArray[np.int64], layers: tuple[RouterRule, ...]) -> None:
    experts_l = np.array([rule.experts for rule in layers])
    bad_tlk = (ids_tlk < 0) | (ids_tlk >= experts_l[:, None])
    if bad_tlk.any():
        token, layer, slot = np.argwhere(bad_tlk)[0]
        rule = layers[layer]
        raise _other_model(f"expert {ids_tlk[token, layer, slot]} in block {rule.block}, which has {rule.experts}")
