"""How combine weights follow from a router's logits: each known formula tried on what was executed."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.hooks.layers.gates import GATES
from gatescope.hooks.layers.routes import NO_EXPERT, Routes
from gatescope.hooks.layers.site import Site
from gatescope.routing.router import Score

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.float16: 4e-3, torch.bfloat16: 2e-2}
SCALES = ("routed_scaling_factor", "moe_routed_scaling_factor", "router_scaling_factor", "route_scale")


class Weighing(NamedTuple):
    """How the combine weights follow from the logits, and how far off the formula was (relative)."""

    score: Score
    is_renormalised: bool
    scale: float
    error: float
    has_expert_scales: bool = False
    shares_norm: bool = False


def tolerance(weights_nk: Tensor) -> float:
    """Largest relative error a formula may have against executed weights of this dtype."""
    return TOLERANCE.get(weights_nk.dtype, 1e-4)


def weigh(site: Site, routes: Routes) -> Weighing:
    """The formula nearest to the executed weights: a gate, renormalised over the chosen or not, times a scale.

    The rarer formulas are tried only where none of the common ones fits: a scale of each expert's own (Gemma 4), a
    common factor that differs between tokens because shared experts are weighed in (Inkling), and SparseMixer (Phi).
    """
    allowed = tolerance(routes.weights_nk)
    routes = _whole(routes)
    if not len(routes.ids_nk):
        return Weighing("unknown", False, 1.0, float("inf"))
    best = _least(_common(site, routes, allowed), allowed)
    return best if best.error <= allowed else _least([best, *_rare(site, routes, allowed)], allowed)


def _whole(routes: Routes) -> Routes:
    """The tokens without an empty slot, in float32."""
    whole_n = (routes.ids_nk != NO_EXPERT).all(-1)
    return Routes(routes.logits_ne[whole_n].float(), routes.ids_nk[whole_n].long(), routes.weights_nk[whole_n].float())


def _least(fits: list[Weighing], allowed: float) -> Weighing:
    """The first of those that fit, without telling apart what rounding alone would; else the nearest."""
    return min(fits, key=lambda fit: (fit.error > allowed, fit.error if fit.error > 1e-3 else 0.0))


def _formulas(routes: Routes) -> Iterator[tuple[Score, bool, Tensor]]:
    for score, gate in GATES.items():
        chosen_nk = gate(routes.logits_ne).gather(1, routes.ids_nk)
        yield score, False, chosen_nk
        yield score, True, chosen_nk / chosen_nk.sum(-1, keepdim=True)


def _common(site: Site, routes: Routes, allowed: float) -> list[Weighing]:
    fits = []
    for score, is_renormalised, formula_nk in _formulas(routes):
        scale = _scale(site, formula_nk, routes.weights_nk, allowed)
        fits.append(Weighing(score, is_renormalised, scale, _error(formula_nk * scale, routes.weights_nk)))
    return fits


def _rare(site: Site, routes: Routes, allowed: float) -> list[Weighing]:
    fits = [Weighing("sparsemixer", False, 1.0, _error(sparsemixer(site, routes), routes.weights_nk))]
    scales_e = _expert_scales(site)
    for score, is_renormalised, formula_nk in _formulas(routes):
        if scales_e is not None:
            scaled_nk = formula_nk * scales_e[routes.ids_nk]
            scale = _scale(site, scaled_nk, routes.weights_nk, allowed)
            error = _error(scaled_nk * scale, routes.weights_nk)
            fits.append(Weighing(score, is_renormalised, scale, error, has_expert_scales=True))
        if is_renormalised and site.k > 1 and _scores_shared(site):
            factor_n1 = routes.weights_nk.sum(-1, keepdim=True)
            error = _error(formula_nk * factor_n1, routes.weights_nk)
            fits.append(Weighing(score, True, 1.0, error, shares_norm=True))
    return fits


def sparsemixer(site: Site, routes: Routes) -> Tensor:
    """SparseMixer's weights (Liu et al. 2023, arXiv:2310.00811, without sampling), shape (N, k).

    The best expert is weighed by a softmax over those whose score lies near the best one, the next by the same without
    the first. "Near" means within twice the jitter of the best, relative to the larger magnitude of the two.
    """
    jitter = float(getattr(site.router, "router_jitter_noise", 0.01) or 0.0)
    left_ne, columns = routes.logits_ne, []
    for slot in range(routes.ids_nk.shape[1]):
        best_n1 = left_ne.amax(-1, keepdim=True)
        reach_ne = routes.logits_ne.abs().maximum(best_n1)
        near_ne = left_ne.masked_fill((best_n1 - routes.logits_ne) / reach_ne > 2 * jitter, -torch.inf)
        columns.append(near_ne.softmax(-1).gather(1, routes.ids_nk[:, slot : slot + 1]))
        left_ne = left_ne.scatter(1, routes.ids_nk[:, slot : slot + 1], -torch.inf)
    return torch.cat(columns, dim=1)


def _scale(site: Site, formula_nk: Tensor, weights_nk: Tensor, allowed: float) -> float:
    """The factor between formula and weights: measured, or the stated one where rounding alone could differ."""
    scale = float((weights_nk / formula_nk).median())
    return next((known for known in known_scales(site) if abs(scale / known - 1) <= allowed), scale)


def known_scales(site: Site) -> tuple[float, ...]:
    """Factors a layer's weights may carry: none, and those that the model's configuration states."""
    owners = (site.router, site.holder, getattr(site.holder, "config", None))
    stated = [getattr(owner, name, None) for owner in owners for name in SCALES]
    return (1.0, *(float(scale) for scale in stated if isinstance(scale, (int, float)) and scale))


def _expert_scales(site: Site) -> Tensor | None:
    """A learnt factor of each expert's own, if the router (or what holds it) has one."""
    for owner in (site.router, site.holder):
        for name, value in owner.named_parameters():
            if "expert_scale" in name and value.shape == (site.options,):
                return value.detach().float()
    return None


def _scores_shared(site: Site) -> bool:
    """Whether the router scores more experts than it chooses among: the shared ones too."""
    return any(value.dim() == 2 and value.shape[0] > site.options for value in site.router.parameters(recurse=False))


def _error(formula_nk: Tensor, weights_nk: Tensor) -> float:
    return float(((formula_nk - weights_nk).abs() / weights_nk.abs().clamp(min=1e-3)).nan_to_num(torch.inf).max())
