"""The MoE layers of a model by its configuration alone: no weights are read, so that no model is too large."""

import math
from pathlib import Path
from typing import Any

from torch import nn

from gatescope.hooks.discovery.find import experts_paths
from gatescope.hooks.layers.site import block_of, stack_of
from gatescope.hooks.loading.unweighted import build
from gatescope.routing.errors import DenseModelError, RouterOutputError
from gatescope.routing.router import RouterRule

SLOTS = ("top_k", "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "experts_per_token", "k")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_experts")


def outline(name: str | Path, *, revision: str = "") -> tuple[RouterRule, ...]:
    """How many experts each MoE layer has, how many a token gets, and which block of the model it is.

    The model is built without memory for its weights. What only weights and a pass can show stays unsaid: the score is
    "unknown", and there are no scales, groups or shared experts.
    Errors: ModelNotFoundError, DenseModelError; RouterOutputError where the numbers are nowhere to be read.
    """
    model, config = build(name, revision)
    paths = experts_paths(model)
    if not paths:
        raise DenseModelError(
            f"{config.model_type} has no experts", expected="a Mixture-of-Experts model", do="name another model"
        )
    return tuple(_rule(model, config.get_text_config(), path, layer) for layer, path in enumerate(paths))


def _rule(model: nn.Module, config: Any, path: str, layer: int) -> RouterRule:
    experts = model.get_submodule(path)
    holder = model.get_submodule(path.rpartition(".")[0])
    around = [experts, holder, *holder.children(), config]
    first = next((p.shape[0] for p in experts.parameters() if p.ndim == 3), 0)
    return RouterRule(
        layer=layer,
        block=block_of(path),
        module=path,
        experts=first or _number(around, EXPERTS, path),
        k=_number(around, SLOTS, path),
        score="unknown",
        stack=stack_of(path),
    )


def _number(places: list[Any], names: tuple[str, ...], path: str) -> int:
    """The first whole number under one of the names; errors name the module."""
    for place in places:
        for name in names:
            found = getattr(place, name, None)
            if isinstance(found, int) and not isinstance(found, bool) and 0 < found < math.inf:
                return found
    raise RouterOutputError(
        f"{path}: no number of experts (or of slots) in the module or the configuration",
        expected=f"one of {', '.join(names)}",
        do="load the model itself",
    )
