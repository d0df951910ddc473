"""Families whose decoder sits in a model of text and images: three small configurations, and pictures go in as well."""

from typing import Any

import torch
from torch import Tensor

from tests.hooks.zoo.decoders import EIGHT, GROUPED_EIGHT
from tests.hooks.zoo.sizes import TEXT, VISION, VOCABULARY, fields

IMAGE, VIDEO, AUDIO = VOCABULARY, VOCABULARY + 1, VOCABULARY + 2
"""Placeholders, behind the ids of the byte tokenizer."""
PLACEHOLDERS = {"image_token_id": IMAGE, "video_token_id": VIDEO, "audio_token_id": AUDIO}
WITH_PLACEHOLDERS = TEXT | {"vocab_size": VOCABULARY + 5}

CLASSES = {
    "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
    "deepseek_ocr2": "DeepseekOcr2ForConditionalGeneration",
    "unlimited_ocr": "UnlimitedOcrForConditionalGeneration",
    "glm4v_moe": "Glm4vMoeForConditionalGeneration",
    "glm5_next": "Glm5NextForConditionalGeneration",
    "mistral_large4": "MistralLarge4ForConditionalGeneration",
    "step3p7": "Step3p7ForConditionalGeneration",
    "muse_spark": "MuseSparkForConditionalGeneration",
    "ernie4_5_vl_moe": "Ernie4_5_VLMoeForConditionalGeneration",
}
"""Names of the classes in `transformers`, by family."""

SECTIONED = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
SAM = {"output_channels": 8, "mlp_dim": 24, "window_size": 2, "global_attn_indexes": [1]}
LIMITED = {"topk_method": "group_limited_greedy", "n_shared_experts": 1}

