"""A model without one expert: its loss is that of the same model whose expert answers nothing."""

import copy

import numpy as np
import pytest
import torch

from gatescope.hooks import load_model
from gatescope.hooks.interventions.ablation import MOST_TOKENS, losses_without
from gatescope.routing.errors import CaptureCancelledError

TEXTS = ["The bank raised its rates while a heron slept on the river bank.", "def f(x):\n    return x + 1\n"]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(str(tiny_model), dtype="float32")


def loss_of(network, tokenizer, text):
    """The model's own loss, summed, without any hook of ours changing a thing."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])[:, :MOST_TOKENS]
    with torch.no_grad():
        return float(network(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)


def test_the_first_row_is_the_model_as_it_is(model):
    loss_xd, tokens_d = losses_without(model, TEXTS, 0, [])
    assert loss_xd.shape == (1, 2)
    assert loss_xd[0].tolist() == pytest.approx(
        [loss_of(model.model, model.tokenizer, text) for text in TEXTS], rel=1e-5
    )
    assert tokens_d.tolist() == [len(model.tokenizer(text)["input_ids"]) - 1 for text in TEXTS]


@pytest.mark.parametrize("layer", [0, 1])
def test_without_an_expert_is_with_one_that_answers_nothing(model, layer):
    experts = [0, 3, 5]
    loss_xd, _ = losses_without(model, TEXTS, layer, experts)
    for row, expert in enumerate(experts, start=1):
        other = copy.deepcopy(model.model)
        with torch.no_grad():
            other.model.layers[layer].mlp.experts.down_proj[expert].zero_()
        expected = [loss_of(other, model.tokenizer, text) for text in TEXTS]
        assert loss_xd[row].tolist() == pytest.approx(expected, rel=1e-5)
    assert np.ptp(loss_xd, axis=0).min() > 1e-4, "it makes a difference"


def test_nothing_is_left_behind(model):
    before = loss_of(model.model, model.tokenizer, TEXTS[0])
    losses_without(model, TEXTS, 1, [2])
    assert loss_of(model.model, model.tokenizer, TEXTS[0]) == before


def test_it_counts_its_passes_and_stops_when_told(model):
    heard = []

    def tick(done, total):
        heard.append((done, total))
        if done == 3:
            raise CaptureCancelledError("stop", expected="a watcher", do="press again")

    with pytest.raises(CaptureCancelledError):
        losses_without(model, TEXTS, 0, [1, 2], on_progress=tick)
    assert heard == [(0, 6), (1, 6), (2, 6), (3, 6)]
