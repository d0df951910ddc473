"""The shapes of the bundled models, and seeded fresh copies of them; a new shape is one more entry of `ARCHITECTURES`.

Both shapes are of one size, so that they can be compared on the same tokens: width 192, 6 blocks, about 12 M parameters
of which a token uses about 4 M.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
)

from gatescope.routing.errors import OptionError
from gatescope.training.balance import AuxiliaryLoss, Balancer, SelectionBias

CONTEXT = 1024
"""The longest window the models are trained on, in tokens."""
_INITIAL_SPREAD = 0.02

_Fields = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """One kind of router and the model around it.

    `describe` says in a sentence how a token is routed; `balancer` makes what keeps the experts in use while training.
    """

    name: str
    describe: str
    config: Callable[..., PreTrainedConfig]
    fields: _Fields
    balancer: Callable[[], Balancer]

    def configuration(self, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> PreTrainedConfig:
        """Return the configuration for a tokenizer; `changes` replace fields of it."""
        shared: _Fields = {
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "intermediate_size": 384,
            "norm_topk_prob": True,
            "max_position_embeddings": 2 * CONTEXT,
            "tie_word_embeddings": True,
            "initializer_range": _INITIAL_SPREAD,
            "use_cache": True,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        return self.config(**(shared | self.fields | changes))


_SOFTMAX = Architecture(
    "sift-softmax",
    "softmax over 32 experts, the 4 largest, weights renormalised; kept even by an auxiliary loss, as in Mixtral "
    "and OLMoE",
    Qwen3MoeConfig,
    {
        "num_key_value_heads": 2,
        "head_dim": 32,
        "moe_intermediate_size": 80,
        "num_experts": 32,
        "num_experts_per_tok": 4,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    AuxiliaryLoss,
)

_SIGMOID = Architecture(
    "sift-sigmoid",
    "sigmoid scores of 64 fine-grained experts in 8 groups, the 6 largest within the 4 best groups, chosen with a "
    "selection bias that keeps them even without an auxiliary loss, beside one shared expert, after a dense first "
    "layer, as in DeepSeek-V3",
    DeepseekV3Config,
    {
        "num_key_value_heads": 6,
        "q_lora_rank": 96,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
        "moe_intermediate_size": 48,
        "n_routed_experts": 64,
        "n_shared_experts": 1,
        "num_experts_per_tok": 6,
        "n_group": 8,
        "topk_group": 4,
        "routed_scaling_factor": 2.0,
        "first_k_dense_replace": 1,
    },
    SelectionBias,
)

ARCHITECTURES: dict[str, Architecture] = {shape.name: shape for shape in (_SOFTMAX, _SIGMOID)}
"""Every shape the recipe can train, by the name of the model it makes."""


def architecture(name: str) -> Architecture:
    """Return the shape of this name; OptionError, naming those there are, if there is none."""
    if name not in ARCHITECTURES:
        raise OptionError(f"model {name!r}", expected=f"one of {', '.join(ARCHITECTURES)}", do="name one of them")
    return ARCHITECTURES[name]


def fresh_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Return an untrained model whose weights depend on `seed` alone; routers start small, not at zero."""
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    for gate in routers(model):
        nn.init.normal_(gate.get_parameter("weight"), std=_INITIAL_SPREAD)
    return model


def routers(model: nn.Module) -> list[nn.Module]:
    """The router of every layer that has one, in order."""
    return [module for name, module in model.named_modules() if name.endswith("mlp.gate")]
