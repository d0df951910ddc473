"""Each family records what it executed: against its published formula, and against silencing experts one by one.

The formulas are written from the papers and model cards in numpy, on the router's own input; the ablation needs no
router code at all.
"""

import numpy as np
import pytest
import torch

from gatescope.hooks import CaptureOptions, capture

TEXT = "Routers pick 3 experts — für jedes Wort, каждый раз."
HALF = 1e-3  # weights are kept as float16


def softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def best(scores, k):
    return np.argsort(-scores, axis=-1, kind="stable")[:, :k]


def within_groups(scores, groups, kept, worth):
    """Scores with every expert outside the best `kept` groups ruled out; `worth` values a group."""
    grouped = scores.reshape(len(scores), groups, -1)
    keep = best(worth(grouped), kept)
    allowed = np.zeros((len(scores), groups), bool)
    np.put_along_axis(allowed, keep, True, axis=1)
    return np.where(allowed[:, :, None], grouped, -np.inf).reshape(scores.shape)


def softmax_then_top(z, config, *, renormalise):
    share = softmax(z)
    ids = best(share, config.num_experts_per_tok)
    weights = np.take_along_axis(share, ids, 1)
    return ids, weights / weights.sum(-1, keepdims=True) if renormalise else weights


def top_then_softmax(z, _bias, config):
    ids = best(z, config.num_experts_per_tok)
    return ids, softmax(np.take_along_axis(z, ids, 1))


def deepseek_v2(z, _bias, config):
    share = softmax(z)
    limited = within_groups(share, config.n_group, config.topk_group, lambda grouped: grouped.max(-1))
    ids = best(limited, config.num_experts_per_tok)
    return ids, np.take_along_axis(share, ids, 1) * config.routed_scaling_factor


def deepseek_v3(z, bias, config):
    share = sigmoid(z)
    limited = within_groups(
        share + bias, config.n_group, config.topk_group, lambda grouped: np.sort(grouped, -1)[..., -2:].sum(-1)
    )
    ids = best(limited, config.num_experts_per_tok)
    weights = np.take_along_axis(share, ids, 1)
    weights = weights / weights.sum(-1, keepdims=True) if config.norm_topk_prob else weights
    return ids, weights * config.routed_scaling_factor


FORMULAS = {
    "mixtral": lambda z, _bias, config: softmax_then_top(z, config, renormalise=True),
    "qwen2_moe": lambda z, _bias, config: softmax_then_top(z, config, renormalise=False),
    "qwen3_moe": lambda z, _bias, config: softmax_then_top(z, config, renormalise=True),
    "olmoe": lambda z, _bias, config: softmax_then_top(z, config, renormalise=False),
    "deepseek_v2": deepseek_v2,
    "deepseek_v3": deepseek_v3,
    "gpt_oss": top_then_softmax,
    "glm4_moe": deepseek_v3,
}


def dense(ids_nk, weight_nk, experts):
    """(tokens, experts) weights, 0 where an expert did not run: slot order plays no part."""
    dense_ne = np.zeros((len(ids_nk), experts))
    np.put_along_axis(dense_ne, ids_nk.astype(int), weight_nk.astype(float), axis=1)
    return dense_ne


def run_with_inputs(loaded, text):
    """A capture, and the input each router and each experts module had in it."""
    router_in, experts_in, handles = {}, {}, []
    for site in loaded.sites:
        handles.append(
            site.router.register_forward_pre_hook(lambda _m, a, layer=site.layer: router_in.update({layer: a[0]}))
        )
        handles.append(
            site.experts.register_forward_pre_hook(lambda _m, a, layer=site.layer: experts_in.update({layer: a[0]}))
        )
    record = capture(loaded, text, CaptureOptions(logits=True))
    for handle in handles:
        handle.remove()
    return record, router_in, experts_in


