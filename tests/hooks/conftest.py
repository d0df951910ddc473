"""Tiny models of eight families, random but with routers that decide: they test the capture, they mean nothing."""

from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from gatescope.hooks import attach

VOCABULARY = 259
SIZE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
GROUPED = {
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}

FAMILIES = {
    "mixtral": ("MixtralConfig", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
            "head_dim": 8,
        },
    ),
    "olmoe": ("OlmoeConfig", {"num_experts": 8, "num_experts_per_tok": 3}),
    "deepseek_v2": (
        "DeepseekV2Config",
        LATENT
        | GROUPED
        | {
            "n_routed_experts": 16,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "topk_method": "group_limited_greedy",
            "num_key_value_heads": 4,
        },
    ),
    "deepseek_v3": (
        "DeepseekV3Config",
        LATENT
        | GROUPED
        | {"n_routed_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "num_key_value_heads": 4},
    ),
    "gpt_oss": (
        "GptOssConfig",
        {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 16},
    ),
    "glm4_moe": (
        "Glm4MoeConfig",
        GROUPED | {"n_routed_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 8},
    ),
}


def byte_tokenizer(**options):
    """One token per UTF-8 byte, a beginning-of-text token in front."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<bos>", "<eos>", "<pad>"])
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 256)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", model_max_length=128, **options
    )


def decisive(model):
    """Spread the routers, so that choices differ between tokens and a wrong reader cannot pass by luck."""
    generator = torch.Generator().manual_seed(7)

    def noise(like, std):
        return torch.randn(like.shape, generator=generator) * std

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith((".gate.weight", ".router.weight")):
                tensor.copy_(noise(tensor, 1.7 / tensor.shape[-1] ** 0.5))
            elif name.endswith(("e_score_correction_bias", ".router.bias")):
                tensor.copy_(noise(tensor, 0.3))
            elif "experts" in name or "embed" in name:
                tensor.copy_(noise(tensor, 0.2))
    return model.eval()


def tiny(family, **changes):
    """A random model of one family."""
    config_class, options = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**(SIZE | options | changes))
    return decisive(AutoModelForCausalLM.from_config(config))


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(scope="session")
def loaded(family, tokenizer):
    return attach(tiny(family), tokenizer, name=family)


@pytest.fixture(scope="session")
def qwen(tokenizer):
    return attach(tiny("qwen3_moe"), tokenizer, name="qwen3_moe")


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A saved tiny Qwen3-MoE with its tokenizer."""
    path = tmp_path_factory.mktemp("model") / "tiny-qwen3-moe"
    tiny("qwen3_moe").save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def make_tiny():
    return tiny


@pytest.fixture
def make_tokenizer():
    return byte_tokenizer
