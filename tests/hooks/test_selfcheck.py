"""The self-check and the search fail where they should: each defect is planted in a working model and must be seen."""

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.hooks import attach, capture
from gatescope.routing.errors import DenseModelError, RouterOutputError


def failed(loaded):
    return [check.name for check in loaded.selfcheck.checks if not check.passed]


def replace_forward(module, forward):
    """Give one module's class another forward, for this instance only."""
    module.__class__ = type("Odd" + type(module).__name__, (type(module),), {"forward": forward})


def test_weights_of_an_unknown_formula_are_recorded_and_said(make_tiny, tokenizer):
    model = make_tiny("mixtral")
    usual = type(model.model.layers[1].mlp.gate).forward

    def odd(self, hidden):
        logits, weights, ids = usual(self, hidden)
        return logits, weights**3, ids

    replace_forward(model.model.layers[1].mlp.gate, odd)
    loaded = attach(model, tokenizer, name="odd")
    assert failed(loaded) == ["weights"]
    assert [rule.score for rule in loaded.layers] == ["softmax", "unknown", "softmax"]
    record = capture(loaded, "some text")
    assert np.isnan(record.entropy_tl[:, 1]).all() and np.isfinite(record.entropy_tl[:, [0, 2]]).all()
    assert np.isfinite(record.margin_tl).all(), "the choice follows a known rule all the same"
    assert (record.weight_tlk[:, 1].sum(-1) < 0.99).any(), "the executed weights, not the family's usual ones"


def test_a_choice_by_an_unknown_rule_is_recorded_and_said(make_tiny, tokenizer):
    model = make_tiny("mixtral")

    def contrary(self, hidden):
        logits = torch.nn.functional.linear(hidden.flatten(0, -2), self.weight)
        weights, ids = logits.softmax(-1).topk(2, largest=False)
        return logits, weights / weights.sum(-1, keepdim=True), ids

    replace_forward(model.model.layers[0].mlp.gate, contrary)
    loaded = attach(model, tokenizer, name="contrary")
    assert failed(loaded) == ["choice"]
    record = capture(loaded, "some text")
    assert np.isnan(record.margin_tl[:, 0]).all() and (record.rejected_tl[:, 0] == record.empty).all()
    assert np.isfinite(record.margin_tl[:, 1:]).all()


def test_weights_two_percent_off_are_noticed(make_tiny, tokenizer):
    model = make_tiny("olmoe")
    usual = type(model.model.layers[0].mlp.gate).forward

    def odd(self, hidden):
        logits, weights, ids = usual(self, hidden)
        factor = 1 + 0.02 * (torch.arange(len(ids)) % 2)[:, None]
        return logits, weights * factor, ids

    replace_forward(model.model.layers[0].mlp.gate, odd)
    assert "weights" in failed(attach(model, tokenizer, name="odd"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 2.446, 16.0])
def test_the_scale_of_the_weights_is_measured(make_tiny, tokenizer, scale, dtype):
    loaded = attach(make_tiny("deepseek_v3", routed_scaling_factor=scale).to(dtype), tokenizer, name="scaled")
    assert failed(loaded) == []
    assert {rule.scale for rule in loaded.layers} == {scale}


def test_a_scale_that_nobody_states_is_measured_too(make_tiny, tokenizer):
    model = make_tiny("mixtral")
    usual = type(model.model.layers[0].mlp.gate).forward

    def tripled(self, hidden):
        logits, weights, ids = usual(self, hidden)
        return logits, 3.3 * weights, ids

    replace_forward(model.model.layers[0].mlp.gate, tripled)
    loaded = attach(model, tokenizer, name="tripled")
    assert failed(loaded) == []
    assert [round(rule.scale, 4) for rule in loaded.layers] == [3.3, 1.0, 1.0]


