"""What the routers' tensors mean, layer by layer: the rule learnt from a short pass, and the numbers kept per token.

No rule is taken from the architecture's name. Which tensors a layer's graph has says how it chooses and weighs; which
gate it is, and by what factor its weights are scaled, is measured on what it did.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.engines.llamacpp.header import Header
from gatescope.engines.llamacpp.tape import unread
from gatescope.routing.errors import RouterOutputError
from gatescope.routing.router import RouterRule, Score

SAME_WEIGHTS = 1e-3  # largest relative error of a formula against executed weights
SAME_IDS = 0.98  # share of tokens whose chosen set the selection scores must reproduce
Floats = NDArray[np.floating[Any]]
Copied = Mapping[tuple[int, str], NDArray[Any]]


def _softmax(logits_ne: Floats) -> Floats:
    raised_ne = np.exp(logits_ne - logits_ne.max(-1, keepdims=True))
    share_ne: Floats = raised_ne / raised_ne.sum(-1, keepdims=True)
    return share_ne


GATES: Mapping[Score, Callable[[Floats], Floats]] = {
    "softmax": _softmax,
    "sigmoid": lambda logits_ne: 0.5 * (1 + np.tanh(0.5 * logits_ne)),
    "sqrtsoftplus": lambda logits_ne: np.sqrt(np.logaddexp(0, logits_ne)),
}
"""What a gate makes of raw scores."""


class Reading(NamedTuple):
    """One layer's rule and the kinds of tensors to copy for it; empty where its graph has none, or none is understood.

    `selection` are the scores it takes the best of: the logits themselves where nothing is added to the gate's scores.
    """

    rule: RouterRule
    weights: str
    logits: str
    selection: str

    @property
    def kinds(self) -> set[str]:
        """Everything to copy."""
        return {"topk", self.weights, self.logits, self.selection} - {""}


class Routes(NamedTuple):
    """What one layer did with N tokens, slots by decreasing weight; None where it is not known."""

    ids_nk: NDArray[np.int32]
    weights_nk: Floats
    logits_ne: Floats | None
    rejected_n: NDArray[np.int64] | None
    margin_n: Floats | None
    entropy_n: Floats | None
    lse_n: Floats | None


def learn(header: Header, copied: Copied, tokens: int) -> tuple[Reading, ...]:
    """The reading of every MoE layer that ran in a short pass. Errors: RouterOutputError where there is none."""
    blocks = sorted({block for block, kind in copied if kind == "topk"})
    if not blocks:
        raise RouterOutputError(
            f"the graph of {header.architecture} never names its chosen experts (ffn_moe_topk)",
            expected="an architecture whose blocks llama.cpp builds with its common experts block",
            do="capture the model with transformers instead; or report the architecture",
        )
    return tuple(_learn(header, layer, block, copied, tokens) for layer, block in enumerate(blocks))


def _learn(header: Header, layer: int, block: int, copied: Copied, tokens: int) -> Reading:
    own = {
        kind: shaped(values, tokens, f"ffn_moe_{kind}-{block}") for (at, kind), values in copied.items() if at == block
    }
    _check_stated(header, block, own)
    weights = next((kind for kind in _WEIGHTS if kind in own), "")
    if not weights:
        raise unread(f"ffn_moe_topk-{block} without ffn_moe_weights-{block}", "the weights of the chosen experts")
    logits = next((kind for kind in _logits(own) if kind in own), "")
    score = _score(own, logits)
    masked = "probs_masked" in own
    selection = "probs_masked" if masked else "probs_biased" if "probs_biased" in own else logits
    if selection and not _selects(own[selection], own["topk"]):
        selection = ""
    rule = RouterRule(
        layer=layer,
        block=block,
        module=f"blk.{block}.ffn",
        experts=own[logits].shape[1] if logits else header.count("expert_count", block),
        k=own["topk"].shape[1],
        score=score,
        has_selection_bias=header.has(block, "exp_probs_b.bias"),
        groups=header.count("expert_group_count", block) if masked else 1,
        groups_kept=header.count("expert_group_used_count", block) if masked else 1,
        is_renormalised=not own.keys().isdisjoint({"weights_norm", "weights_softmax"}),
        scale=_scale(header, own),
        shared_experts=_shared(header, block),
        by_token_id=header.has(block, "ffn_gate_tid2eid.weight"),
        weighs_input=header.architecture == "llama4",
    )
    return Reading(rule, weights, logits, selection)


def _check_stated(header: Header, block: int, own: Mapping[str, NDArray[Any]]) -> None:
    """As many experts per token as the file states: an architecture that routes twice in a block would show more."""
    stated, found = header.count("expert_used_count", block), own["topk"].shape[1]
    if stated and found != stated:
        raise unread(
            f"{found} experts per token in ffn_moe_topk-{block}", f"{stated}, as the file states (expert_used_count)"
        )


_WEIGHTS = ("weights_scaled", "weights_norm", "weights_softmax", "weights")
"""The stages of a weight, the last one first: the last one present is what is multiplied."""


def _logits(own: Mapping[str, Any]) -> tuple[str, ...]:
    """Where raw scores may stand. A softmax over the chosen alone has them under the name of its probabilities."""
    return ("probs",) if "weights_softmax" in own else ("logits_biased", "logits")


def _score(own: Mapping[str, NDArray[Any]], logits: str) -> Score:
    """The gate that gives the weights, as they were before they were made to sum to 1."""
    if not logits:
        return "unknown"
    ids_nk, logits_ne = own["topk"], own[logits].astype(np.float64)
    weights_nk = own["weights_softmax" if "weights_softmax" in own else "weights"]
    for score, gate in GATES.items():
        formula_nk = np.take_along_axis(gate(logits_ne), ids_nk, 1)
        if "weights_softmax" in own:
            formula_nk = formula_nk / formula_nk.sum(-1, keepdims=True)
        if np.all(np.abs(formula_nk - weights_nk) <= SAME_WEIGHTS * np.abs(formula_nk)):
            return score
    return "unknown"


def _scale(header: Header, own: Mapping[str, NDArray[Any]]) -> float:
    """The factor on the weights: measured, or the one that the file states where only rounding tells them apart."""
    if "weights_scaled" not in own:
        return 1.0
    before = next(kind for kind in _WEIGHTS[1:] if kind in own)
    measured = float(np.median(own["weights_scaled"] / own[before]))
    stated = header.values.get(f"{header.architecture}.expert_weights_scale")
    if isinstance(stated, float) and abs(measured - stated) <= SAME_WEIGHTS * abs(stated):
        return round(stated, 6)
    return measured


def _shared(header: Header, block: int) -> int:
    """Experts that always run beside the routed ones (the file has them as one wider one)."""
    return (header.count("expert_shared_count", block) or 1) if header.has(block, "ffn_up_shexp.weight") else 0


def _selects(selection_ne: Floats, ids_nk: NDArray[np.int32]) -> bool:
    """Whether the best of these scores are what was chosen."""
    best_nk = np.argsort(-selection_ne, axis=-1, kind="stable")[:, : ids_nk.shape[1]]
    return bool((np.sort(best_nk) == np.sort(ids_nk)).all(-1).mean() >= SAME_IDS)


def shaped(values: NDArray[Any], tokens: int, name: str) -> NDArray[Any]:
    """Flat numbers as a row per token. Errors: RouterOutputError where they are not as many for each."""
    if not tokens or len(values) % tokens:
        raise unread(f"{len(values)} numbers of {name} for {tokens} tokens", "as many for every token")
    return values.reshape(tokens, -1)


def routes(reading: Reading, copied: Copied, tokens: int, *, scores: bool, logits: bool) -> Routes:
    """One layer's routes out of what was copied. Errors: RouterOutputError for a layer that ran otherwise."""
    rule = reading.rule

    def of(kind: str, width: int) -> NDArray[Any]:
        name = f"ffn_moe_{kind}-{rule.block}"
        values = shaped(copied.get((rule.block, kind), np.zeros(0)), tokens, name)
        if values.shape[1] != width:
            raise unread(f"{values.shape[1]} numbers of {name} per token", f"{width}, as when the model was opened")
        return values

    ids_nk, weights_nk = of("topk", rule.k), of(reading.weights, rule.k)
    if not np.isfinite(weights_nk).all():
        raise unread(f"a weight of layer {rule.layer} ({rule.module}) that is no number", "finite weights")
    order_nk = np.argsort(-weights_nk, axis=-1, kind="stable")
    ids_nk, weights_nk = np.take_along_axis(ids_nk, order_nk, 1), np.take_along_axis(weights_nk, order_nk, 1)
    logits_ne = of(reading.logits, rule.experts) if reading.logits and (scores or logits) else None
    selection_ne = of(reading.selection, rule.experts) if reading.selection and scores else None
    rejected_n, margin_n = (None, None) if selection_ne is None else _margin(selection_ne, ids_nk)
    entropy_n, lse_n = (None, None) if logits_ne is None or not scores else _entropy_and_lse(logits_ne, rule.score)
    return Routes(ids_nk, weights_nk, logits_ne, rejected_n, margin_n, entropy_n, lse_n)


def _margin(selection_ne: Floats, ids_nk: NDArray[np.int32]) -> tuple[NDArray[np.int64], Floats]:
    """The best of those not chosen, and how far the last chosen stands above it; infinite where all others are out."""
    last_n = np.take_along_axis(selection_ne, ids_nk, 1).min(-1)
    others_ne = selection_ne.copy()
    np.put_along_axis(others_ne, ids_nk, -np.inf, 1)
    return others_ne.argmax(-1), last_n - others_ne.max(-1)


def _entropy_and_lse(logits_ne: Floats, score: Score) -> tuple[Floats | None, Floats]:
    """Entropy in nats of the gate over all experts, made to sum to 1, and log-sum-exp of the logits."""
    most_n1 = logits_ne.max(-1, keepdims=True)
    lse_n1 = most_n1 + np.log(np.exp(logits_ne - most_n1).sum(-1, keepdims=True))
    if score == "unknown":
        return None, lse_n1[:, 0]
    share_ne = GATES[score](logits_ne)
    share_ne = share_ne / share_ne.sum(-1, keepdims=True)
    log_ne = np.log(share_ne, out=np.zeros_like(share_ne), where=share_ne > 0)
    return -(share_ne * log_ne).sum(-1), lse_n1[:, 0]
