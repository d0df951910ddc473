"""The routing formulas on numbers a reader can check: logits are logarithms of shares, or of odds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.hooks.formulas import Call, multiplied, softcapped
from tests.hooks.formulas import gemma4 as gemma4_routing
from tests.hooks.formulas import zaya as zaya_routing
from tests.hooks.gates import (
    Groups,
    best_of_group,
    best_pair_of_group,
    first_within_capacity,
    gap,
    gated,
    gelu,
    joint_with_shared,
    looked_up,
    product_keys,
    sigmoid,
    softmax,
    softmax_of_best,
    sparse_mixer,
    sqrt_softplus,
    two_within_capacity,
)


def shares(*values):
    """One token's logits whose softmax is these shares."""
    return np.log([values])


def chances(*values):
    """One token's logits whose sigmoids are these chances."""
    values = np.array([values])
    return np.log(values / (1 - values))


def check(routed, *weights):
    np.testing.assert_allclose(routed.dense_ne, np.reshape(weights, routed.dense_ne.shape), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("norm", "weights"), [(None, (0, 0, 0.3, 0.4)), (1, (0, 0, 3 / 7, 4 / 7)), (2, (0, 0, 0.6, 0.8))]
)
def test_the_best_two_by_softmax_as_they_are_summing_to_one_or_of_length_one(norm, weights):
    check(gated(shares(0.1, 0.2, 0.3, 0.4), 2, softmax, norm=norm), *weights)


def test_a_bias_moves_the_choice_and_not_the_weights():
    logits = chances(0.5, 0.75, 0.25, 0.8)
    check(gated(logits, 2, sigmoid, bias_e=np.array([0, 0, 1, 0]), scale=2.1), 0, 0, 0.5, 1.6)
    check(gated(logits, 2, sigmoid, norm=None), 0, 0.75, 0, 0.8)


def test_a_bias_on_the_logit_weighs_less_than_one_on_the_score():
    logits, bias_e = chances(0.5, 0.9, 0.95), np.array([0, 0.5, 0])  # logits 0, 2.2 and 2.9
    check(gated(logits, 1, sigmoid, bias_e=bias_e), 0, 1, 0)
    check(gated(logits, 1, sigmoid, bias_e=bias_e, by_logit=True, norm=None), 0, 0, 0.95)


def test_longcat_picks_by_biased_share_among_experts_and_the_identity_ones():
    check(
        gated(shares(0.4, 0.3, 0.2, 0.1), 2, softmax, bias_e=np.array([0, 0, 0, 0.5]), norm=None, scale=6),
        2.4,
        0,
        0,
        0.6,
    )


def test_groups_count_by_their_best_or_by_their_best_two():
    logits = shares(0.4, 0.05, 0.3, 0.25)
    check(gated(logits, 1, softmax, groups=Groups(2, 1, best_of_group), norm=None), 0.4, 0, 0, 0)
    check(gated(logits, 1, softmax, groups=Groups(2, 1, best_pair_of_group), norm=None), 0, 0, 0.3, 0)


def test_experts_ruled_out_with_a_zero_beat_negative_scores():
    logits, bias_e = chances(0.5, 0.8, 0.25, 0.25), np.array([-1.0, -1, -2, -1.5])  # -0.5, -0.2 against -1.75, -1.25
    check(gated(logits, 2, sigmoid, bias_e=bias_e, groups=Groups(2, 1, best_pair_of_group), norm=None), 0.5, 0.8, 0, 0)
    zero = Groups(2, 1, best_pair_of_group, others=0.0)
    check(gated(logits, 2, sigmoid, bias_e=bias_e, groups=zero, norm=None), 0, 0, 0.25, 0.25)


def test_a_small_sum_counts_as_the_least_one():
    check(gated(shares(0.1, 0.9), 1, softmax, bias_e=np.array([1, 0]), least=0.5), 0.2, 0)


def test_each_expert_may_have_a_scale_of_its_own():
    check(gated(shares(0.2, 0.3, 0.5), 2, softmax, scale=np.array([1, 8, 80])), 0, 3, 50)


def test_a_softmax_over_the_chosen_logits_alone():
    check(softmax_of_best(shares(0.1, 0.2, 0.3, 0.4), 2), 0, 0, 3 / 7, 4 / 7)


def test_a_table_that_names_one_expert_twice_gives_it_both_shares():
    logits = np.log(np.expm1([[1.0, 4.0, 9.0]]))  # square roots of the softplus: 1, 2, 3
    check(looked_up(logits, np.array([[0, 1]]), sqrt_softplus, 1.5), 0.5, 1, 0)
    check(looked_up(logits, np.array([[2, 2]]), sqrt_softplus, 1.5), 0, 0, 1.5)


def test_shared_experts_take_part_in_the_sum():
    routed = joint_with_shared(chances(0.5, 0.75, 0.25, 0.5), 2, 1, np.array([0, 0, 1]), 3.0)
    check(routed, 0, 1.5, 0.5)
    np.testing.assert_allclose(routed.logits_ne, chances(0.5, 0.75, 0.25))


def test_the_sparse_mixer_masks_far_logits_and_weighs_the_two_apart():
    check(sparse_mixer(np.array([[4.0, 3.9, 1.0, 0.5]]), 0.1), 1 / (1 + np.exp(-0.1)), 1, 0, 0)
    near = np.exp(-0.2) / (np.exp(-0.2) + np.exp(-0.4))  # 3.8 and 3.6 are both within a tenth of 4 and of 3.8
    first = 1 / (1 + np.exp(-0.2) + np.exp(-0.4))
    check(sparse_mixer(np.array([[4.0, 3.8, 3.6, 0.5]]), 0.1), first, near, 0, 0)


