"""The independent truths agree with one another on every family.

The formulas know the routers' rules; the ablation knows nothing but what experts answer. Where both say the same, a
recording can be held against them.
"""

from functools import cache

import numpy as np
import pytest
import torch

from tests.hooks import zoo
from tests.hooks.ablation import Contribution, contributions, output_factor
from tests.hooks.conformance import TIE
from tests.hooks.formulas import FORMULAS, Layer, array, expected
from tests.hooks.gates import best_pair_of_group, sigmoid, softmax

AGREE = 2e-4
SILENT = ("openai_privacy_filter", "diffusion_gemma", "dots3_note_vision")
"""Families that offer no `router_logits`."""

NO_FACTOR = {
    "axk1": "the block ends in a norm",
    "gemma4": "the layer norms what the experts answer",
    "diffusion_gemma": "the layer norms what the experts answer",
    "muse_spark": "the block projects what the experts answer",
    "llama4": "every expert answers every token",
    "jetmoe": "the block is the experts",
    "doge": "the block is the experts",
}
"""Families whose block does not multiply its experts' output by a number."""


@cache
def specimen(name: str) -> zoo.Specimen:
    return zoo.specimen(name)


@cache
def formula(name: str) -> list[Layer]:
    return expected(name, specimen(name).model, specimen(name).inputs)


@cache
def ablation(name: str) -> list[Contribution]:
    return contributions(specimen(name).model, specimen(name).inputs)


def pairs(name: str) -> list[tuple[Layer, Contribution]]:
    """Each measured module with the layer that is expected of it; both are in the order they run."""
    waiting: dict[str, list[Layer]] = {}
    for layer in formula(name):
        waiting.setdefault(layer.experts_path, []).append(layer)
    return [(waiting[found.path].pop(0), found) for found in ablation(name)]


@pytest.fixture(params=zoo.cases())
def name(request):
    return request.param


def test_every_family_has_a_formula_and_every_formula_a_family():
    assert set(zoo.ENTRIES) == set(FORMULAS)
    assert len(zoo.ENTRIES) == 75


def test_every_layer_is_measured_except_the_attention_of_jetmoe(name):
    measured = [layer for layer in formula(name) if "self_attention" not in layer.router_path]
    assert [layer.experts_path for layer in measured] == [found.path for found in ablation(name)]
    assert len(measured) == len(formula(name)) or (name == "jetmoe" and len(formula(name)) == 2 * len(measured))


@pytest.mark.parametrize("name", zoo.cases(without=["nllb_moe"]))
def test_formula_and_ablation_agree(name):
    for layer, found in pairs(name):
        handed_ne = layer.dense_ne / layer.after
        experts = found.dense_ne.shape[1]
        assert found.misfit < 1e-5, found.path
        assert not found.unseen_ne.any(), found.path
        assert (layer.margin_n > TIE).all(), found.path
        np.testing.assert_array_equal(found.dense_ne != 0, handed_ne[:, :experts] != 0, err_msg=found.path)
        np.testing.assert_allclose(found.dense_ne, handed_ne[:, :experts], rtol=AGREE, err_msg=found.path)
        if found.identity_n is None:
            assert experts == handed_ne.shape[1]
        else:
            np.testing.assert_allclose(found.identity_n, handed_ne[:, experts:].sum(-1), rtol=AGREE, atol=1e-5)


@pytest.mark.parametrize(("name", "others_run"), [("axk2", True), ("deepseek_v3", False)])
def test_where_all_scores_are_negative_a_zero_for_the_other_groups_lets_them_win(name, others_run):
    """Which of them is then a tie, so the formula says no more than that; ablation says where the choice fell."""
    changed = zoo.specimen(name)
    with torch.no_grad():
        for path, values in changed.model.named_buffers():
            if path.endswith("e_score_correction_bias"):
                values -= 3
    layers = expected(name, changed.model, changed.inputs)
    for layer, found in zip(layers, contributions(changed.model, changed.inputs), strict=True):
        bias_e = array(changed.model.get_submodule(layer.router_path).e_score_correction_bias)
        groups = changed.model.config.n_group
        worth_ng = best_pair_of_group((sigmoid(layer.logits_ne) + bias_e).reshape(len(layer.logits_ne), groups, -1))
        allowed_ng = worth_ng >= np.sort(worth_ng, -1)[:, [-changed.model.config.topk_group]]
        ran_ngm = (found.dense_ne != 0).reshape(*worth_ng.shape, -1)
        assert (ran_ngm.any(-1) <= (allowed_ng != others_run)).all()
        assert (layer.margin_n == 0).all() == others_run
        if not others_run:
            np.testing.assert_allclose(found.dense_ne, layer.dense_ne, rtol=AGREE)


