"""The numbers a sink makes of a pass, worked out by hand, whatever was reduced together and when."""

from math import log

import numpy as np
import pytest
import torch

from gatescope.hooks.discovery.formulas.selection import Selector
from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.recording.sink import RouteSink
from gatescope.routing.errors import RouterOutputError
from gatescope.routing.router import RouterRule

HALF = 1e-3
KEEP_ALL = torch.ones(2, dtype=torch.bool)


def learnt(layer, score, experts, k, bias=None, **rule):
    bias_e = None if bias is None else torch.tensor(bias)
    rule = RouterRule(layer=layer, block=layer, module=f"layers.{layer}", experts=experts, k=k, score=score, **rule)
    return InferredRule(rule, Selector(score, bias_e), 0.0, 1.0)


LEARNT = [
    learnt(0, "softmax", 5, 2),
    learnt(1, "sigmoid", 3, 1, bias=[0.0, 0.5, 0.0]),
    learnt(2, "sigmoid", 3, 1, bias=[0.0, 0.0, 1.0]),
]
"""A softmax over five experts beside two sigmoids that differ in their bias alone."""

SHARES = torch.tensor([8, 4, 2, 1, 1]) / 16
ODDS = torch.tensor([log(3), 0.0, -log(3)])  # sigmoids of ¾, ½ and ¼


def routes():
    """Two tokens, the second with the first one's scores in reverse; slots not in the order of the weights."""
    wide_ne = torch.stack([SHARES.log(), SHARES.flip(0).log()])
    odds_ne = torch.stack([ODDS, ODDS.flip(0)])
    return [
        Routes(wide_ne, torch.tensor([[1, 0], [4, 3]]), torch.tensor([[0.25, 0.5], [0.5, 0.25]])),
        Routes(odds_ne, torch.tensor([[1], [1]]), torch.tensor([[0.5], [0.5]])),
        Routes(odds_ne, torch.tensor([[2], [2]]), torch.tensor([[0.25], [0.75]])),
    ]


def flushed(given, keep_n=KEEP_ALL, *, then=None, **kept):
    """The arrays of one pass; `then` runs between the pass and the flush."""
    sink = RouteSink(LEARNT, **kept)
    for layer, one in enumerate(given):
        sink.layer(layer, one)
    if then is not None:
        then()
    return sink.flush(keep_n)


def test_every_number_is_the_one_worked_out_by_hand():
    arrays = flushed(routes(), logits=True)
    assert arrays["ids_tlk"].tolist() == [[[0, 1], [1, 255], [2, 255]], [[4, 3], [1, 255], [2, 255]]]
    assert arrays["weight_tlk"].tolist() == [[[0.5, 0.25], [0.5, 0], [0.25, 0]], [[0.5, 0.25], [0.5, 0], [0.75, 0]]]
    assert arrays["rejected_tl"].tolist() == [[2, 0, 0], [2, 2, 1]]
    # selection scores: logits apart by a factor 2; ¾ 1 ¼ and ¼ 1 ¾; ¾ ½ 1¼ and ¼ ½ 1¾
    np.testing.assert_allclose(arrays["margin_tl"], [[log(2), 0.25, 0.5], [log(2), 0.25, 1.25]], atol=HALF)
    # bits of the shares 1/2 1/4 1/8 1/16 1/16; sigmoids made to sum to 1 are 1/2 1/3 1/6
    nats = [1.875 * log(2), log(2) / 2 + log(3) / 3 + log(6) / 6]
    np.testing.assert_allclose(arrays["entropy_tl"], [[nats[0], nats[1], nats[1]]] * 2, atol=HALF)
    np.testing.assert_allclose(arrays["lse_tl"], [[0, log(13 / 3), log(13 / 3)]] * 2, atol=HALF)
    np.testing.assert_allclose(arrays["logit_tle"][1, 0], SHARES.flip(0).log(), atol=2 * HALF)
    np.testing.assert_allclose(arrays["logit_tle"][0, 1], [log(3), 0, -log(3), np.nan, np.nan], atol=HALF)


@pytest.mark.parametrize("logits", [False, True])
def test_reducing_early_changes_nothing(monkeypatch, logits):
    late = flushed(routes(), logits=logits)
    monkeypatch.setattr("gatescope.hooks.recording.sink.HELD", 0)
    early = flushed(routes(), logits=logits)
    assert late.keys() == early.keys()
    for name, array in late.items():
        np.testing.assert_array_equal(early[name], array)


def test_rows_that_are_padding_are_left_out():
    whole, kept = flushed(routes(), logits=True), flushed(routes(), torch.tensor([False, True]), logits=True)
    for name, array in whole.items():
        np.testing.assert_array_equal(kept[name], array[1:])


