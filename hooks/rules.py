"""What a router's numbers mean: its rule learnt from its own behaviour, and its scores reduced to a few per token.

The rule is not read from a family's name. Each known way to score, select and weigh is tried on what the router did in
the probing pass, and the one that reproduces the executed ids and weights is kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hooks.find import Site
from routing.router import RouterRule, Score

SAME_IDS = 0.98  # share of tokens whose chosen set a selection rule must reproduce; ties and rounding take the rest
WEIGHT_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.float16: 4e-3, torch.bfloat16: 2e-2}
SHARED = ("shared_experts", "shared_expert", "shared_mlp", "shared_expert_mlp")


@dataclass(frozen=True)
class Selector:
    """How one layer's router turns raw logits into the scores it takes the best of.

    `bias_e` is added to the sigmoid scores for the choice only. With groups, only the experts of the best groups may be
    chosen; a group counts by the sum of its best two (`pair_groups`) or by its best one.
    """

    score: Score
    bias_e: Tensor | None = None
    groups: int = 1
    groups_kept: int = 1
    pair_groups: bool = False

    def __call__(self, logits_ne: Tensor) -> Tensor:
        """Selection scores; minus infinity where a group rules the expert out."""
        scores_ne = logits_ne
        if self.bias_e is not None:
            scores_ne = logits_ne.sigmoid() + self.bias_e.to(logits_ne)
        elif self.pair_groups:
            scores_ne = logits_ne.sigmoid()
        return scores_ne if self.groups == 1 else self._limited(scores_ne)

    def _limited(self, scores_ne: Tensor) -> Tensor:
        grouped_ngm = scores_ne.unflatten(-1, (self.groups, -1))
        group_ng = grouped_ngm.topk(2, -1).values.sum(-1) if self.pair_groups else grouped_ngm.amax(-1)
        kept_ng = torch.zeros_like(group_ng).scatter(1, group_ng.topk(self.groups_kept, -1).indices, 1.0).bool()
        return grouped_ngm.masked_fill(~kept_ng.unsqueeze(-1), -torch.inf).flatten(-2)


class Weighing(NamedTuple):
    """How the combine weights follow from the logits, and how far off the formula was (relative)."""

    score: Score
    is_renormalised: bool
    scale: float
    error: float


class Learnt(NamedTuple):
    """A layer's rule, and the selector its margins are measured with (None: not recognised)."""

    rule: RouterRule
    selector: Selector | None
    weight_error: float
    ids_agree: float


class Reduced(NamedTuple):
    """One layer's routing of N tokens, reduced at capture."""

    ids_nk: Tensor
    weights_nk: Tensor
    rejected_n: Tensor | None
    margin_n: Tensor | None
    entropy_n: Tensor | None
    lse_n: Tensor


def learn(
    site: Site, logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor, parent: nn.Module, around: nn.Module
) -> Learnt:
    """The rule of one layer, from what its router did with N tokens.

    `parent` holds router and experts, `around` holds `parent`, and what runs beside it.
    """
    logits_ne = logits_ne.float()
    weighing = weigh(logits_ne, ids_nk, weights_nk, known_scales=known_scales(site.router, parent))
    score = weighing.score if weighing.error <= tolerance(weights_nk) else "unknown"
    fits = [(agreement(selector(logits_ne), ids_nk), selector) for selector in candidates(site, parent, score)]
    agree, selector = max(fits, key=lambda fit: fit[0])  # the first of equals: candidates come most specific first
    rule = RouterRule(
        layer=site.layer,
        block=site.block,
        stack=site.stack,
        module=site.module,
        experts=site.expert_count,
        k=site.k,
        score=score,
        has_selection_bias=selector.bias_e is not None,
        groups=selector.groups,
        groups_kept=selector.groups_kept,
        is_renormalised=weighing.is_renormalised,
        scale=weighing.scale,
        shared_experts=shared_experts(parent, around),
    )
    return Learnt(rule, selector if agree >= SAME_IDS else None, weighing.error, agree)


def tolerance(weights_nk: Tensor) -> float:
    """Largest relative error a formula may have against executed weights of this dtype."""
    return WEIGHT_TOLERANCE.get(weights_nk.dtype, 1e-4)


def gate(logits_ne: Tensor, score: Score) -> Tensor:
    """The score of every expert: softmax over the experts, or each one's own sigmoid."""
    return logits_ne.sigmoid() if score == "sigmoid" else logits_ne.softmax(-1)


