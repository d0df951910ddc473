"""The tiny models are what they should be: all families, sound outputs, and routing in which every part matters.

Read with hooks of torch alone. Parts are judged by taking them away: a bias counts if choices change without it.
"""

import csv
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.hooks.zoo import ENTRIES, Specimen, cases, specimen

SURVEY = Path(__file__).parents[3] / "shared" / "families.csv"
NOT_ROUTED = "vitpose_backbone"
"""The one row of the survey without a router: its callers name the expert."""

BIAS = re.compile(r".*(e_score_correction_bias|expert_bias|balancing_biases|\.router\.bias)")
SCALE = re.compile(r".*(per_expert_scale|global_scale|\.router\.scale|router_states_scale)")
EXPERTS = re.compile(r".*(\.experts\b|(up|down)_embed\.weight|\.(input|output)_linear\.weight).*")
IMAGES = (
    "qwen3_vl_moe qwen3_omni_moe unlimited_ocr glm4v_moe glm5_next mistral_large4 step3p7 muse_spark ernie4_5_vl_moe"
).split()
"""Causal decoders that read an image after the third token of each row."""

GROUPED = (
    "deepseek_v2 deepseek_ocr2 unlimited_ocr deepseek_v3 deepseek_v32 axk1 axk2 bailing_hybrid dots1 dots3_note "
    "exaone_moe glm4_moe glm4_moe_lite glm4v_moe glm5_next glm_moe_dsa hy_v4 kimi_linear mimo_v2_flash nemotron_h "
    "solar_open beam mistral4 mistral_large4"
).split()
BIASED = (
    "deepseek_v3 deepseek_v32 deepseek_v4 axk1 axk2 bailing_hybrid dots1 dots3_note exaone_moe glm4_moe glm4_moe_lite "
    "glm4v_moe glm5_next glm_moe_dsa hy_v4 kimi_linear mimo_v2_flash nemotron_h solar_open beam afmoe minimax_m2 "
    "minimax_m3_vl step3p7 hy_v3 lfm2_moe laguna muse_spark inkling2 inkling ernie4_5_moe ernie4_5_vl_moe kolibri1 "
    "gpt_oss openai_privacy_filter longcat_flash zaya dots3_note_vision"
).split()
SCALED = "gemma4 diffusion_gemma inkling zaya".split()

Outputs = dict[str, list[Any]]


def routers(model: nn.Module) -> dict[str, nn.Module]:
    """Path and module of every router; one inside another is a part of it."""
    named = {
        path: module for path, module in model.named_modules() if path.endswith((".gate", ".router", ".router_gate"))
    }
    return {path: module for path, module in named.items() if path.rpartition(".")[0] not in named}


def watched(model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Outputs, Any]:
    """What each router returned in a forward pass, and what the model did."""
    seen: Outputs = {path: [] for path in routers(model)}
    handles = [
        module.register_forward_hook(lambda _m, _a, output, path=path: seen[path].append(output))
        for path, module in routers(model).items()
    ]
    with torch.no_grad():
        result = model(**inputs)
    for handle in handles:
        handle.remove()
    return seen, result


@cache
def untouched(name: str) -> tuple[Specimen, Outputs, Any]:
    """A specimen as it comes, and its pass; not to be changed."""
    found = specimen(name)
    return found, *watched(found.model, found.inputs)


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a model's output."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def chosen(name: str, output: Any) -> list[frozenset[int]]:
    """The experts of each token, from what one router returned."""
    masks: dict[str, Callable[[], Tensor]] = {
        "llama4": lambda: output[0] != 0,
        "switch_transformers": lambda: output[0] != 0,
        "nllb_moe": lambda: output[1] != 0,
    }
    scores: dict[str, Callable[[], Tensor]] = {
        "dbrx": lambda: output,
        "doge": lambda: output,  # two sets of keys in a row
        "jetmoe": lambda: output[4],
    }
    if name in masks:
        mask_ne = masks[name]().flatten(0, -2)
        return [frozenset(row.nonzero()[:, 0].tolist()) for row in mask_ne]
    ids_nk = scores[name]().topk(2, -1).indices if name in scores else output[2]
    return [frozenset(row.tolist()) for row in ids_nk.flatten(0, -2)]


def all_chosen(name: str, seen: Outputs) -> list[frozenset[int]]:
    return [experts for outputs in seen.values() for output in outputs for experts in chosen(name, output)]


@pytest.fixture(scope="module")
def survey():
    """What a survey of the families found in their source, by family."""
    if not SURVEY.exists():
        pytest.skip(f"needs the survey of families beside the checkout: {SURVEY}")
    with SURVEY.open(encoding="utf-8", newline="") as file:
        return {row["family"]: row for row in csv.DictReader(file) if row["family"] != NOT_ROUTED}