def test_switch_drops_the_tokens_of_a_sequence_that_come_too_late():
    first, second = [0.7, 0.2, 0.1], [0.1, 0.6, 0.3]
    logits_bse = np.log([[first, first, second], [first, second, second]])
    check(first_within_capacity(logits_bse, 1), [[0.7, 0, 0], [0] * 3, [0, 0.6, 0], [0.7, 0, 0], [0, 0.6, 0], [0] * 3])


NLLB = np.log([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2]])  # first choices 0, 0, 1; second ones 1, 1, 2


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [[1, 0, 0], [0] * 3, [0, 7 / 9, 2 / 9]]),  # expert 0 takes token 0; expert 1 is full with token 2
        ({"capacity": 2}, [[5 / 8, 3 / 8, 0], [1, 0, 0], [0, 7 / 9, 2 / 9]]),
        ({"capacity": 2, "norm_first": True}, [[5 / 8, 3 / 8, 0], [6 / 9, 0, 0], [0, 7 / 9, 2 / 9]]),
        ({"by_importance": True}, [[0] * 3, [1, 0, 0], [0, 7 / 9, 2 / 9]]),  # token 1 is surer than token 0
        ({"real_n": np.array([True, True, False])}, [[5 / 8, 3 / 8, 0], [0] * 3, [0] * 3]),
    ],
)
def test_nllb_serves_first_choices_before_second_ones(options, weights):
    defaults = {"capacity": 1, "real_n": np.ones(3, bool), "norm_first": False, "by_importance": False}
    check(two_within_capacity(NLLB, **(defaults | options)), weights)


def test_product_keys_are_read_across_tokens():
    routed = product_keys(np.array([[1.0, 2, 3, 4], [5, 6, 7, 8]]), 2)
    np.testing.assert_array_equal(routed.logits_ne, [[1 + 5, 1 + 6, 2 + 5, 2 + 6], [3 + 7, 3 + 8, 4 + 7, 4 + 8]])
    tied = np.exp(1) / (1 + np.exp(1))
    check(routed, [[0, 1 - tied, 0, tied], [0, 1 - tied, 0, tied]])
    np.testing.assert_array_equal(routed.margin_n, [0, 0])


def test_the_margin_is_the_gap_at_the_edge_of_the_choice_and_between_the_groups():
    np.testing.assert_allclose(gap(np.array([[0.4, 0.1, 0.3]]), 1), 0.1)
    np.testing.assert_array_equal(gap(np.array([[0.4, -np.inf, 0.3], [1, 2, 3]]), 2), [np.inf, 1])
    routed = gated(shares(0.4, 0.05, 0.3, 0.25), 1, softmax, groups=Groups(2, 1, best_pair_of_group))
    np.testing.assert_allclose(routed.margin_n, 0.05)  # 0.3 - 0.25; the groups are 0.1 apart
    routed = gated(shares(0.4, 0.05, 0.3, 0.25), 2, softmax, groups=Groups(2, 1, best_pair_of_group))
    np.testing.assert_allclose(routed.margin_n, 0.1)


def test_logits_are_capped_or_multiplied_before_they_are_used():
    call = SimpleNamespace(config=SimpleNamespace(moe_router_logit_softcapping=2.0, output_multiplier=3.0))
    np.testing.assert_allclose(softcapped(call, np.array([2 * np.arctanh(0.5), 100.0])), [1, 2])
    np.testing.assert_allclose(multiplied(call, np.array([1.5])), [4.5])


def test_gemma_norms_its_input_and_scales_each_expert():
    router, config = nn.Module(), SimpleNamespace(rms_norm_eps=0.0, top_k_experts=2)
    router.proj = nn.Linear(2, 3, bias=False)
    router.proj.weight.data = torch.tensor([[np.log(2) / 0.6, 0], [0, 0], [0, np.log(3) / 0.8]]).double()
    router.scale, router.per_expert_scale = torch.ones(2), torch.tensor([10.0, 1, 100])
    x = torch.tensor([[3.0, 4.0]])  # over its length 5: 0.6 and 0.8
    routed = gemma4_routing(Call("layers.0.router", router, nn.Module(), config, (x,)))
    np.testing.assert_allclose(routed.logits_ne, np.log([[2, 1, 3]]), atol=1e-12)
    check(routed, 4, 0, 60)


@pytest.mark.parametrize(("bias", "weights"), [((0, 0.1, 0), (0, 1 / 3)), ((0, 0, 0.1), (0, 0))])
def test_zaya_skips_the_layer_where_its_last_class_wins(bias, weights):
    router, config = nn.Module(), SimpleNamespace(rms_norm_eps=1e-6, num_experts_per_tok=1)
    router.down_proj, router.router_mlp = nn.Linear(2, 2), nn.Module()
    router.router_mlp.norm = nn.RMSNorm(2)
    router.router_mlp.fc1, router.router_mlp.fc2 = nn.Linear(2, 2), nn.Linear(2, 2)
    router.router_mlp.out_proj = nn.Linear(2, 3, bias=False)
    router.router_mlp.out_proj.weight.data.zero_()  # the three classes share alike, the bias decides
    router.balancing_biases = torch.tensor(bias)
    call = Call("layers.0.gate", router, nn.Module(), config, (torch.ones(1, 1, 2), None))
    check(zaya_routing(call), *weights)


def test_gelu_is_the_number_times_the_normal_distribution_there():
    np.testing.assert_allclose(gelu(np.array([0, 1, -2])), [0, 0.8413447460685429, -2 * 0.022750131948179195])