def test_experts_that_ignore_their_routes_fail_the_causal_check(make_tiny, tokenizer):
    model = make_tiny("qwen3_moe")
    usual = type(model.model.layers[2].mlp.experts).forward

    def deaf(self, hidden_states, top_k_index, top_k_weights):
        same = torch.zeros_like(top_k_index) + torch.arange(top_k_index.shape[1])
        return usual(self, hidden_states, same, torch.ones_like(top_k_weights))

    replace_forward(model.model.layers[2].mlp.experts, deaf)
    assert failed(attach(model, tokenizer, name="deaf")) == ["causal"]


def test_a_router_that_draws_at_random_is_not_repeatable(make_tiny, tokenizer):
    model = make_tiny("mixtral")
    usual = type(model.model.layers[0].mlp.gate).forward

    def drunk(self, hidden):
        return usual(self, hidden + torch.randn_like(hidden))

    replace_forward(model.model.layers[0].mlp.gate, drunk)
    assert "repeatable" in failed(attach(model, tokenizer, name="drunk"))


class Plain(nn.Module):
    """A model of no known family around some blocks."""

    def __init__(self, *blocks):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.layers = nn.ModuleList(blocks)

    def forward(self, ids):
        hidden = self.embed(ids)[0]
        for block in self.layers:
            hidden = block(hidden)
        return hidden


class Experts(nn.Module):
    """The common contract of experts modules."""

    def forward(self, hidden, top_k_index, top_k_weights):  # noqa: ARG002 - experts are known by this name
        return hidden * top_k_weights.float().sum(-1, keepdim=True)


class Block(nn.Module):
    """An MoE block of a family nobody has seen: the router has an unusual name and returns what it likes."""

    def __init__(self, answer):
        super().__init__()
        self.dispatcher, self.experts = nn.Linear(8, 4), Experts()
        self.answer = answer

    def forward(self, hidden):
        return self.experts(hidden, *self.answer(self.dispatcher(hidden)))


def search(model):
    from gatescope.hooks.discovery.find import find_sites

    return find_sites(model, lambda: model(torch.tensor([[1, 2, 3, 4, 5]]))).sites


def choose(logits):
    best = logits.softmax(-1).topk(2)
    return best.indices, best.values


def test_a_family_nobody_has_seen_is_found_by_what_its_modules_do():
    sites = search(Plain(nn.Linear(8, 8), Block(choose), Block(choose)))
    assert [(site.router_path, site.experts_path) for site in sites] == [
        ("layers.1.dispatcher", "layers.1.experts"),
        ("layers.2.dispatcher", "layers.2.experts"),
    ]
    assert [(site.layer, site.block, site.options, site.k) for site in sites] == [(0, 1, 4, 2), (1, 2, 4, 2)]


def test_an_encoder_without_a_decoder_is_the_stack_that_reads_the_text():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Plain(Block(choose))

        def forward(self, ids):
            return self.encoder(ids)

    assert [(site.stack, site.experts_path) for site in search(Encoder())] == [("decoder", "encoder.layers.0.experts")]


def test_experts_called_with_a_mask_are_refused_with_what_they_got():
    with pytest.raises(RouterOutputError, match=r"layers.0.experts was called with ids torch.float32 \(5, 4\)"):
        search(Plain(Block(lambda logits: (logits.softmax(-1), logits))))


def test_experts_whose_router_is_nowhere_are_refused_by_name():
    fixed = (torch.tensor([[0, 1]] * 5), torch.ones(5, 2))
    with pytest.raises(RouterOutputError, match="no module near it returned them"):
        search(Plain(Block(lambda _logits: fixed)))


def test_experts_that_never_run_are_not_passed_over():
    class Lazy(Block):
        def forward(self, hidden):
            return hidden

    with pytest.raises(
        RouterOutputError, match=r"1 of 2 experts modules were never called, the first is layers.1.experts"
    ):
        search(Plain(Block(choose), Lazy(choose)))


def test_a_model_without_experts_is_dense():
    with pytest.raises(DenseModelError, match="dense: no router found in Plain"):
        search(Plain(nn.Linear(8, 8)))
