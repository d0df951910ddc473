"""The MoE layers of a model whose blocks hold their experts as a list: what `expert_lists` saw, as sites."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from gatescope.hooks.discovery.formulas.weighing import weigh
from gatescope.hooks.discovery.search.expert_lists import (
    ListProbe,
    Router,
    list_probes,
    router_of,
    silence_lists,
    watch_lists,
)
from gatescope.hooks.layers.list_reading import ListReading, Weighed, part
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.layers.site import Site, block_of, stack_of
from gatescope.routing.errors import RouterOutputError

ALLOWED = {4: 1e-3, 2: 5e-2}  # by bytes of the number format: relative error of weights solved for


def list_sites(model: nn.Module, run: Callable[[], object]) -> tuple[Site, ...]:
    """Every block with a list of experts that ran on parts of the tokens, in the order of the model's modules.

    Errors: RouterOutputError where no router beside a list explains what ran, or no formula its weights.
    """
    probes = list(list_probes(model))
    watch_lists(model, probes, run)
    chosen = [probe for probe in probes if probe.is_choice]
    silence_lists(model, chosen, run)
    return tuple(_site(model, layer, probe, router_of(probe)) for layer, probe in enumerate(chosen))


def _site(model: nn.Module, layer: int, probe: ListProbe, router: Router) -> Site:
    site = Site(
        layer=layer,
        block=block_of(probe.path),
        stack=stack_of(probe.path),
        holder_path=probe.holder_path,
        holder=model.get_submodule(probe.holder_path),
        router_path=router.path,
        router=router.module,
        reading=router.reading,
        options=router.logits_ne.shape[-1],
        k=router.reading.k,
        experts_list=probe.experts,
        note="Experts are held in lists: what ran is seen at each expert, and the output of every such block was found "
        "to be the sum of their outputs times these weights.",
    )
    return _with_given_weights(site, router) if router.reading.weights_at is not None else _with_formula(site, router)


def _with_given_weights(site: Site, router: Router) -> Site:
    """The router's own weights, where they are those of the output but for one factor."""
    ids_nk, given_nk = (
        part(router.answer, at).flatten(0, -2) for at in (router.reading.ids_at, router.reading.weights_at)
    )
    given_ne = router.logits_ne.new_zeros(router.logits_ne.shape).float().scatter(1, ids_nk.long(), given_nk.float())
    ratio_nk = router.weights_nk / given_ne.gather(1, router.ids_nk.clamp(min=0))
    scale = float(ratio_nk[router.ids_nk >= 0].median())
    worst = float((ratio_nk[router.ids_nk >= 0] / scale - 1).abs().max())
    if not worst <= _allowed(router):
        return _with_formula(replace(site, reading=replace(router.reading, weights_at=None, ids_at=None)), router)
    return site if abs(scale - 1) <= _allowed(router) else replace(site, output_scale=scale)


def _with_formula(site: Site, router: Router) -> Site:
    """A formula of the scores that gives the weights of the output."""
    weighing = weigh(site, Routes(router.logits_ne, router.ids_nk, router.weights_nk.to(router.logits_ne.dtype)))
    is_plain = not (weighing.has_expert_scales or weighing.shares_norm) and weighing.score in ("softmax", "sigmoid")
    if not is_plain or not weighing.error <= _allowed(router):
        raise RouterOutputError(
            f"the weights of {site.holder_path}, as its output shows them, follow no known formula of the scores of "
            f"{site.router_path} (nearest: {weighing.score}, off by {weighing.error:.1%})",
            expected="softmax or sigmoid scores, renormalised or not, times a scale",
            do="add an entry to hooks/discovery/families.py that says how this block is read",
        )
    reading: ListReading = router.reading
    weighed = Weighed(weighing.score, weighing.is_renormalised, weighing.scale)
    return replace(site, reading=replace(reading, ids_at=None, weights_at=None, weighed=weighed))


def _allowed(router: Router) -> float:
    return ALLOWED.get(router.logits_ne.element_size(), 1e-3)
