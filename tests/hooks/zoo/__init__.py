"""A tiny random model of every Mixture-of-Experts family, with inputs on which its routing shows.

The models mean nothing. Their routers decide, their biases and scales differ from 0 and 1, capacities bind and tokens
are skipped, so that whoever reads them wrongly is found out.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from tests.hooks.zoo import decoders, others, wrappers
from tests.hooks.zoo.noise import randomise
from tests.hooks.zoo.sizes import fields

__all__ = ["ENTRIES", "Specimen", "cases", "specimen"]

CLASSES = decoders.CLASSES | wrappers.CLASSES | others.CLASSES

ENTRIES = tuple(
    "mixtral minimax qwen2_moe qwen3_moe qwen3_next qwen3_5_moe qwen3_vl_moe qwen3_omni_moe qwen3_omni_moe_talker "
    "qwen4_exp olmoe flex_olmo mellum jamba hunyuan_v1_moe flint deepseek_v2 deepseek_ocr2 unlimited_ocr deepseek_v3 "
    "deepseek_v32 deepseek_v4 axk1 axk2 bailing_hybrid dots1 dots3_note exaone_moe glm4_moe glm4_moe_lite glm4v_moe "
    "glm5_next glm_moe_dsa hy_v4 kimi_linear mimo_v2_flash nemotron_h solar_open beam mistral4 mistral_large4 afmoe "
    "minimax_m2 minimax_m3_vl step3p7 hy_v3 lfm2_moe laguna muse_spark inkling2 inkling ernie4_5_moe ernie4_5_vl_moe "
    "kolibri1 cohere2_moe cohere2_moe_sigmoid aria gpt_oss openai_privacy_filter granitemoe granitemoe_swa "
    "granitemoeshared granitemoehybrid jetmoe dbrx doge gemma4 diffusion_gemma llama4 longcat_flash phimoe "
    "switch_transformers nllb_moe zaya dots3_note_vision".split()
)
"""Every family, in the order of the survey."""

ARCHETYPES = frozenset(
    "mixtral deepseek_v3 deepseek_v4 gpt_oss phimoe gemma4 longcat_flash ernie4_5_vl_moe "
    "llama4 switch_transformers nllb_moe jetmoe doge zaya".split()
)
"""One family of every way to route, and each that `hooks.families` makes an exception for."""


def cases(*, without: Collection[str] = ()) -> list:
    """A test's cases, one a family; those of other families than the archetypes are marked slow."""
    return [
        pytest.param(name, marks=() if name in ARCHETYPES else pytest.mark.slow)
        for name in ENTRIES
        if name not in without
    ]


@dataclass(frozen=True)
class Specimen:
    """A model in evaluation mode and 32-bit floats; `model(**inputs)` is one forward pass."""

    name: str
    model: nn.Module
    inputs: dict[str, Any]


def specimen(name: str) -> Specimen:
    """The tiny model of one entry, the same each time."""
    kind = getattr(transformers, CLASSES[name])
    if name in decoders.CLASSES:
        own = decoders.OWN.get(name, {}) | decoders.VARIED.get(name, {})
        return Specimen(name, _built(kind, kind.config_class(**fields(kind.config_class, own))), _inputs(name))
    layout = wrappers.wrapped if name in wrappers.CLASSES else others.other
    return Specimen(name, _built(kind, layout(name, kind.config_class)), _inputs(name))


def _built(kind: type, config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return randomise(kind(config))


def _inputs(name: str) -> dict[str, Any]:
    """Two rows of twelve ordinary token ids, and what else the family reads."""
    generator = torch.Generator().manual_seed(1)
    ids_bs = torch.randint(0, 256, (2, 12), generator=generator)
    if name in wrappers.CLASSES:
        return wrappers.with_images(name, ids_bs, generator)
    if name in others.CLASSES:
        return others.INPUTS[name](ids_bs, generator)
    return {"input_ids": ids_bs, "use_cache": False}