def test_every_family_of_the_survey_has_a_specimen(survey):
    assert tuple(survey) == ENTRIES


def test_the_survey_knows_the_same_biases_and_limits(survey):
    assert [name for name, row in survey.items() if row["bias_correction"] != "none"] == BIASED
    assert [name for name, row in survey.items() if row["group_limited"] != "none"] == GROUPED


@pytest.mark.parametrize("name", cases())
def test_classes_and_router_paths_are_those_of_the_survey(name, survey):
    model, row = untouched(name)[0].model, survey[name]
    assert type(model).__name__ == row["model_class"]
    paths = [re.escape(path.split(" (")[0].strip()) for path in row["router_path"].split(";")]
    at = re.compile("|".join(path.replace(re.escape("{i}"), r"\d+") for path in paths))
    assert {path for path, _ in model.named_modules() if at.fullmatch(path)} == set(routers(model))
    if name != "doge":  # its router is a plain linear map
        assert {type(router).__name__ for router in routers(model).values()} == set(row["router_class"].split("; "))


@pytest.mark.parametrize("name", cases())
def test_outputs_are_finite_and_the_same_in_a_model_built_anew(name):
    first, _, result = untouched(name)
    again = specimen(name)
    assert not again.model.training
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}
    assert tensors(again.inputs) != [] and all(map(torch.equal, tensors(first.inputs), tensors(again.inputs)))
    results = tensors(watched(again.model, again.inputs)[1])
    assert all(bool(tensor.isfinite().all()) for tensor in results if tensor.is_floating_point())
    assert len(results) == len(tensors(result)) > 0
    assert all(map(torch.equal, results, tensors(result)))


@pytest.mark.parametrize("name", cases())
def test_tokens_choose_different_experts_in_every_router(name):
    _, seen, _ = untouched(name)
    assert seen
    for path, outputs in seen.items():
        assert len(outputs) == 1, f"{path} ran {len(outputs)} times"
        choices = chosen(name, outputs[0])
        assert len(set(choices)) >= 3, path
        assert max(map(choices.count, set(choices))) <= len(choices) * 2 / 3, path


@pytest.mark.parametrize("name", cases())
def test_no_token_is_embedded_as_zero(name):
    for path, module in untouched(name)[0].model.named_modules():
        if isinstance(module, nn.Embedding):
            assert bool((module.weight != 0).any(-1).all()), path


def changed(name: str, part: re.Pattern[str], value: float) -> tuple[Outputs, Any]:
    """The pass of a specimen in which all tensors of one part have one value."""
    other = specimen(name)
    named = dict([*other.model.named_parameters(), *other.model.named_buffers()])
    assert [path for path in named if part.fullmatch(path)]
    with torch.no_grad():
        for path, tensor in named.items():
            if part.fullmatch(path):
                tensor.fill_(value)
    return watched(other.model, other.inputs)


def differ(one: Any, other: Any) -> bool:
    return any(not torch.allclose(a, b, atol=1e-3) for a, b in zip(tensors(one), tensors(other), strict=True))


@pytest.mark.parametrize("name", cases())
def test_experts_matter(name):
    assert differ(changed(name, EXPERTS, 0.0)[1], untouched(name)[2])


@pytest.mark.parametrize("name", BIASED)
def test_biases_change_choices(name):
    assert all_chosen(name, changed(name, BIAS, 0.0)[0]) != all_chosen(name, untouched(name)[1])


@pytest.mark.parametrize("name", SCALED)
def test_learned_scales_change_outputs(name):
    assert differ(changed(name, SCALE, 1.0)[1], untouched(name)[2])


@pytest.mark.parametrize("name", GROUPED)
def test_group_limits_bind(name):
    other, limited = specimen(name), 0
    for module in other.model.modules():
        groups = getattr(module, "n_group", None) or getattr(module, "num_group", None) or 1
        if isinstance(groups, int) and groups > 1 and hasattr(module, "topk_group"):
            assert module.topk_group < groups
            module.topk_group, limited = groups, limited + 1
    assert limited == len(routers(other.model))
    assert all_chosen(name, watched(other.model, other.inputs)[0]) != all_chosen(name, untouched(name)[1])


@pytest.mark.parametrize("name", IMAGES)
def test_images_reach_the_decoder(name):
    found, _, result = untouched(name)
    logits_bsv = watched(found.model, found.inputs | {"pixel_values": -found.inputs["pixel_values"]})[1].logits
    moved_s = (logits_bsv - result.logits).abs().amax((0, 2))
    assert moved_s[:3].max() < 1e-4
    assert moved_s[3:].min() > 1e-2


def test_the_prompt_of_the_diffusion_model_has_an_image():
    found, _, result = untouched("diffusion_gemma")
    other = watched(found.model, found.inputs | {"pixel_values": 1 - found.inputs["pixel_values"]})[1]
    assert differ(other.logits, result.logits)


