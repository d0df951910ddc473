"""The models that the benchmarks run: the bundled one, and one of OLMoE-1B-7B's layer shape with random weights."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, OlmoeConfig

from gatescope.hooks.layers.probing import probe_inputs
from gatescope.hooks.loading.routers import Routers, read_routers
from gatescope.models import BUNDLED_MODEL

FILLING = 1 << 24  # random numbers drawn once and laid over all weights in turn
OLMOE_LAYERS = 16


@dataclass(frozen=True)
class Subject:
    """One set of weights in three models: without hooks, with ours, and with the library's own capture of logits.

    `logits_to_keep` is how many places get scores over the vocabulary (0: all).
    """

    name: str
    plain: Any
    hooked: Any
    reporting: Any
    routers: Routers
    logits_to_keep: int


def bundled() -> Subject:
    """The model the dashboard opens with, in float32, as it runs on a CPU."""
    model = AutoModelForCausalLM.from_pretrained(BUNDLED_MODEL, dtype=torch.float32)
    return _subject(BUNDLED_MODEL.name, model.eval(), logits_to_keep=0)


def olmoe_shaped(layers: int) -> Subject:
    """Layers of OLMoE-1B-7B's shape in bfloat16; the scores over the vocabulary are computed for the last place alone.

    With fewer layers than the model has, a head for every place would be a larger share of the pass than it is.
    """
    config = OlmoeConfig(
        hidden_size=2048,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        num_experts=64,
        num_experts_per_tok=8,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    rotary = type(model.model.rotary_emb)(config)
    model = model.to_empty(device="cpu")
    model.model.rotary_emb = rotary
    _fill(model)
    return _subject(f"OLMoE-1B-7B's shape, {layers} of {OLMOE_LAYERS} layers", model.eval(), logits_to_keep=1)


def _fill(model: nn.Module) -> None:
    """Small random weights, norms of 1; routers spread enough to decide."""
    drawn = torch.randn(FILLING, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16) * 0.02
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.fill_(1.0)
                continue
            for part in weight.view(-1).split(FILLING):
                part.copy_(drawn[: len(part)])
            if name.endswith("gate.weight"):
                weight.mul_(2.0)


def _subject(name: str, model: Any, *, logits_to_keep: int) -> Subject:
    plain, reporting = _twin(model), _twin(model)
    routers = read_routers(model, probe_inputs(model) | {"use_cache": False})
    return Subject(name, plain, model, reporting, routers, logits_to_keep)


def _twin(model: nn.Module) -> nn.Module:
    """Another model on the same weights: what hooks are put on one, the other does not have."""
    return deepcopy(model, {id(tensor): tensor for tensor in _tensors(model)})


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())
