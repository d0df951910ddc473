"""The experts and routers inside any model, found by what they are and not by what the family is called.

Two facts identify them. The experts module of a layer is the one whose `forward` takes hidden states, the chosen expert
ids and their weights. The router is the module that, in a short probing pass, returned the very ids which the experts
module then received (or, where the choice is made outside it, the one that returned a score for every expert). Blocks
that pass their choice in another way have an entry in `families`. Where no module is named so, `search`
looks for one that is called so, and for lists of experts.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.hooks.discovery.families import BYPASSES, DIVIDED, FAMILIES, Family
from gatescope.hooks.discovery.search.list_sites import list_sites
from gatescope.hooks.discovery.search.output_scale import output_scales
from gatescope.hooks.discovery.search.router_search import router_of
from gatescope.hooks.discovery.search.silencing import Heard, listen
from gatescope.hooks.discovery.search.unknown_names import called_with_routes
from gatescope.hooks.layers.readings import AnswerReading, Call, Reading
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.layers.site import Divider, Site, block_of, stack_of
from gatescope.routing.errors import DenseModelError, RouterError, RouterOutputError

IDS_NAMES = {"top_k_index", "router_indices", "topk_indices", "selected_experts", "top_k_indices", "router_mask"}
WEIGHTS_NAMES = {"top_k_weights", "routing_weights", "topk_weights", "expert_weights", "router_probs"}
COUNT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CLIMB = 3  # how many levels above the experts module its router may hang (wrappers add levels)
COMMON = Reading()


class Found(NamedTuple):
    """The MoE layers of a model in the order they ran, and paths of experts that a probing pass did not reach.

    `routes` are what the layers did in that pass, before any `output_scale`; none where it was not looked at.
    """

    sites: tuple[Site, ...]
    unreached: tuple[str, ...]
    routes: tuple[Routes, ...] = ()


@dataclass
class Probe:
    """One MoE layer to be, and what it and the modules around it did in the probing pass."""

    path: str  # of the experts module, or of the block of a family with an entry
    family: Family | None = None
    placed: Reading = COMMON
    calls: list[Call] = field(default_factory=list)
    outputs: list[tuple[str, nn.Module, Any]] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)

    @property
    def experts_path(self) -> str:
        """Path of the module whose call is read; empty where there is none."""
        if self.family is None:
            return self.path
        return f"{self.path}.{self.family.experts}" if self.family.experts else ""

    @property
    def reading(self) -> Reading:
        """How its call is read."""
        own = self.family.reading if self.family else self.placed
        return own if isinstance(own, Reading) else COMMON

    @property
    def has_run(self) -> bool:
        """Whether the layer took part in the pass."""
        return bool(self.calls if self.experts_path else self.outputs)


def find_sites(
    model: nn.Module, run: Callable[[], object], *, again: Callable[[tuple[Site, ...]], object] | None = None
) -> Found:
    """Every MoE layer of `model`, in the order the model runs them.

    `run` makes one short forward pass. `again` makes the second one, told where the layers are: the experts are silent
    in it, and yet every layer gets and puts out what it did in the first. Unset, that is `run` too.
    Errors: DenseModelError when no experts module exists, RouterOutputError when one exists but cannot be read, naming
    the module and what it returned.
    """
    _refuse_bypasses(model)
    probes = list(_probes(model)) or [Probe(path, placed=reading) for path, reading in called_with_routes(model, run)]
    if not probes:
        sites = list_sites(model, run)
        if not sites:
            raise _nothing_found(model)
        return Found(sites, ())
    order, loud = _watch(model, probes, run)
    fired = sorted((probe for probe in probes if probe.has_run), key=lambda probe: order.index(probe.path))
    unreached = [probe.path for probe in probes if not probe.has_run]
    _refuse_silent(model, fired, unreached)
    sites = tuple(_site(model, layer, probe) for layer, probe in enumerate(fired))
    if {site.stack for site in sites} == {"encoder"}:  # an encoder alone is what reads the text
        sites = tuple(replace(site, stack="decoder") for site in sites)
    heard = [Heard(probe.given, loud.get(site.holder_path, [])) for probe, site in zip(fired, sites, strict=True)]
    scales = output_scales(sites, heard, run if again is None else partial(again, sites), run)
    routes = tuple(_routes(probe, site) for probe, site in zip(fired, sites, strict=True))
    sites = tuple(replace(site, output_scale=scales[site.layer]) for site in sites)
    return Found(sites, tuple(unreached), routes)


def experts_takes_routes(kind: type[nn.Module]) -> bool:
    """Whether a class has the common contract; asked of the class, since wrappers replace the instance's `forward`."""
    return _takes_routes(kind)  # type: ignore[arg-type]  # classes hash


@cache
def _takes_routes(kind: type[nn.Module]) -> bool:
    names = list(inspect.signature(kind.forward).parameters)[1:]
    return len(names) >= 3 and names[1] in IDS_NAMES and names[2] in WEIGHTS_NAMES


def experts_paths(model: nn.Module) -> list[str]:
    """Where a model's experts modules are, by their classes alone: nothing runs."""
    return [probe.experts_path or probe.path for probe in _probes(model)]


