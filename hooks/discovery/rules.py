"""What a router's numbers mean: its rule learnt from its own behaviour.

The rule is not read from a family's name. Each known way to score, select and weigh is tried on what the router did in
the probing pass, and the one that reproduces the executed ids and weights is kept.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from gatescope.hooks.discovery.formulas.selection import Selector, candidates, token_table, top_k_agreement
from gatescope.hooks.discovery.formulas.weighing import Weighing, tolerance, weigh
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.layers.site import Site
from gatescope.routing.router import RouterRule

SAME_IDS = 0.98  # share of tokens whose chosen set a selection rule must reproduce; ties and rounding take the rest
SHARED = ("shared_experts", "shared_expert", "shared_mlp", "shared_expert_mlp")


class InferredRule(NamedTuple):
    """A layer's rule, and the selector its margins are measured with (None: no such scores, or not recognised)."""

    rule: RouterRule
    selector: Selector | None
    weight_error: float
    ids_agree: float


def learn(site: Site, routes: Routes, *, around: nn.Module, token_n: Tensor | None = None) -> InferredRule:
    """The rule of one layer, from what its router did with N tokens.

    `around` holds the layer's block, and what runs beside it; `token_n` are the token ids of the rows, where known.
    """
    weighing = weigh(site, routes)
    if weighing.error > tolerance(routes.weights_nk):
        weighing = Weighing("unknown", False, 1.0, weighing.error)
    logits_ne = routes.logits_ne.float()
    fits = [(top_k_agreement(selector(logits_ne), routes), selector) for selector in candidates(site, weighing.score)]
    agree, selector = max(fits, key=lambda fit: fit[0])  # the first of equals: candidates come most specific first
    by_token_id = agree < SAME_IDS and token_table(site, routes, token_n)
    zero = zero_experts(site.holder)
    rule = RouterRule(
        layer=site.layer,
        block=site.block,
        stack=site.stack,
        module=site.holder_path,
        experts=site.options - site.reading.skips,
        k=site.k,
        score=weighing.score,
        has_selection_bias=selector.bias_e is not None and not by_token_id,
        groups=1 if by_token_id else selector.groups,
        groups_kept=1 if by_token_id else selector.groups_kept,
        is_renormalised=weighing.is_renormalised,
        scale=weighing.scale,
        shared_experts=shared_experts(site.holder, around),
        zero_experts=zero,
        by_token_id=by_token_id,
        has_expert_scales=weighing.has_expert_scales,
        shares_norm=weighing.shares_norm,
        weighs_input=site.reading.weighs_input,
        empty_when=_empty_when(site),
    )
    known = selector if agree >= SAME_IDS else None
    return InferredRule(rule, known, weighing.error, 1.0 if by_token_id else agree)


def _empty_when(site: Site) -> str:
    """Why a slot of this layer may be empty."""
    return "for tokens that belong to the experts beside it" if site.divider else site.reading.empty_when


def shared_experts(holder: nn.Module, around: nn.Module) -> int:
    """How many always-on experts run beside the routed ones (they are often fused into one wider module)."""
    held = (getattr(module, name, None) for module in (holder, around) for name in SHARED)
    present = any(isinstance(found, nn.Module) for found in held)
    declared = _stated(getattr(holder, "config", None), "n_shared_experts")
    return (declared or 1) if present else 0


def zero_experts(holder: nn.Module) -> int:
    """How many of the routed options hand the token on unchanged."""
    return _stated(getattr(holder, "config", None), "zero_expert_num")


def _stated(config: Any, name: str) -> int:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else 0
