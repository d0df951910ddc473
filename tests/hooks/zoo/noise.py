"""Random weights under which every wrong reading of a router shows: spread scores, biases that change choices, scales.

A freshly built model has flat scores, biases of 0 and scales of 1, so that a reader who ignores them would pass.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

SOFTMAX_BIASED = {"ernie4_5_moe", "ernie4_5_vl_moe", "longcat_flash", "zaya"}
"""Families that add the selection bias to probabilities, which are small, and not to sigmoid scores."""


def _spread(noise: Tensor, _family: str) -> Tensor:
    """Router weights that make of normed inputs scores with a standard deviation of 1.7."""
    return noise * 1.7 / noise.shape[-1] ** 0.5


def _spread_undone(noise: Tensor, _family: str) -> Tensor:
    """The same for routers that divide by the root of the width themselves."""
    return noise * 1.7


def _network(noise: Tensor, _family: str) -> Tensor:
    """Layers of a router that is a network, whose activations halve what passes."""
    return noise * 1.9 / noise.shape[-1] ** 0.5


def _bias(noise: Tensor, family: str) -> Tensor:
    return noise * (0.1 if family in SOFTMAX_BIASED else 0.3)


def _scale(noise: Tensor, _family: str) -> Tensor:
    return (noise * 0.3).exp()


def _weight(noise: Tensor, _family: str) -> Tensor:
    return noise * 0.2


ROLES = (
    (re.compile(r".*\.(gate|router|router_gate|wg|layer|classifier|gate\.down_proj)\.weight"), _spread),
    (re.compile(r".*\.router\.proj\.weight"), _spread_undone),
    (re.compile(r".*\.router_mlp\.(fc1|fc2|out_proj)\.weight"), _network),
    (re.compile(r".*(\.router\.bias|e_score_correction_bias|expert_bias|balancing_biases)"), _bias),
    (re.compile(r".*(per_expert_scale|global_scale|\.router\.scale|router_states_scale)"), _scale),
    (re.compile(r".*experts?\b(?!.*norm).*|.*\.(input|output)_linear\.weight"), _weight),
)
"""Which tensors are drawn anew, by name, and how; the first that fits."""


def randomise(model: Any) -> Any:
    """Give `model` decisive routers, experts that matter and embeddings that are nowhere zero; in evaluation mode."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.2)
            if isinstance(getattr(module, "tid2eid", None), Tensor):
                module.tid2eid.copy_(_distinct(module.tid2eid, module.num_experts, generator))
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            draw = next((draw for pattern, draw in ROLES if pattern.fullmatch(name)), None)
            if draw:
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(draw(noise, model.config.model_type))
    return model.eval()


def _distinct(table: Tensor, experts: int, generator: torch.Generator) -> Tensor:
    """A table of expert ids like `table`, no id twice in a row."""
    return torch.rand((len(table), experts), generator=generator).argsort(-1)[:, : table.shape[1]]
