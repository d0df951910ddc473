"""How many weights one expert of each MoE layer has, by the model's configuration alone: nothing is loaded."""

from pathlib import Path

import torch
from transformers import AutoConfig

from gatescope.hooks.discovery.find import experts_paths
from gatescope.hooks.loading.model_class import model_class
from gatescope.hooks.loading.outline import outline
from gatescope.hooks.loading.weights import resolve


def expert_weights(name: str | Path, *, revision: str = "") -> tuple[int, ...]:
    """Weights of one routed expert, by layer: all weights of the layer's experts over their number.

    The model is built without memory for its weights. Errors: as `hooks.outline`.
    """
    rules = outline(name, revision=revision)
    config = AutoConfig.from_pretrained(
        resolve(str(name), revision, files=("config.json",)).path, local_files_only=True
    )
    kind = model_class(config)
    with torch.device("meta"):
        model = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    sizes = [sum(each.numel() for each in model.get_submodule(path).parameters()) for path in experts_paths(model)]
    return tuple(size // rule.experts for size, rule in zip(sizes, rules, strict=True))
