"""The sizes that all specimens share, laid over whichever of the fields a family's own configuration has."""

from collections.abc import Mapping
from typing import Any

LAYERS = 4
EXPERTS, CHOSEN = 16, 3
SCALE = 2.5
"""Unlike 1, so that a scale which is missed or applied twice shows."""

EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
CHOSEN_KEYS = ("num_experts_per_tok", "moe_k", "moe_topk", "moe_top_k")
SCALE_KEYS = (
    "routed_scaling_factor",
    "router_scaling_factor",
    "moe_router_scaling_factor",
    "moe_routed_scaling_factor",
    "route_scale",
)


def routed(experts: int, chosen: int) -> dict[str, Any]:
    """How many experts a layer has and a token chooses, under every name that families give these two."""
    return dict.fromkeys(EXPERT_KEYS, experts) | dict.fromkeys(CHOSEN_KEYS, chosen)


VOCABULARY = 259  # that of the byte tokenizer of the tests beside this: 256 bytes and three special tokens
TEXT: dict[str, Any] = (
    routed(EXPERTS, CHOSEN)
    | dict.fromkeys(SCALE_KEYS, SCALE)
    | dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 24)
    | {
        "vocab_size": VOCABULARY,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
        "max_position_embeddings": 128,
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "initializer_range": 0.1,  # large enough for attention to move the hidden states of so small a model
        "head_dim": 8,
        "num_shared_experts": 1,
        "n_group": 4,
        "num_expert_group": 4,
        "topk_group": 2,
        "first_k_dense_replace": 1,
        "sliding_window": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_heads": 2,
        "linear_head_dim": 8,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_topk": 8,
    }
)
"""Text decoders."""

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "out_hidden_size": TEXT["hidden_size"],
    "intermediate_size": 24,
    "depth": 2,
    "num_hidden_layers": 2,
    "num_heads": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "patch_size": 4,
    "image_size": 16,
    "num_position_embeddings": 16,
    "initializer_range": 0.1,
}
"""Vision towers: images are 4 by 4 patches of 4 by 4 pixels."""


def fields(kind: type, own: Mapping[str, Any], shared: Mapping[str, Any] = TEXT) -> dict[str, Any]:
    """What to build a configuration of class `kind` from; None in `own` leaves a field at its default.

    Fields are read with `vars`, since asking some configurations for a field that differs by layer is an error.
    """
    default: Any = kind()
    aliases = getattr(default, "attribute_map", {})
    known, stated = {*vars(default), *aliases}, {aliases.get(name, name) for name in own}
    chosen = {n: value for n, value in shared.items() if n in known and aliases.get(n, n) not in stated}
    if "kv_lora_rank" in known:
        chosen["num_key_value_heads"] = shared["num_attention_heads"]
    layers = own.get("num_hidden_layers", shared["num_hidden_layers"])
    for name in ("layer_types", "mlp_layer_types"):
        chosen |= _in_turn(name, vars(default).get(name), layers)
    return {name: value for name, value in (chosen | dict(own)).items() if value is not None}


def _in_turn(name: str, default: Any, layers: int) -> dict[str, list[str]]:
    """One layer of each kind in turn."""
    kinds = list(dict.fromkeys(default or ()))
    return {name: (kinds * layers)[:layers]} if kinds else {}
