"""The shape of the bundled model, and a seeded fresh copy of it."""

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

CONTEXT = 1024
"""The longest window the model is trained on, in tokens."""


def configuration(tokenizer: PreTrainedTokenizerFast, **changes: Any) -> Qwen3MoeConfig:
    """Return the configuration: 6 layers of 32 experts, 4 a token, width 192; `changes` replace fields of it."""
    fields: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 384,
        "moe_intermediate_size": 80,
        "num_experts": 32,
        "num_experts_per_tok": 4,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "max_position_embeddings": 2 * CONTEXT,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return Qwen3MoeConfig(**(fields | changes))


def fresh_model(config: Qwen3MoeConfig, seed: int) -> Qwen3MoeForCausalLM:
    """Return an untrained model whose weights depend on `seed` alone; routers start small, not at zero."""
    torch.manual_seed(seed)
    model = Qwen3MoeForCausalLM(config)
    for block in model.model.layers:
        torch.nn.init.normal_(block.mlp.gate.weight, std=config.initializer_range)
    return model
