"""The weights of a loaded model, counted by what they are for."""

from collections import Counter
from collections.abc import Iterable, Iterator

from torch import nn

from gatescope.hooks.discovery.rules import SHARED
from gatescope.hooks.layers.site import Site
from gatescope.hooks.loading.model import LoadedModel
from gatescope.routing.parameters import Parameters


def count_weights(model: LoadedModel) -> Parameters:
    """Every weight once, as it is stored: routed experts, shared experts, routers, and the rest.

    Of a layer's routed weights, k over its experts that have weights are active. Weights that two modules share count
    for the first of these kinds. Where weights are packed (several in one number), packed numbers are counted.
    """
    kind_of: dict[int, str] = {}
    active = 0
    for site, rule in zip(model.sites, model.layers, strict=True):
        routed = _note(kind_of, "routed", _routed(site))
        active += routed * rule.k // max(rule.experts - rule.zero_experts, rule.k)
    for site in model.sites:
        _note(kind_of, "shared", _parameters(_shared(model.model, site)))
        _note(kind_of, "router", site.router.parameters())
    number, size = Counter[str](), Counter[str]()
    for parameter in model.model.parameters():
        number[kind_of.get(id(parameter), "rest")] += parameter.numel()
        size[str(parameter.dtype).removeprefix("torch.")] += parameter.numel() * parameter.element_size()
    return Parameters(
        routed=number["routed"],
        shared=number["shared"],
        router=number["router"],
        rest=number["rest"],
        active_routed=active,
        bytes_by_dtype=dict(size),
    )


def _note(kind_of: dict[int, str], kind: str, parameters: Iterable[nn.Parameter]) -> int:
    """Give those that have none yet their kind; how many weights that were."""
    new = {id(each): each for each in parameters if id(each) not in kind_of}
    kind_of.update(dict.fromkeys(new, kind))
    return sum(each.numel() for each in new.values())


def _routed(site: Site) -> Iterator[nn.Parameter]:
    """The weights of a layer's experts; where no module holds them alone, what is neither router nor shared."""
    held = (site.experts,) if site.experts is not None else site.experts_list
    if held:
        return _parameters(held)
    beside = {id(each) for each in _parameters([site.router, *_shared_in(site.holder)])}
    return (each for each in site.holder.parameters() if id(each) not in beside)


def _shared(model: nn.Module, site: Site) -> list[nn.Module]:
    around = model.get_submodule(site.holder_path.rpartition(".")[0])
    return [*_shared_in(site.holder), *_shared_in(around)]


def _shared_in(holder: nn.Module) -> list[nn.Module]:
    """Shared experts and what gates them (`shared_expert_gate`)."""
    return [child for name, child in holder.named_children() if name in SHARED or name.startswith("shared_expert")]


def _parameters(modules: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    return (parameter for module in modules for parameter in module.parameters())