OWN: dict[str, dict[str, dict[str, Any]]] = {
    "qwen3_vl_moe": {
        "text_config": EIGHT | {"rope_parameters": SECTIONED},
        "vision_config": {"deepstack_visual_indexes": [0]},
    },
    "qwen3_omni_moe": {
        "text_config": EIGHT | {"rope_parameters": SECTIONED},
        "vision_config": {"deepstack_visual_indexes": [0]},
        "audio_config": {
            "num_mel_bins": 8,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "d_model": 16,
            "downsample_hidden_size": 8,
            "output_dim": 32,
            "max_source_positions": 16,
        },
    },
    "deepseek_ocr2": {
        "text_config": GROUPED_EIGHT | LIMITED | {"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]},
        "vision_config": {
            "sam_config": SAM | {"downsample_channels": [16, 32]},
            "encoder_config": {"vocab_size": 8, "layer_types": None},
        },
    },
    "unlimited_ocr": {
        "text_config": GROUPED_EIGHT | LIMITED,
        "vision_config": {"sam_config": SAM | {"downsample_channels": [16, 32]}, "encoder_config": {}},
    },
    "glm4v_moe": {
        "text_config": GROUPED_EIGHT | {"rope_parameters": SECTIONED | {"partial_rotary_factor": 1.0}},
        "vision_config": {},
    },
    "glm5_next": {
        "text_config": GROUPED_EIGHT | {"qk_rope_head_dim": 0, "head_dim": None, "index_kpool": 2},
        "vision_config": {"projection_intermediate_size": 24},
    },
    "mistral_large4": {"text_config": GROUPED_EIGHT, "vision_config": {}},
    "step3p7": {
        "text_config": EIGHT | {"share_expert_dim": 24, "query_pre_attn_scalar": 8},
        "vision_config": {"mlp_ratio": 0.75},
    },
    "muse_spark": {
        "text_config": EIGHT | {"moe_hidden_size": 16, "output_multiplier": 0.8},
        "vision_config": {"pos_emb_height": 4, "pos_emb_width": 4},
        "audio_config": {
            "patch_sizes": [2, 2],
            "hidden_sizes": [4, 8],
            "depths": [1, 1],
            "num_hidden_layers": 2,
            "out_hidden_size": 32,
        },
    },
    "ernie4_5_vl_moe": {
        "text_config": EIGHT
        | {
            "moe_intermediate_size": [24, 16],
            "moe_num_shared_experts": 1,
            "rope_parameters": SECTIONED | {"mrope_section": [1, 1, 2]},
        },
        "vision_config": {},
    },
}
"""What the configurations inside each family's own need besides the shared sizes."""

TOP: dict[str, dict[str, Any]] = {
    "qwen3_omni_moe": {"initializer_range": 0.1},
    "mistral_large4": {"image_token_index": IMAGE},
    "muse_spark": {"out_hidden_size": 128, "projector_hidden_size": 32},
}
"""What a family's outermost configuration needs besides the ids of the placeholders."""


def wrapped(name: str, kind: type) -> Any:
    """A small configuration of class `kind`, with one for each tower inside."""
    outer: Any = kind()
    towers = {tower: _tower(tower, getattr(outer, tower), own) for tower, own in OWN[name].items()}
    ids = {field: value for field, value in PLACEHOLDERS.items() if field in vars(outer)}
    return kind(**towers, **(ids | TOP.get(name, {})))


def _tower(tower: str, default: Any, own: dict[str, Any]) -> dict[str, Any]:
    """Fields of one tower, and of the towers inside it."""
    inner = {field: _tower(field, getattr(default, field), value) for field, value in own.items() if _is_tower(field)}
    plain = {field: value for field, value in own.items() if not _is_tower(field)}
    shared = WITH_PLACEHOLDERS if tower == "text_config" else VISION
    return fields(type(default), plain, shared) | inner | {"model_type": default.model_type}


def _is_tower(field: str) -> bool:
    return field.endswith("_config")


IMAGE_TOKENS = {"deepseek_ocr2": 0, "unlimited_ocr": 3, "step3p7": 1}
"""How many tokens an image becomes where it is not 4: sixteen patches, merged by fours.

DeepSeek-OCR-2 turns any image into 145 tokens, which would outweigh the text: its specimen reads text only.
"""
PATCH_GRID = {"qwen3_vl_moe", "qwen3_omni_moe", "glm4v_moe", "glm5_next", "muse_spark", "ernie4_5_vl_moe"}
"""Families that take patches and their grid, not pixels."""
TYPED = {"qwen3_vl_moe": ["mm"], "glm4v_moe": ["mm"], "ernie4_5_vl_moe": ["mm", "moe_mm"]}
"""Families that are told which tokens are image tokens, and under which names."""
SINGLE_FRAME = {"ernie4_5_vl_moe"}
"""Families whose patches span one frame, not two."""


def with_images(name: str, ids_bs: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Inputs of one family: an image in each row of text, between its third token and the rest."""
    count = IMAGE_TOKENS.get(name, 4)
    ids_bs[:, 3 : 3 + count] = IMAGE
    inputs: dict[str, Any] = {"input_ids": ids_bs, "use_cache": False}
    if count == 0:
        return inputs
    types_bs = (ids_bs == IMAGE).int()
    inputs |= {f"{prefix}_token_type_ids": types_bs for prefix in TYPED.get(name, ())}
    return inputs | (_patches if name in PATCH_GRID else _pixels)(name, len(ids_bs), generator)


def _patches(name: str, images: int, generator: torch.Generator) -> dict[str, Any]:
    """Images cut into 4 by 4 patches of 4 by 4 pixels, in three colours."""
    frames = 1 if name in SINGLE_FRAME else 2
    pixel_values = torch.randn(images * 16, frames * 3 * 4 * 4, generator=generator)
    return {"pixel_values": pixel_values, "image_grid_thw": torch.tensor([[1, 4, 4]] * images)}


def _pixels(name: str, images: int, generator: torch.Generator) -> dict[str, Any]:
    """Whole images of 16 by 16 pixels."""
    inputs: dict[str, Any] = {"pixel_values": torch.randn(images, 3, 16, 16, generator=generator)}
    return inputs | ({"image_sizes": torch.tensor([[16, 16]] * images)} if name == "mistral_large4" else {})