def test_a_layer_that_saw_some_of_the_tokens_leaves_the_others_empty():
    first, *others = routes()
    seen = Routes(*(one[1:] for one in first[:3]), torch.tensor([2]))
    longer = [Routes(*(torch.cat([one, one[:1]]) for one in other[:3])) for other in others]
    arrays = flushed([seen, *longer], torch.tensor([True, False, True]))
    assert arrays["ids_tlk"][:, 0].tolist() == [[255, 255], [4, 3]]
    assert arrays["weight_tlk"][:, 0].tolist() == [[0, 0], [0.5, 0.25]]
    assert arrays["rejected_tl"].tolist() == [[255, 0, 0], [2, 0, 0]]
    assert np.isnan(arrays["lse_tl"][:, 0]).tolist() == [True, False]


def test_a_layer_that_saw_no_token_is_empty():
    first, *others = routes()
    arrays = flushed([Routes(*(one[:0] for one in first[:3]), torch.tensor([], dtype=torch.long)), *others])
    assert (arrays["ids_tlk"][:, 0] == 255).all()
    np.testing.assert_array_equal(arrays["ids_tlk"][:, 1:], flushed(routes())["ids_tlk"][:, 1:])


def test_routing_written_over_after_its_layer_ran_is_refused():
    given = routes()
    with pytest.raises(RouterOutputError, match=r"layer 1 .* overwritten"):
        flushed(given, then=lambda: given[1].weights_nk.mul_(2))


def test_in_inference_mode_where_writing_leaves_no_trace_the_numbers_are_those_of_the_layer():
    with torch.inference_mode():
        given = routes()
        arrays = flushed(given, then=lambda: given[1].weights_nk.mul_(2))
    assert arrays["weight_tlk"][:, 1, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(weight):
    given = routes()
    given[2].weights_nk[1] = weight
    with pytest.raises(RouterOutputError, match=r"layer 2 \(layers.2\) gave token 1"):
        flushed(given)


def test_a_layer_runs_exactly_once_in_a_pass():
    given = routes()
    sink = RouteSink(LEARNT)
    sink.layer(0, given[0])
    with pytest.raises(RouterOutputError, match=r"layer 0 .* ran twice"):
        sink.layer(0, given[0])
    with pytest.raises(RouterOutputError, match=r"layer 1 .* did not run"):
        sink.flush(KEEP_ALL)
    sink.clear()
    assert sink.rows("decoder") == 0


def of_passes(passes, together, **kept):
    """The arrays of several passes, in a sink that reduces so many of them together."""
    sink = RouteSink(LEARNT, passes=together, **kept)
    found = []
    for given, keep_n in passes:
        for layer, one in enumerate(given):
            sink.layer(layer, one)
        found.append(sink.flush(keep_n))
    sink.settle()
    return found


def drawn(rows, seed):
    """What three layers did with some rows, at random."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for one in routes():
        options, k = one.logits_ne.shape[1], one.ids_nk.shape[1]
        logits_ne = torch.randn(rows, options, generator=generator)
        weights_nk, ids_nk = logits_ne.softmax(-1).topk(k)
        made.append(Routes(logits_ne, ids_nk, weights_nk))
    return made


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("together", [2, 3, 64])
def test_passes_reduced_together_are_what_each_is_alone(together, logits):
    sizes = [5, 1, 1, 1, 1, 2, 1, 1]  # a prompt, then tokens of one text, or of two
    passes = [(drawn(rows, seed), torch.ones(rows, dtype=torch.bool)) for seed, rows in enumerate(sizes)]
    passes[5] = passes[5][0], torch.tensor([False, True])
    alone, merged = (of_passes(passes, number, logits=logits) for number in (1, together))
    for one, other in zip(alone, merged, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_what_a_pass_overwrites_afterwards_does_not_reach_those_that_wait():
    given = [drawn(1, seed) for seed in range(2)]
    kept = [[one._replace(logits_ne=one.logits_ne.clone()) for one in each] for each in given]
    sink, found = RouteSink(LEARNT, passes=8), []
    for each in given:
        for layer, one in enumerate(each):
            sink.layer(layer, one)
        found.append(sink.flush(torch.ones(1, dtype=torch.bool)))
        for one in each:  # a captured graph writes the next pass into the same memory
            one.logits_ne.fill_(7.0)
    sink.settle()
    expected = of_passes([(each, torch.ones(1, dtype=torch.bool)) for each in kept], 1)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["entropy_tl"], other["entropy_tl"])


def test_passes_that_wait_are_bounded_by_what_they_hold(monkeypatch):
    monkeypatch.setattr("gatescope.hooks.recording.sink.HELD", 100)
    sink = RouteSink(LEARNT, passes=10**6)
    most = 0
    for seed in range(40):
        for layer, one in enumerate(drawn(1, seed)):
            sink.layer(layer, one)
        sink.flush(torch.ones(1, dtype=torch.bool))
        most = max(most, sink._waiting_size)
    assert most <= 100


def test_a_number_that_is_none_is_named_with_its_own_pass():
    bad = drawn(2, 1)
    bad[1].weights_nk[1, 0] = float("nan")
    passes = [(drawn(2, 0), KEEP_ALL), (bad, KEEP_ALL)]
    with pytest.raises(RouterOutputError, match=r"layer 1 .* gave token 1 of this pass"):
        of_passes(passes, 8)
