"""Families of another make: encoder-decoders, a diffusion model, a vision tower and a speech decoder."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.hooks.zoo.decoders import EIGHT
from tests.hooks.zoo.sizes import SCALE, TEXT, VISION, fields
from tests.hooks.zoo.wrappers import IMAGE, WITH_PLACEHOLDERS

CLASSES = {
    "qwen3_omni_moe_talker": "Qwen3OmniMoeTalkerModel",
    "diffusion_gemma": "DiffusionGemmaForBlockDiffusion",
    "switch_transformers": "SwitchTransformersForConditionalGeneration",
    "nllb_moe": "NllbMoeForConditionalGeneration",
    "dots3_note_vision": "Dots3NoteVisionModel",
}
"""Names of the classes in `transformers`, by family."""

OWN: dict[str, dict[str, Any]] = {
    "qwen3_omni_moe_talker": EIGHT
    | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
    "diffusion_gemma": {"canvas_length": 7, "image_token_id": IMAGE, "initializer_range": 0.1},
    "switch_transformers": {
        "num_heads": 4,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "num_experts": 8,
        "expert_capacity": 2,  # of twelve tokens in a row, so that some are dropped
        "decoder_start_token_id": 258,
    },
    "nllb_moe": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
        "num_experts": 8,
        "moe_eval_capacity_token_fraction": 0.15,  # below the quarter of tokens that even loads would ask for
        "init_std": 0.1,
        "max_position_embeddings": 512,  # positions are counted from the padding id onwards
    },
    "dots3_note_vision": {
        "num_hidden_layers": 4,
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "per_layer_config": {  # layers may differ in both numbers
            1: {"num_local_experts": 8, "num_experts_per_tok": 2},
            2: {"num_local_experts": 12, "num_experts_per_tok": 3},
            3: {"num_local_experts": 8, "num_experts_per_tok": 2},
        },
        "router_scaling_factor": SCALE,
        "moe_intermediate_size": 24,
        "adapter_in_dim": 32,
        "adapter_out_dim": 32,
    },
}
"""What each family needs besides the shared sizes."""

GEMMA = EIGHT | {"top_k_experts": 2, "global_head_dim": 8}
GEMMA_VISION = {"pooling_kernel_size": 2, "position_embedding_size": 4}


def other(name: str, kind: type) -> Any:
    """A small configuration of class `kind`."""
    own = OWN[name]
    if name == "diffusion_gemma":
        default: Any = kind()
        text = fields(type(default.text_config), GEMMA, WITH_PLACEHOLDERS)
        vision = fields(type(default.vision_config), GEMMA_VISION, VISION)
        return kind(text_config=text, vision_config=vision, **own)
    config = kind(**fields(kind, own, VISION if name == "dots3_note_vision" else TEXT))
    if name == "qwen3_omni_moe_talker":  # its model reads a field that its configuration does not declare
        config.shared_expert_intermediate_size = 24
    return config


def _encoder_decoder(ids_bs: Tensor, generator: torch.Generator) -> dict[str, Any]:
    written_bs = torch.randint(0, 256, (len(ids_bs), 7), generator=generator)
    return {"input_ids": ids_bs, "decoder_input_ids": written_bs, "use_cache": False}


def _diffusion(ids_bs: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """A prompt with an image and a canvas; the decoder reads the prompt from the cache, which therefore stays on."""
    images = len(ids_bs)
    ids_bs[:, 3:7] = IMAGE
    corners = torch.cartesian_prod(torch.arange(4), torch.arange(4)).flip(-1)
    return {
        "input_ids": ids_bs,
        "decoder_input_ids": torch.randint(0, 256, (images, 7), generator=generator),
        "pixel_values": torch.rand(images, 16, 3 * 4 * 4, generator=generator),
        "image_position_ids": corners.expand(images, 16, 2),
    }


def _talker(ids_bs: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Embeddings, since the talker is only ever fed by the thinker and cannot embed ids itself."""
    return {"inputs_embeds": torch.randn(*ids_bs.shape, 32, generator=generator), "use_cache": False}


def _patches(_ids_bs: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Two images of 4 by 4 and 2 by 4 patches, each of 4 by 4 pixels in three colours."""
    return {
        "pixel_values": torch.randn(24, 3 * 4 * 4, generator=generator),
        "grid_thw": torch.tensor([[1, 4, 4], [1, 2, 4]]),
    }


INPUTS: dict[str, Callable[[Tensor, torch.Generator], dict[str, Any]]] = {
    "qwen3_omni_moe_talker": _talker,
    "diffusion_gemma": _diffusion,
    "switch_transformers": _encoder_decoder,
    "nllb_moe": _encoder_decoder,
    "dots3_note_vision": _patches,
}
"""Inputs of each family, from token ids of the usual shape."""
