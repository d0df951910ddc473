"""Models that host a Mixture of Experts inside: any text model in a wrapper for images is read where it stands."""

import numpy as np
import pytest
import torch
import transformers

from gatescope.hooks import attach, capture, record
from tests.hooks.conftest import FAMILIES, SIZE, decisive

IMAGE = 260
PICTURE = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


def wrapped(family):
    """A LLaVA of one family: two patches a side, four tokens an image."""
    kind, options = FAMILIES[family]
    vision = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=8, patch_size=4
    )
    text = getattr(transformers, kind)(**(SIZE | options | {"vocab_size": 264}))
    torch.manual_seed(0)
    config = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_index=IMAGE)
    return decisive(transformers.LlavaForConditionalGeneration(config))


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "deepseek_v3"])
def test_a_text_model_inside_a_wrapper_routes_as_it_does_alone(family, tokenizer):
    model = wrapped(family)
    loaded = attach(model, tokenizer, name=family)
    assert loaded.selfcheck.passed
    inside = capture(loaded, "The same text.")
    loaded.routers.close()
    kind = getattr(transformers, FAMILIES[family][0].replace("Config", "ForCausalLM"))
    alone = kind(model.config.text_config).eval()
    alone.model.load_state_dict(model.model.language_model.state_dict())
    alone.lm_head.load_state_dict(model.lm_head.state_dict())
    outside = capture(attach(alone, tokenizer, name=family), "The same text.")
    np.testing.assert_array_equal(inside.ids_tlk, outside.ids_tlk)
    np.testing.assert_array_equal(inside.weight_tlk, outside.weight_tlk)


def test_image_tokens_are_flagged_and_counted_through_their_image(tokenizer):
    model = wrapped("mixtral")
    ids = torch.tensor([[256, 65, IMAGE, IMAGE, IMAGE, IMAGE, 66, 67]])
    with record(model) as recording, torch.no_grad():
        model(input_ids=ids, pixel_values=PICTURE)
    routing = recording.record(tokenizer)
    assert routing.flag_t.tolist() == [1, 0, 8, 8, 8, 8, 0, 0]
    assert routing.image_places().tolist() == [-1, -1, 0, 1, 2, 3, -1, -1]