def test_ids_and_weights_follow_the_published_formula(loaded, family):
    record, router_in, _ = run_with_inputs(loaded, TEXT)
    for site in loaded.sites:
        x = router_in[site.layer].flatten(0, -2).double().numpy()
        z = x @ site.router.weight.detach().double().numpy().T
        if family == "gpt_oss":
            z = z + site.router.bias.detach().double().numpy()
        bias = getattr(site.router, "e_score_correction_bias", torch.zeros(site.options)).double().numpy()
        ids, weights = FORMULAS[family](z, bias, loaded.model.config)
        recorded = dense(record.ids_tlk[:, site.layer], record.weight_tlk[:, site.layer], site.options)
        np.testing.assert_allclose(recorded, dense(ids, weights, site.options), atol=2.5 * HALF)
        np.testing.assert_allclose(record.logit_tle[:, site.layer, : site.options], z, atol=5e-3, rtol=2e-3)


def test_silencing_an_expert_changes_exactly_its_tokens_by_the_recorded_weight(loaded):
    record, _, experts_in = run_with_inputs(loaded, TEXT)
    for site in (loaded.sites[0], loaded.sites[-1]):
        x = experts_in[site.layer].reshape(-1, experts_in[site.layer].shape[-1])
        recorded = dense(record.ids_tlk[:, site.layer], record.weight_tlk[:, site.layer], site.options)
        for expert in range(site.options):
            alone = alone_output(site.experts, x, expert)
            delta = experts_output(loaded, site) - experts_output(loaded, site, silent=expert)
            moved = np.abs(delta).max(-1) > 1e-6
            np.testing.assert_array_equal(moved, recorded[:, expert] > 0)
            weight = (delta * alone).sum(-1) / (alone * alone).sum(-1)
            np.testing.assert_allclose(weight, recorded[:, expert], atol=2.5 * HALF)


def alone_output(experts, x, expert):
    """What one expert makes of every token, at weight 1."""
    ids = torch.full((len(x), 1), expert)
    with torch.no_grad():
        return experts(x, ids, torch.ones(len(x), 1)).double().numpy()


def experts_output(loaded, site, silent=None):
    """The routed experts' output of one layer in a run of TEXT, one expert's down projection zeroed if asked."""
    seen = []
    handle = site.experts.register_forward_hook(lambda _m, _a, out: seen.append(out.detach().double().clone()))
    saved = {}
    for name in ("down_proj", "down_proj_bias"):
        tensor = getattr(site.experts, name, None)
        if silent is not None and tensor is not None:
            saved[name] = tensor.data[silent].clone()
            tensor.data[silent] = 0
    try:
        with torch.no_grad():
            loaded.model(torch.tensor([loaded.tokenizer(TEXT)["input_ids"]]))
    finally:
        handle.remove()
        for name, values in saved.items():
            getattr(site.experts, name).data[silent] = values
    return seen[0].reshape(-1, seen[0].shape[-1]).numpy()


def test_margin_and_first_rejected_expert_follow_from_the_selection_scores(loaded, family):
    record, router_in, _ = run_with_inputs(loaded, TEXT)
    config = loaded.model.config
    for site in loaded.sites:
        z = router_in[site.layer].flatten(0, -2).double().numpy() @ site.router.weight.detach().double().numpy().T
        scores = z + (site.router.bias.detach().double().numpy() if family == "gpt_oss" else 0)
        if family in ("deepseek_v3", "glm4_moe"):
            biased = sigmoid(z) + site.router.e_score_correction_bias.double().numpy()
            scores = within_groups(
                biased, config.n_group, config.topk_group, lambda g: np.sort(g, -1)[..., -2:].sum(-1)
            )
        if family == "deepseek_v2":
            scores = within_groups(z, config.n_group, config.topk_group, lambda g: g.max(-1))
        ranked = np.argsort(-scores, -1)
        kth, after = ranked[:, site.k - 1], ranked[:, site.k]
        rows = np.arange(len(z))
        np.testing.assert_array_equal(record.rejected_tl[:, site.layer], after)
        margin = scores[rows, kth] - scores[rows, after]
        np.testing.assert_allclose(record.margin_tl[:, site.layer], margin, atol=2e-3, rtol=2e-3)


