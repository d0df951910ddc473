"""The experts and routers inside any model, found by what they are and not by what the family is called.

Two facts identify them. The experts module of a layer is the one whose `forward` takes hidden states, the chosen expert
ids and their weights. The router is the module that, in a short probing pass, returned the very ids which the experts
module then received (or, where the choice is made outside it, the one that returned a score for every expert).
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from hooks.families import UNREADABLE
from routing.errors import DenseModelError, RouterError, RouterOutputError
from routing.router import Stack

IDS_NAMES = {"top_k_index", "router_indices", "topk_indices", "selected_experts", "top_k_indices"}
WEIGHTS_NAMES = {"top_k_weights", "routing_weights", "topk_weights", "expert_weights"}
COUNT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CLIMB = 3  # how many levels above the experts module its router may hang (wrappers add levels)


@dataclass(frozen=True)
class Site:
    """One MoE layer of a model: where its experts and its router are.

    `logits_at` says where in the router's output the score of every expert stands (None: the output is that tensor).
    """

    layer: int
    block: int
    stack: Stack
    experts_path: str
    experts: nn.Module
    router_path: str
    router: nn.Module
    logits_at: int | None
    expert_count: int
    k: int

    @property
    def module(self) -> str:
        """Path of the module that holds the experts."""
        return self.experts_path.rpartition(".")[0]


@dataclass
class Probe:
    """What one experts module and the modules around it did in the probing pass."""

    path: str
    experts: nn.Module
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    outputs: list[tuple[str, nn.Module, Any]] = field(default_factory=list)


def find_sites(model: nn.Module, run: Callable[[], object]) -> tuple[Site, ...]:
    """Every MoE layer of `model`, in the order the model runs them.

    `run` makes one short forward pass. Errors: DenseModelError when no experts module exists, RouterOutputError when
    one exists but cannot be read, naming the module and what it returned.
    """
    probes = [Probe(path, module) for path, module in expert_modules(model)]
    if not probes:
        raise _nothing_found(model)
    order = _watch(model, probes, run)
    fired = sorted((probe for probe in probes if probe.calls), key=lambda probe: order.index(probe.path))
    silent = [probe.path for probe in probes if not probe.calls]
    if silent:
        raise RouterOutputError(
            f"{len(silent)} of {len(probes)} experts modules were never called, the first is {silent[0]}",
            expected="every experts module to run once in a forward pass over text",
            do="load the model without fused kernels (use_kernels=False), and not compiled",
        )
    return tuple(_site(layer, probe) for layer, probe in enumerate(fired))


def expert_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of each experts module: `forward(hidden, ids, weights)`, known by its parameters' names."""
    return ((path, module) for path, module in model.named_modules() if _takes_routes(type(module)))  # type: ignore[arg-type]  # classes hash


@cache
def _takes_routes(kind: type[nn.Module]) -> bool:
    """Whether a class has the contract; asked of the class, since wrappers replace the instance's `forward`."""
    names = list(inspect.signature(kind.forward).parameters)[1:]
    return len(names) >= 3 and names[1] in IDS_NAMES and names[2] in WEIGHTS_NAMES


def _nothing_found(model: nn.Module) -> RouterError:
    """The right error for a model without a readable experts module."""
    config: Any = getattr(model, "config", None)
    kind = getattr(config, "model_type", type(model).__name__)
    if kind in UNREADABLE:
        return RouterOutputError(
            f"{kind} is a Mixture-of-Experts family whose routing cannot be recorded yet: {UNREADABLE[kind]}",
            expected="experts called with the chosen ids and weights",
            do="use a family of the table in docs/guarantees.md",
        )
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    declared = {key: getattr(text_config, key) for key in COUNT_KEYS if (getattr(text_config, key, None) or 0) > 1}
    if declared:
        return RouterOutputError(
            f"the config of {kind} declares experts ({declared}), but no module is called with expert ids and weights",
            expected="a module with forward(hidden_states, top_k_index, top_k_weights)",
            do="load the model through a transformers class of its family, without remote code or fused kernels",
        )
    return DenseModelError(
        f"dense: no router found in {kind} ({sum(1 for _ in model.modules())} modules looked at)",
        expected=(
            "a module whose forward takes hidden states, expert ids and expert weights, "
            f"or one of {', '.join(COUNT_KEYS)} above 1 in the config"
        ),
        do="load a Mixture-of-Experts model: a dense one sends every token through the same weights",
    )