def test_switch_counts_the_capacity_of_each_sequence_by_itself():
    """Of two equal sequences the second finds its experts as free as the first."""
    model = specimen("switch_transformers").model
    given = specimen("switch_transformers").inputs.items()
    inputs = {name: value[[0, 0]] if torch.is_tensor(value) else value for name, value in given}
    layers = expected("switch_transformers", model, inputs)
    for layer, found in zip(layers, contributions(model, inputs), strict=True):
        first_ne, second_ne = np.split(found.dense_ne, 2)
        np.testing.assert_allclose(first_ne, second_ne, rtol=1e-4)
        np.testing.assert_allclose(found.dense_ne, layer.dense_ne, rtol=AGREE)
        assert (first_ne.sum(-1) == 0).any()


def test_nllb_runs_expert_1_for_every_first_choice_and_expert_0_for_every_second():
    """A fault of transformers 5.23: the router's choice is right by the formula, its experts take 0 and 1 for ids."""
    kept = 1 - specimen("nllb_moe").model.config.moe_token_dropout
    for layer, found in pairs("nllb_moe"):
        assert found.misfit < 1e-5
        first_n = layer.dense_ne[np.arange(len(layer.dense_ne)), layer.logits_ne.argmax(-1)]
        faulty_ne = np.zeros(layer.dense_ne.shape)
        faulty_ne[:, 1], faulty_ne[:, 0] = first_n, layer.dense_ne.sum(-1) - first_n
        np.testing.assert_allclose(found.dense_ne, faulty_ne * kept, rtol=AGREE, atol=1e-6)
        assert ((found.dense_ne != 0) != (layer.dense_ne != 0)).any(-1).mean() > 0.5


def test_the_factor_after_the_experts_is_the_measured_one(name):
    layer, found = pairs(name)[0]
    factor = output_factor(specimen(name).model, specimen(name).inputs, found.path)
    if name in NO_FACTOR:
        assert factor is None
    else:
        np.testing.assert_allclose(factor, layer.after, rtol=1e-5)


def test_the_logits_are_those_the_model_reports(name):
    with torch.no_grad():
        output = specimen(name).model(**specimen(name).inputs, output_router_logits=True)
    reported = [
        scores.double().numpy()
        for key in ("router_logits", "encoder_router_logits", "decoder_router_logits")
        for scores in getattr(output, key, None) or ()
    ]
    assert bool(reported) == (name not in SILENT)
    if name == "doge":  # the keys of rows and columns, not their sums
        reported = [keys_2nq[0][:, :, None] + keys_2nq[1][:, None, :] for keys_2nq in reported]
    if reported:
        should = as_reported(name, formula(name))
        assert len(reported) == len(should)
        for scores, layer_ne in zip(reported, should, strict=True):
            least = AGREE * np.abs(layer_ne).max()
            np.testing.assert_allclose(scores.reshape(layer_ne.shape), layer_ne, rtol=0, atol=least)


def as_reported(name: str, layers: list[Layer]) -> list[np.ndarray]:
    """The expected logits in the form a family reports them: a few families have their own."""
    logits = [layer.logits_ne for layer in layers]
    if name == "gemma4":  # probabilities
        return [softmax(layer_ne) for layer_ne in logits]
    if name == "deepseek_v4":  # layers that look their experts up are left out
        return [layer.logits_ne for layer in layers if not layer.may_repeat]
    if name == "jetmoe":  # the attention's router twice
        return [layer.logits_ne for layer in layers for _ in range(1 + ("self_attention" in layer.router_path))]
    if name == "ernie4_5_vl_moe":  # text and image tokens in their places
        return [merged(text, seen) for text, seen in zip(layers[::2], layers[1::2], strict=True)]
    return logits


def merged(text: Layer, seen: Layer) -> np.ndarray:
    both_ne = np.zeros((len(text.rows_n) + len(seen.rows_n), text.logits_ne.shape[1]))
    both_ne[text.rows_n], both_ne[seen.rows_n] = text.logits_ne, seen.logits_ne
    return both_ne