def test_vision_experts_get_the_image_tokens_and_text_experts_the_others():
    found, seen, _ = untouched("ernie4_5_vl_moe")
    image_tokens = int((found.inputs["input_ids"] == found.model.config.image_token_id).sum())
    rows = {path: len(outputs[0][2]) for path, outputs in seen.items()}
    assert image_tokens == 8
    assert {count for path, count in rows.items() if "vision_moe" in path} == {image_tokens}
    assert {count for path, count in rows.items() if "text_moe" in path} == {24 - image_tokens}


def test_switch_drops_tokens_beyond_the_capacity_of_two():
    _, seen, _ = untouched("switch_transformers")
    dropped = {}
    for path, [(mask_bse, _, logits_bse)] in seen.items():
        wanted_bs = logits_bse.argmax(-1)
        beyond = [int((row_s == expert).sum()) - 2 for row_s in wanted_bs for expert in range(8)]
        dropped[path.split(".")[0]] = sum(max(0, tokens) for tokens in beyond)
        assert int((mask_bse.sum(-1) == 0).sum()) == dropped[path.split(".")[0]]
    assert 0 < dropped["encoder"] < 24


def test_nllb_drops_choices_beyond_its_share_of_tokens():
    _, seen, _ = untouched("nllb_moe")
    for path, [(_, weight_ne, _)] in seen.items():
        capacity = math.ceil(0.15 * len(weight_ne))
        kept_ne = weight_ne != 0
        assert int(kept_ne.sum(0).max()) <= capacity, path
        assert 0 < int(kept_ne.sum()) < 2 * len(weight_ne), path


def test_zaya_skips_the_tokens_that_choose_its_last_class():
    found, seen, _ = untouched("zaya")
    skipped = []
    for path, [(logits_ne, weights_nk, ids_nk, _)] in seen.items():
        bias_e = found.model.get_submodule(path).balancing_biases
        is_skipped_n = (logits_ne.softmax(-1) + bias_e).argmax(-1) == 8
        torch.testing.assert_close(weights_nk[:, 0] == 0, is_skipped_n)
        assert bool((ids_nk[is_skipped_n] == 0).all())
        skipped.append(int(is_skipped_n.sum()))
    assert 0 < sum(skipped) < 24 * len(skipped) / 2


def test_longcat_chooses_identity_experts_and_others():
    _, seen, _ = untouched("longcat_flash")
    for path, [(logits_ne, _, ids_nk)] in seen.items():
        assert logits_ne.shape[-1] == 8 + 4
        assert 0 < int((ids_nk >= 8).sum()) < ids_nk.numel(), path


def test_deepseek_v4_looks_the_experts_of_its_first_layer_up():
    found, seen, _ = untouched("deepseek_v4")
    tables = {path: router.tid2eid for path, router in routers(found.model).items() if hasattr(router, "tid2eid")}
    assert list(tables) == ["model.layers.0.mlp.gate"]
    [table_vk] = tables.values()
    assert bool((table_vk[:, 0] != table_vk[:, 1]).all())
    assert len(table_vk.unique()) == 8
    read_nk = table_vk[found.inputs["input_ids"].flatten()]
    assert [torch.equal(output[2], read_nk) for [output] in seen.values()] == [True, False, False, False]


def test_phimoe_weighs_several_experts_but_not_all():
    _, seen, _ = untouched("phimoe")
    for path, [(logits_ne, weights_nk, _)] in seen.items():
        first_n, plain_n = weights_nk[:, 0], logits_ne.softmax(-1).amax(-1)
        assert bool((first_n < 0.999).any()), path
        assert bool((first_n > plain_n + 1e-3).any()), path


def test_layers_differ_where_a_family_allows_it():
    shapes = {name: [] for name in ("hunyuan_v1_moe", "dots3_note_vision")}
    for name, found in shapes.items():
        found.extend((output[0].shape[-1], output[2].shape[-1]) for [output] in untouched(name)[1].values())
    assert shapes["hunyuan_v1_moe"] == [(16, 3), (16, 2), (16, 3), (16, 2)]
    assert shapes["dots3_note_vision"] == [(8, 2), (12, 3), (8, 2)]
    assert [path.split(".")[2] for path in untouched("ernie4_5_moe")[1]] == ["1", "2", "3"]


def test_shared_experts_are_averaged_in_one_model_and_added_in_the_other():
    def strategy(name):
        config = untouched(name)[0].model.config
        return config.expert_selection_fn, config.shared_expert_combination_strategy, config.num_shared_experts

    assert strategy("cohere2_moe") == ("softmax", "average", 1)
    assert strategy("cohere2_moe_sigmoid") == ("sigmoid", "sum", 1)