def _watch(model: nn.Module, probes: list[Probe], run: Callable[[], object]) -> list[str]:
    """Run once with temporary hooks around every experts module; the paths in the order they were called."""
    order: list[str] = []
    handles = []
    inside = tuple(f"{probe.path}." for probe in probes)
    for probe in probes:
        handles.append(probe.experts.register_forward_pre_hook(_note_call(probe, order), with_kwargs=True))
        for path, module in _neighbours(model, probe.path, inside):
            handles.append(module.register_forward_hook(_note_output(probe, path)))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return order


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
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
        values = [*args, *kwargs.values()]
        if len(values) >= 3 and isinstance(values[1], Tensor) and isinstance(values[2], Tensor):
            probe.calls.append((values[1], values[2]))
            order.append(probe.path)

    return hook


def _note_output(probe: Probe, path: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple, output: Any) -> None:
        if not probe.calls:  # a router answers before its experts are called
            probe.outputs.append((path, module, output))

    return hook


def _site(layer: int, probe: Probe) -> Site:
    ids_nk, weights_nk = probe.calls[0]
    _check_call(probe.path, ids_nk, weights_nk)
    path, router, logits_at, logits_ne = _router_of(probe, ids_nk)
    return Site(
        layer=layer,
        block=block_of(probe.path),
        stack=stack_of(probe.path),
        experts_path=probe.path,
        experts=probe.experts,
        router_path=path,
        router=router,
        logits_at=logits_at,
        expert_count=logits_ne.shape[-1],
        k=ids_nk.shape[-1],
    )


def _check_call(path: str, ids_nk: Tensor, weights_nk: Tensor) -> None:
    if ids_nk.dim() != 2 or ids_nk.is_floating_point() or ids_nk.shape != weights_nk.shape:
        raise RouterOutputError(
            f"{path} was called with ids {ids_nk.dtype} {tuple(ids_nk.shape)} and weights {tuple(weights_nk.shape)}",
            expected="integer ids and their weights, both of shape (tokens, k)",
            do="use a family of the table in docs/guarantees.md; this one encodes its choice differently",
        )


def _router_of(probe: Probe, ids_nk: Tensor) -> tuple[str, nn.Module, int | None, Tensor]:
    """The module that chose `ids_nk`, and where its score of every expert stands."""
    answers = [(path, module, _tensors(output)) for path, module, output in probe.outputs]
    for path, module, tensors in answers:
        if any(_same(tensor, ids_nk) for _, tensor in tensors):
            for at, tensor in tensors:
                if _is_scores(tensor, ids_nk):
                    return path, module, at, tensor
    least = int(ids_nk.max()) + 1
    for path, module, tensors in reversed(answers):
        for at, tensor in tensors:
            if _is_scores(tensor, ids_nk) and least <= tensor.shape[-1] < 4096 and _agrees(tensor, ids_nk):
                return path, module, at, tensor
    raise RouterOutputError(
        f"{probe.path} received ids {tuple(ids_nk.shape)}, but no module near it returned them or a score per expert; "
        f"looked at {', '.join(path for path, _, _ in answers) or 'nothing'}",
        expected="a router module that returns (logits, weights, ids) or logits of shape (tokens, experts)",
        do="add an entry to hooks/families.py that says where this family's scores are",
    )


def _tensors(output: Any) -> list[tuple[int | None, Tensor]]:
    if isinstance(output, Tensor):
        return [(None, output)]
    if isinstance(output, (tuple, list)):
        return [(at, value) for at, value in enumerate(output) if isinstance(value, Tensor)]
    return []


def _same(tensor: Tensor, ids_nk: Tensor) -> bool:
    return tensor is ids_nk or (
        tensor.dtype == ids_nk.dtype and tensor.shape == ids_nk.shape and torch.equal(tensor, ids_nk)
    )


def _is_scores(tensor: Tensor, ids_nk: Tensor) -> bool:
    rows, k = ids_nk.shape
    return (
        tensor.is_floating_point() and tensor.dim() == 2 and tensor.shape[0] == rows and tensor.shape[1] >= k + (k > 1)
    )


def _agrees(scores_ne: Tensor, ids_nk: Tensor) -> bool:
    """Whether the best-scored experts are the chosen ones, for nearly all rows."""
    best_nk = scores_ne.topk(ids_nk.shape[1], dim=-1).indices.sort(-1).values
    return bool((best_nk == ids_nk.sort(-1).values).all(-1).float().mean() > 0.9)


def block_of(path: str) -> int:
    """The absolute block index in a module path: its first number.

    >>> block_of("model.layers.12.mlp.experts")
    12
    """
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    return int(found.group(1)) if found else 0


def stack_of(path: str) -> Stack:
    """Which stack of the model a module path lies in.

    >>> stack_of("model.encoder.block.1.layer.1.mlp.experts")
    'encoder'
    """
    words = path.lower()
    if "visual" in words or "vision" in words:
        return "vision"
    return "encoder" if "encoder" in words else "decoder"