def weigh(logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor, *, known_scales: tuple[float, ...]) -> Weighing:
    """The formula nearest to the executed weights: a gate, renormalised over the chosen or not, times a scale.

    The scale is measured; one of `known_scales` is taken for it where rounding alone could make the difference.
    """
    fits = []
    for score in ("softmax", "sigmoid"):
        chosen_nk = gate(logits_ne, score).gather(1, ids_nk.long())
        for is_renormalised in (False, True):
            formula_nk = chosen_nk / chosen_nk.sum(-1, keepdim=True) if is_renormalised else chosen_nk
            scale = float((weights_nk.float() / formula_nk).median())
            scale = next((known for known in known_scales if abs(scale / known - 1) <= tolerance(weights_nk)), scale)
            error = float(
                ((formula_nk * scale - weights_nk.float()).abs() / weights_nk.float().abs().clamp(min=1e-3)).max()
            )
            fits.append(Weighing(score, is_renormalised, scale, error))
    return min(fits, key=lambda fit: (fit.error > tolerance(weights_nk), fit.error if fit.error > 1e-3 else 0.0))


def known_scales(router: nn.Module, parent: nn.Module) -> tuple[float, ...]:
    """Factors a layer's weights may carry: none, and the one the model's configuration states."""
    owners = (router, parent, getattr(parent, "config", None))
    stated = [getattr(owner, "routed_scaling_factor", None) for owner in owners]
    return (1.0, *(float(scale) for scale in stated if scale))


def candidates(site: Site, parent: nn.Module, score: Score) -> Iterator[Selector]:
    """Every selection rule worth trying on this layer, the most specific first."""
    bias_e = selection_bias(site, parent)
    groups, kept = group_limit(site.router, parent)
    if groups > 1:
        yield Selector(score, bias_e, groups, kept, pair_groups=True)
        yield Selector(score, bias_e, groups, kept, pair_groups=False)
    if bias_e is not None:
        yield Selector(score, bias_e)
    yield Selector(score)


def agreement(selection_ne: Tensor, ids_nk: Tensor) -> float:
    """Share of tokens whose executed set is the best k of these selection scores."""
    best_nk = selection_ne.topk(ids_nk.shape[1], -1).indices.sort(-1).values
    return float((best_nk == ids_nk.long().sort(-1).values).all(-1).float().mean())


def selection_bias(site: Site, parent: nn.Module) -> Tensor | None:
    """The balancing bias, a vector of one number per expert called a score or correction bias, if the layer has one."""
    for owner in (site.router, parent):
        for name, value in [*owner.named_buffers(), *owner.named_parameters()]:
            if re.search(r"(correction|score|expert|routing|balanc)\w*bias", name) and value.shape == (
                site.expert_count,
            ):
                return value
    return None


def group_limit(router: nn.Module, parent: nn.Module) -> tuple[int, int]:
    """(groups, groups kept) of a group-limited router; (1, 1) when it has none."""
    for owner in (router, parent, getattr(parent, "config", None)):
        groups = getattr(owner, "num_group", None) or getattr(owner, "n_group", None)
        kept = getattr(owner, "topk_group", None)
        if groups and kept and groups > 1:
            return int(groups), int(kept)
    return 1, 1


def shared_experts(parent: nn.Module, around: nn.Module) -> int:
    """How many always-on experts run beside the routed ones (they are often fused into one wider module)."""
    held = (getattr(module, name, None) for module in (parent, around) for name in SHARED)
    present = any(isinstance(found, nn.Module) for found in held)
    declared = getattr(getattr(parent, "config", None), "n_shared_experts", None)
    return int(declared or 1) if present else 0


def reduce(selector: Selector | None, logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor) -> Reduced:
    """Sort the slots by weight and condense the scores: margin and first rejected expert, gate entropy (nats), lse."""
    logits_ne = logits_ne.float()
    weights_nk, order_nk = weights_nk.float().sort(dim=-1, descending=True, stable=True)
    ids_nk = ids_nk.gather(1, order_nk)
    lse_n = logits_ne.logsumexp(-1)
    if selector is None:
        return Reduced(ids_nk, weights_nk, None, None, None, lse_n)
    selection_ne = selector(logits_ne)
    last_n = selection_ne.gather(1, ids_nk).amin(-1)
    best_n, rejected_n = selection_ne.scatter(1, ids_nk, -torch.inf).max(-1)
    return Reduced(ids_nk, weights_nk, rejected_n, last_n - best_n, entropy(logits_ne, lse_n, selector.score), lse_n)


def entropy(logits_ne: Tensor, lse_n: Tensor, score: Score) -> Tensor | None:
    """Entropy in nats of the gate over all experts, sigmoid scores first made to sum to 1; None for an unknown gate."""
    if score == "unknown":
        return None
    if score == "softmax":
        log_ne = logits_ne - lse_n.unsqueeze(-1)
        return -(log_ne.exp() * log_ne).nan_to_num(0.0).sum(-1)
    share_ne = logits_ne.sigmoid()
    return torch.special.entr(share_ne / share_ne.sum(-1, keepdim=True)).sum(-1)
