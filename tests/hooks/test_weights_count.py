"""Weights by what they are for: against the names in the file, and against the sizes that the configuration gives."""

import re

import pytest
from safetensors.torch import load_file

from gatescope.hooks import attach, load_model
from gatescope.hooks.loading.weights_count import count_weights
from gatescope.models import BUNDLED_MODELS


def test_every_weight_counts_once_in_every_family(loaded):
    counts = count_weights(loaded)
    assert counts.total == sum(each.numel() for each in loaded.model.parameters())
    assert counts.size_bytes == sum(each.numel() * each.element_size() for each in loaded.model.parameters())
    assert 0 < counts.active_routed < counts.routed and counts.router > 0
    assert bool(counts.shared) == bool(loaded.layers[0].shared_experts)


@pytest.mark.parametrize(
    ("family", "routed", "shared"),
    [
        ("mixtral", 3 * 8 * 3 * 32 * 24, 0),  # layers x experts x matrices x width x the expert's own
        ("qwen2_moe", 3 * 8 * 3 * 32 * 24, 3 * (3 * 32 * 24 + 32)),  # and a gate of the width beside each shared one
        ("deepseek_v3", 2 * 16 * 3 * 32 * 24, 2 * 3 * 32 * 24),  # the first block is dense
    ],
)
def test_experts_are_as_large_as_the_configuration_says(make_tiny, tokenizer, family, routed, shared):
    model = attach(make_tiny(family), tokenizer, name=family)
    counts, rule = count_weights(model), model.layers[0]
    assert (counts.routed, counts.shared) == (routed, shared)
    assert counts.active_routed == routed * rule.k // rule.experts
    assert counts.router >= len(model.layers) * rule.experts * 32


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_the_bundled_models_against_the_names_in_their_files(name):
    counts = count_weights(load_model(BUNDLED_MODELS[name]))
    kinds = {"shared": r"\.shared_expert", "routed": r"\.experts\.", "router": r"\.mlp\.(gate|router)\."}
    number = dict.fromkeys([*kinds, "rest"], 0)
    for key, tensor in load_file(BUNDLED_MODELS[name] / "model.safetensors").items():
        kind = next((kind for kind, pattern in kinds.items() if re.search(pattern, key)), "rest")
        number[kind] += 0 if key.endswith("e_score_correction_bias") else tensor.numel()
    assert (counts.shared, counts.routed, counts.rest) == (number["shared"], number["routed"], number["rest"])
    assert counts.router == number["router"]
    assert counts.bytes_by_dtype == {"float32": 4 * counts.total}