def test_entropy_and_log_sum_exp_are_those_of_the_gate(loaded, family):
    record, _, _ = run_with_inputs(loaded, TEXT)
    for site in loaded.sites:
        z = record.logit_tle[:, site.layer, : site.options].astype(float)
        gate = sigmoid(z) / sigmoid(z).sum(-1, keepdims=True) if family in ("deepseek_v3", "glm4_moe") else softmax(z)
        np.testing.assert_allclose(record.entropy_tl[:, site.layer], -(gate * np.log(gate)).sum(-1), atol=1e-2)
        np.testing.assert_allclose(record.lse_tl[:, site.layer], np.log(np.exp(z).sum(-1)), atol=1e-2)


def test_the_rule_is_learnt_from_behaviour(loaded, family):
    rule = loaded.layers[-1]
    config = loaded.model.config
    expected = {
        "mixtral": ("softmax", True, 1.0, 1, False, 0),
        "qwen2_moe": ("softmax", False, 1.0, 1, False, 1),
        "qwen3_moe": ("softmax", True, 1.0, 1, False, 0),
        "olmoe": ("softmax", False, 1.0, 1, False, 0),
        "deepseek_v2": ("softmax", False, 2.5, 4, False, 1),
        "deepseek_v3": ("sigmoid", True, 2.5, 4, True, 1),
        "gpt_oss": ("softmax", True, 1.0, 1, False, 0),
        "glm4_moe": ("sigmoid", bool(config.norm_topk_prob) if family == "glm4_moe" else True, 2.5, 4, True, 1),
    }[family]
    found = (rule.score, rule.is_renormalised, rule.scale, rule.groups, rule.has_selection_bias, rule.shared_experts)
    assert found == expected
    assert rule.block == 2


def test_selfcheck_passes_and_carries_figures(loaded):
    assert loaded.selfcheck.passed, loaded.selfcheck
    assert [check.name for check in loaded.selfcheck.checks] == ["routers", "weights", "choice", "repeatable", "causal"]
    assert all(any(letter.isdigit() for letter in check.detail) for check in loaded.selfcheck.checks)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_record_what_single_prompts_record(loaded, side):
    from gatescope.hooks import capture_batch

    texts = ["Short.", TEXT, "A text of middling length"]
    together = capture_batch(loaded, texts, padding_side=side)
    for number, text in enumerate(texts):
        single, batched = capture(loaded, text), together.take(together.document_t == number)
        np.testing.assert_array_equal(batched.token_t, single.token_t)
        np.testing.assert_array_equal(batched.position_t, single.position_t)
        np.testing.assert_array_equal(np.sort(batched.ids_tlk, -1), np.sort(single.ids_tlk, -1))
        np.testing.assert_allclose(batched.weight_tlk, single.weight_tlk, atol=HALF)
        np.testing.assert_allclose(batched.loss_t, single.loss_t, atol=1e-4)


def test_generated_tokens_are_those_of_generate_and_route_as_if_they_had_been_read(loaded):
    prompt = "The router"
    record = capture(loaded, prompt, CaptureOptions(max_new_tokens=8))
    ids = torch.tensor([loaded.tokenizer(prompt)["input_ids"]])
    reference = loaded.model.generate(ids, max_new_tokens=8, do_sample=False)[0]
    ends = reference.tolist().index(257) if 257 in reference.tolist() else len(reference)
    np.testing.assert_array_equal(record.token_t, reference[:ends])
    with torch.no_grad():
        logits = loaded.model(reference[None, :ends]).logits[0].log_softmax(-1)
    nats = -logits[:-1].gather(1, reference[1:ends, None])[:, 0]
    np.testing.assert_allclose(record.loss_t[: ends - 1], nats, atol=1e-3)
    assert (record.flag_t[: ids.shape[1]] & 4).sum() == 0
    assert (record.flag_t[ids.shape[1] :] == 4).all()
