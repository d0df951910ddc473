"""The size of an expert is what its configuration gives: three matrices between the model's width and its own."""

import json

from gatescope.hooks.loading.expert_size import expert_weights
from gatescope.models import BUNDLED_MODELS


def test_an_expert_has_three_matrices():
    # config.json of sift-softmax: hidden_size 192, moe_intermediate_size 80; gate, up and down
    assert expert_weights(BUNDLED_MODELS["sift-softmax"]) == (3 * 192 * 80,) * 6


def test_dense_layers_are_not_counted():
    config = BUNDLED_MODELS["sift-sigmoid"] / "config.json"
    said = json.loads(config.read_text())
    size = 3 * said["hidden_size"] * said["moe_intermediate_size"]
    assert expert_weights(config.parent) == (size,) * (said["num_hidden_layers"] - said["first_k_dense_replace"])