def _probes(model: nn.Module) -> Iterator[Probe]:
    """Every block of a family with an entry, and every other experts module."""
    claimed: tuple[str, ...] = ()
    for path, module in model.named_modules():
        family = family_of(module)
        if family is not None:
            claimed += (f"{path}.",)
            yield Probe(path, family)
        elif experts_takes_routes(type(module)) and not path.startswith(claimed):
            yield Probe(path)


def family_of(module: nn.Module) -> Family | None:
    """The entry of a block's class or of one it is made from, if there is one."""
    return next((FAMILIES[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in FAMILIES), None)


def _refuse_bypasses(model: nn.Module) -> None:
    """Kernels that compute a block past its modules are named, never recorded as empty."""
    for path, module in model.named_modules():
        replaced = vars(module).get("forward")
        kinds = [type(module).__name__, getattr(replaced, "__qualname__", "").partition(".")[0]]
        name = next((kind for kind in kinds if kind in BYPASSES), None)
        if name is not None:
            kernel, _, cure = BYPASSES[name].partition("; ")
            raise RouterOutputError(
                f"{path} runs {name}: {kernel} compute the whole block without calling router or experts",
                expected="a block whose router and experts are called as modules",
                do=cure,
            )


def _refuse_silent(model: nn.Module, fired: Sequence[Probe], unreached: Sequence[str]) -> None:
    """Experts that did not run are an error, unless their whole stack (a vision tower, say) did not."""
    stacks = {stack_of(probe.path) for probe in fired}
    silent = [path for path in unreached if not stacks or stack_of(path) in stacks]
    if silent:
        holder = model.get_submodule(silent[0].rpartition(".")[0])
        replaced = vars(holder).get("forward")
        runs = f" (its block runs {getattr(replaced, '__qualname__', replaced)})" if replaced else ""
        raise RouterOutputError(
            f"{len(silent)} of {len(fired) + len(unreached)} experts modules were never called, "
            f"the first is {silent[0]}{runs}",
            expected="every experts module to run once in a forward pass over text",
            do="load the model without fused kernels (use_kernels=False); if it was compiled before, call "
            "torch._dynamo.reset() first",
        )


def _nothing_found(model: nn.Module) -> RouterError:
    """The right error for a model without a readable experts module."""
    config: Any = getattr(model, "config", None)
    kind = getattr(config, "model_type", type(model).__name__)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    declared = {key: _declared(text_config, key) for key in COUNT_KEYS if _declared(text_config, key) > 1}
    if declared:
        return RouterOutputError(
            f"the config of {kind} declares experts ({declared}), but no module is called with expert ids and weights",
            expected="a module with forward(hidden_states, top_k_index, top_k_weights)",
            do="load the model through a transformers class of its family, without remote code or fused kernels, or "
            "add an entry to hooks/discovery/families.py",
        )
    return DenseModelError(
        f"dense: no router found in {kind} ({sum(1 for _ in model.modules())} modules looked at)",
        expected=(
            "a module whose forward takes hidden states, expert ids and expert weights, "
            f"or one of {', '.join(COUNT_KEYS)} above 1 in the config"
        ),
        do="load a Mixture-of-Experts model: a dense one sends every token through the same weights",
    )


def _declared(config: Any, key: str) -> int:
    """A count of experts in a configuration; 0 where it states none, or one for each layer."""
    try:
        value = getattr(config, key, None)
    except AttributeError:  # a value that differs between layers
        return 0
    return value if isinstance(value, int) else 0


def _watch(model: nn.Module, probes: list[Probe], run: Callable[[], object]) -> tuple[list[str], dict[str, list[Any]]]:
    """Run once with temporary hooks around every layer to be.

    Their paths in the order they were called; and what every module put out that may be a layer's block, by its path.
    """
    order: list[str] = []
    loud: dict[str, list[Any]] = {}
    inside = tuple(f"{probe.path}." for probe in probes if probe.family is None)
    with ExitStack() as hooks, torch.no_grad():
        for probe in probes:
            if probe.experts_path:
                experts = model.get_submodule(probe.experts_path)
                handle = experts.register_forward_pre_hook(_note_call(probe, order), with_kwargs=True)
                hooks.callback(handle.remove)
                probe.given = listen([experts], hooks)
            for path in _blocks(probe):
                if path not in loud:
                    loud[path] = listen([model.get_submodule(path)], hooks)
            for path, module in _answering(model, probe, inside):
                hooks.callback(module.register_forward_hook(_note_output(probe, path, order)).remove)
        run()
    return order, loud


def _blocks(probe: Probe) -> Iterator[str]:
    """The paths of the modules that may be the block of a layer: the innermost around its experts and its router."""
    if probe.family is not None:
        yield probe.path
        return
    path = probe.path
    for _ in range(CLIMB):
        path = path.rpartition(".")[0]
        if path:
            yield path


def _answering(model: nn.Module, probe: Probe, inside: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """The modules whose answers may be the router's."""
    if probe.family is None:
        yield from _neighbours(model, probe.path, inside)
    else:
        path = f"{probe.path}.{probe.family.router}"
        yield path, model.get_submodule(path)


def _neighbours(model: nn.Module, experts_path: str, inside: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Modules near an experts module, nearest first: below its ancestors, but not `inside` any experts module."""
    seen: set[str] = set()
    path = experts_path
    for _ in range(CLIMB):
        path = path.rpartition(".")[0]
        if not path or (path.rpartition(".")[2].isdigit() and seen):
            return  # a whole decoder layer is as far as a router can be
        for name, module in model.get_submodule(path).named_modules(prefix=path):
            if name not in seen and name != path and not f"{name}.".startswith(inside):
                seen.add(name)
                yield name, module


def _note_call(probe: Probe, order: list[str]) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = (*args, *kwargs.values())
        call = values[probe.reading.leading :]
        if call and all(isinstance(value, Tensor) for value in call[:2]):
            probe.calls.append(call)
            order.append(probe.path)

    return hook


def _note_output(probe: Probe, path: str, order: list[str]) -> Callable[..., None]:
    def hook(module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if not probe.calls:  # a router answers before its experts are called
            probe.outputs.append((path, module, output))
            if not probe.experts_path:
                order.append(probe.path)

    return hook


def _routes(probe: Probe, site: Site) -> Routes:
    """What a layer did in the pass that was watched, as its hooks will read it."""
    answer = next(answer for path, _, answer in probe.outputs if path == site.router_path)
    if isinstance(site.reading, AnswerReading):
        return site.reading.routes(site.router, answer)
    if not isinstance(site.reading, Reading):
        raise TypeError(f"{site.name} holds its experts as a list: nothing is read of its call")
    logits_ne = site.reading.logits(answer, site.logits_at)
    return Routes(logits_ne, *site.reading.ids(probe.calls[0], logits_ne))


def _site(model: nn.Module, layer: int, probe: Probe) -> Site:
    """The layer of a probe that ran."""
    divider, stack_path = divider_of(model, probe.path)
    at: dict[str, Any] = {
        "layer": layer,
        "block": block_of(probe.path),
        "stack": stack_of(stack_path),
        "divider": divider,
    }
    if probe.family is not None:
        return _own_site(model, probe, probe.family, at)
    call = probe.reading.ids(probe.calls[0], probe.calls[0][0])
    _check_call(probe.path, call)
    found = router_of(probe.path, probe.outputs, call[0])
    holder_path = _holder(probe.path, found.path)
    return Site(
        **at,
        holder_path=holder_path,
        holder=model.get_submodule(holder_path),
        router_path=found.path,
        router=found.router,
        reading=probe.reading,
        logits_at=found.at,
        options=found.tensor.shape[-1],
        k=call[0].shape[-1],
        experts_path=probe.path,
        experts=model.get_submodule(probe.path),
    )


def _own_site(model: nn.Module, probe: Probe, family: Family, at: dict[str, Any]) -> Site:
    """The layer of a family with an entry, its shape taken from what it did."""
    path, router, answer = probe.outputs[0]
    reading = family.reading
    if isinstance(reading, AnswerReading):
        routes = reading.routes(router, answer)
        options, k = routes.logits_ne.shape[-1], routes.ids_nk.shape[-1]
    else:
        logits_ne = reading.logits(answer, family.logits_at)
        options, k = logits_ne.shape[-1], reading.ids(probe.calls[0], logits_ne)[0].shape[-1]
    experts_path = probe.experts_path
    return Site(
        **at,
        holder_path=probe.path,
        holder=model.get_submodule(probe.path),
        router_path=path,
        router=router,
        reading=reading,
        logits_at=family.logits_at,
        options=options,
        k=k,
        experts_path=experts_path,
        experts=model.get_submodule(experts_path) if experts_path else None,
        note=family.note,
    )


def _holder(experts_path: str, router_path: str) -> str:
    """The path of the innermost module around both."""
    shared = []
    for one, other in zip(experts_path.split("."), router_path.split("."), strict=False):
        if one != other:
            break
        shared.append(one)
    return ".".join(shared)


def divider_of(model: nn.Module, path: str) -> tuple[Divider | None, str]:
    """The block that gives this layer only some of the tokens, if one does, and the path that tells its stack."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        above = ".".join(parts[:end])
        module = model.get_submodule(above)
        rows = DIVIDED.get(type(module).__name__)
        if rows is not None:
            return Divider(module, rows, parts[end]), above
    return None, path


def _check_call(path: str, call: tuple[Tensor, Tensor]) -> None:
    ids_nk, weights_nk = call
    if ids_nk.dim() != 2 or ids_nk.is_floating_point() or ids_nk.shape != weights_nk.shape:
        raise RouterOutputError(
            f"{path} was called with ids {ids_nk.dtype} {tuple(ids_nk.shape)} and weights {tuple(weights_nk.shape)}",
            expected="integer ids and their weights, both of shape (tokens, k)",
            do="add an entry to hooks/discovery/families.py: this family encodes its choice differently",
        )
