"""Families that are text decoders: one configuration, and token ids go in."""

from typing import Any

from tests.hooks.zoo.sizes import VOCABULARY, routed

EIGHT = routed(8, 2)
GROUPED_EIGHT = routed(8, 3)  # three of the two kept pairs of experts, so that the limit decides

INKLING = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "swa_head_dim": 8,
    "sliding_window_size": 8,
    "d_rel": 4,
    "rel_extent": 16,
}

CLASSES = {
    "mixtral": "MixtralForCausalLM",
    "minimax": "MiniMaxForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "qwen3_next": "Qwen3NextForCausalLM",
    "qwen3_5_moe": "Qwen3_5MoeForCausalLM",
    "qwen4_exp": "Qwen4ExpForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "flex_olmo": "FlexOlmoForCausalLM",
    "mellum": "MellumForCausalLM",
    "jamba": "JambaForCausalLM",
    "hunyuan_v1_moe": "HunYuanMoEV1ForCausalLM",
    "flint": "FlintForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "deepseek_v32": "DeepseekV32ForCausalLM",
    "deepseek_v4": "DeepseekV4ForCausalLM",
    "axk1": "AXK1ForCausalLM",
    "axk2": "AXK2ForCausalLM",
    "bailing_hybrid": "BailingHybridForCausalLM",
    "dots1": "Dots1ForCausalLM",
    "dots3_note": "Dots3NoteForCausalLM",
    "exaone_moe": "ExaoneMoeForCausalLM",
    "glm4_moe": "Glm4MoeForCausalLM",
    "glm4_moe_lite": "Glm4MoeLiteForCausalLM",
    "glm_moe_dsa": "GlmMoeDsaForCausalLM",
    "hy_v4": "HYV4ForCausalLM",
    "kimi_linear": "KimiLinearForCausalLM",
    "mimo_v2_flash": "MiMoV2FlashForCausalLM",
    "nemotron_h": "NemotronHForCausalLM",
    "solar_open": "SolarOpenForCausalLM",
    "beam": "BeamForCausalLM",
    "mistral4": "Mistral4ForCausalLM",
    "afmoe": "AfmoeForCausalLM",
    "minimax_m2": "MiniMaxM2ForCausalLM",
    "minimax_m3_vl": "MiniMaxM3VLForCausalLM",
    "hy_v3": "HYV3ForCausalLM",
    "lfm2_moe": "Lfm2MoeForCausalLM",
    "laguna": "LagunaForCausalLM",
    "inkling2": "Inkling2ForCausalLM",
    "inkling": "InklingForCausalLM",
    "ernie4_5_moe": "Ernie4_5_MoeForCausalLM",
    "kolibri1": "Kolibri1ForCausalLM",
    "cohere2_moe": "Cohere2MoeForCausalLM",
    "cohere2_moe_sigmoid": "Cohere2MoeForCausalLM",
    "aria": "AriaTextForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "openai_privacy_filter": "OpenAIPrivacyFilterForTokenClassification",
    "granitemoe": "GraniteMoeForCausalLM",
    "granitemoe_swa": "GraniteMoeSWAForCausalLM",
    "granitemoeshared": "GraniteMoeSharedForCausalLM",
    "granitemoehybrid": "GraniteMoeHybridForCausalLM",
    "jetmoe": "JetMoeForCausalLM",
    "dbrx": "DbrxForCausalLM",
    "doge": "DogeForCausalLM",
    "gemma4": "Gemma4ForCausalLM",
    "llama4": "Llama4ForCausalLM",
    "longcat_flash": "LongcatFlashForCausalLM",
    "phimoe": "PhimoeForCausalLM",
    "zaya": "ZayaForCausalLM",
}
"""Names of the classes in `transformers`, by family."""

OWN: dict[str, dict[str, Any]] = {
    "qwen4_exp": EIGHT
    | {
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "jamba": {
        "layer_types": None,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
    },
    "deepseek_v2": {"topk_method": "group_limited_greedy"},
    "deepseek_v4": EIGHT
    | {
        "num_key_value_heads": 1,
        "partial_rotary_factor": 0.5,
        "o_groups": 2,
        "o_lora_rank": 8,
        "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
    },
    "dots1": {"layer_types": None, "n_shared_experts": 1, "max_window_layers": 4},
    "dots3_note": {
        "head_dim": 16,
        "shared_experts_intermediate_size": 24,
        "swa_num_attention_heads": 2,
        "swa_num_key_value_heads": 2,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 16,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "nemotron_h": {
        "layers_block_type": ["mamba", "moe", "attention", "moe"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "ssm_state_size": 8,
        "moe_shared_expert_intermediate_size": 24,
    },
    "beam": GROUPED_EIGHT,
    "mistral4": GROUPED_EIGHT | {"head_dim": 16},  # of which the rotary half is 8
    "minimax_m3_vl": EIGHT | {"dense_intermediate_size": 24, "rotary_dim": 4, "index_block_size": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "laguna": EIGHT | {"num_attention_heads_per_layer": [4, 2, 4, 2], "moe_router_logit_softcapping": 3.0},
    "inkling2": INKLING | {"unpadded_vocab_size": VOCABULARY},
    "inkling": EIGHT | INKLING | {"logits_mup_width_multiplier": 1.0},
    "ernie4_5_moe": EIGHT | {"moe_layer_start_index": 1, "moe_layer_end_index": 3, "moe_num_shared_experts": 1},
    "kolibri1": EIGHT,
    "cohere2_moe": {"shared_expert_combination_strategy": "average"},
    "cohere2_moe_sigmoid": EIGHT | {"expert_selection_fn": "sigmoid", "shared_expert_combination_strategy": "sum"},
    "gpt_oss": EIGHT,
    "openai_privacy_filter": EIGHT,
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8},
    "jetmoe": EIGHT | {"kv_channels": 8, "num_attention_heads": None, "num_hidden_layers": 2},
    "dbrx": {
        "d_model": 32,  # by this name, else its experts keep the default width
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 8, "moe_top_k": 2},
        "num_hidden_layers": 2,
    },
    "doge": {"is_moe": True, "num_hidden_layers": 2},  # sixteen experts, four keys either way
    "gemma4": EIGHT
    | {
        "enable_moe_block": True,
        "top_k_experts": 2,
        "global_head_dim": 8,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCABULARY,
    },
    "llama4": EIGHT | {"interleave_moe_layer_step": 2, "intermediate_size_mlp": 24, "attention_chunk_size": 8},
    "longcat_flash": routed(8, 3)
    | {
        "num_layers": 2,
        "zero_expert_num": 4,
        "ffn_hidden_size": 24,
        "expert_ffn_hidden_size": 24,
    },
    "phimoe": EIGHT | {"router_jitter_noise": 0.3},  # wide enough for the gate to weigh several experts
    "zaya": routed(8, 1) | {"router_hidden_size": 16},
}
"""What single families need besides the shared sizes; None leaves a field as it is."""

VARIED: dict[str, dict[str, Any]] = {"hunyuan_v1_moe": {"moe_topk": [3, 2, 3, 2]}}
"""Where a family allows layers to differ."""
