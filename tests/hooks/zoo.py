"""Tiny models of the families that the general rule reads without an entry of their own, built from their configs."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tests.hooks.conftest import LATENT, SIZE, decisive

EXPERTS, CHOSEN = 16, 3
COMMON: dict[str, Any] = (
    SIZE
    | LATENT
    | dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), EXPERTS)
    | dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk", "moe_top_k"), CHOSEN)
    | dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 24)
    | {
        "num_hidden_layers": 4,
        "head_dim": 8,
        "shared_intermediate_size": 24,
        "num_shared_experts": 1,
        "n_group": 4,
        "topk_group": 2,
        "first_k_dense_replace": 1,
        "sliding_window": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_topk": 8,
    }
)
"""What is set wherever a family's configuration has a field of that name."""

OWN: dict[str, dict[str, Any]] = {
    "dots1": {"layer_types": None, "n_shared_experts": 1, "max_window_layers": 4},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8},
    "jamba": {
        "layer_types": None,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "nemotron_h": {
        "layers_block_type": None,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "n_group": 1,
        "topk_group": 1,
    },
}
"""What single families need besides; None leaves a field as it is."""

FAMILIES = (
    "afmoe aria_text axk1 axk2 bailing_hybrid cohere2_moe deepseek_v32 dots1 exaone_moe flex_olmo flint "
    "glm4_moe_lite glm_moe_dsa granitemoe granitemoe_swa granitemoehybrid granitemoeshared hunyuan_v1_moe hy_v3 hy_v4 "
    "inkling2_text jamba kimi_linear lfm2_moe mellum mimo_v2_flash minimax minimax_m2 "
    "nemotron_h qwen3_5_moe_text qwen3_next solar_open"
).split()


def small(family: str) -> Any:
    """A random model of one family, small in every size its configuration names."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    fields = {name: value for name, value in COMMON.items() if hasattr(default, name)}
    if hasattr(default, "kv_lora_rank"):
        fields["num_key_value_heads"] = SIZE["num_attention_heads"]
    for name in ("layer_types", "mlp_layer_types"):  # one layer of each kind in turn
        kinds = list(dict.fromkeys(getattr(default, name, None) or ()))
        fields |= {name: (kinds * 4)[:4]} if kinds else {}
    fields |= OWN.get(family, {})
    torch.manual_seed(0)
    return decisive(AutoModelForCausalLM.from_config(kind(**{k: v for k, v in fields.items() if v is not None})))
