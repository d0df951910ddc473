"""The MoE layers by configuration alone: the same as those of the model in memory, which ran."""

import pytest
import transformers

from gatescope.hooks.loading.outline import outline
from gatescope.hooks.loading.routers import read_routers
from gatescope.routing.errors import DenseModelError, RouterOutputError
from tests.hooks.zoo import specimen

FAMILIES = (
    "mixtral qwen3_moe olmoe deepseek_v2 deepseek_v3 gpt_oss llama4 dbrx jetmoe doge glm4_moe hunyuan_v1_moe "
    "qwen3_vl_moe jamba granitemoehybrid longcat_flash phimoe zaya ernie4_5_moe"
).split()


def shape(layers):
    return [(rule.layer, rule.block, rule.experts, rule.k, rule.stack) for rule in layers]


def written(model, folder):
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_are_those_that_a_pass_through_the_model_shows(name, tmp_path):
    thing = specimen(name)
    found = outline(written(thing.model, tmp_path))
    assert shape(found) == shape(read_routers(thing.model, thing.inputs).layers)
    assert {rule.score for rule in found} == {"unknown"}


def test_no_weights_are_needed_for_the_largest_models(tmp_path):
    """DeepSeek-V3 as published: 671 billion parameters, its first three blocks dense."""
    transformers.DeepseekV3Config(architectures=["DeepseekV3ForCausalLM"]).save_pretrained(tmp_path)
    found = outline(tmp_path)
    assert shape(found) == [(layer, layer + 3, 256, 8, "decoder") for layer in range(58)]


def test_what_a_configuration_does_not_tell_is_said(tmp_path):
    transformers.LlamaConfig(architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path)
    with pytest.raises(DenseModelError, match="llama has no experts"):
        outline(tmp_path)
    with pytest.raises(RouterOutputError, match="no number of"):
        outline(written(specimen("switch_transformers").model, tmp_path / "switch"))
