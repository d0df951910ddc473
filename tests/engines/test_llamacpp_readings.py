"""What the callback copies of a tensor, and what the copied numbers mean, on tensors made by hand."""

import ctypes
import math
from pathlib import Path

import numpy as np
import pytest

from gatescope.engines.llamacpp.callback import native_callback
from gatescope.engines.llamacpp.header import Header
from gatescope.engines.llamacpp.readings import learn, routes
from gatescope.engines.llamacpp.structures import F16, F32, HEAD, I32, Tensor
from gatescope.engines.llamacpp.tape import Tape
from gatescope.routing.errors import RouterOutputError

CALL = ctypes.CFUNCTYPE(ctypes.c_uint8, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_void_p)


def node(name, values, *, number=None, strides=None):
    """A tensor as llama.cpp lays it out, its fastest axis last here and first there."""
    kind = {np.dtype(np.float32): F32, np.dtype(np.int32): I32}.get(values.dtype, F16)
    lengths = (*values.shape[::-1], 1, 1, 1)[:4]
    steps = [values.itemsize, *(0,) * 3]
    for axis in range(1, 4):
        steps[axis] = steps[axis - 1] * lengths[axis - 1]
    return Tensor(
        type=kind if number is None else number,
        ne=lengths,
        nb=tuple(strides or steps),
        data=values.ctypes.data,
        name=name.encode(),
    )


@pytest.fixture
def tape():
    return Tape(int(native_callback().address))


def show(tape, tensor):
    """Ask whether a node is wanted; where it is, show it. The answer."""
    callback = CALL(tape.callback)
    wanted = callback(ctypes.addressof(tensor), 1, tape.handed)
    if wanted:
        assert callback(ctypes.addressof(tensor), 0, tape.handed) == 1, "a 0 would end the pass"
    return bool(wanted)


def test_nodes_are_known_by_their_whole_name(tape):
    tape.rewind({"topk", "weights"}, 100)
    values = np.arange(4, dtype=np.float32).reshape(2, 2)
    answers = {
        "ffn_moe_weights-0": True,
        "ffn_moe_weights-127": True,
        "ffn_moe_topk-3": True,
        "ffn_moe_weights-0 (reshaped)": False,
        "ffn_moe_weights_norm-0": False,  # not asked for
        "ffn_moe_weights_sum-0": False,
        "ffn_moe_weights": False,
        "ffn_moe_out-0": False,
        "ffn_out-0": False,
        "mtp_ffn_moe_topk-0": False,
    }
    for name, expected in answers.items():
        chosen = values.astype(np.int32) if "topk" in name else values
        assert show(tape, node(name, chosen)) is expected, name
    assert sorted(tape.read()) == [(0, "weights"), (3, "topk"), (127, "weights")]


def test_a_view_is_copied_by_its_strides(tape):
    """The chosen experts are the first columns of all experts in order."""
    order_ne = np.array([[4, 2, 0, 1, 3], [1, 3, 2, 0, 4], [0, 4, 3, 2, 1]], np.int32)
    view = node("ffn_moe_topk-2", order_ne[:, :2], strides=(4, 20, 60, 60))
    tape.rewind({"topk"}, 100)
    assert show(tape, view)
    np.testing.assert_array_equal(tape.read()[2, "topk"], [4, 2, 1, 3, 0, 4])


def test_passes_in_pieces_follow_one_another(tape):
    tape.rewind({"weights"}, 100)
    for piece in ([[0.5, 0.25]], [[0.125, 1.0], [2.0, 3.0]]):
        show(tape, node("ffn_moe_weights-1", np.array(piece, np.float32)))
    np.testing.assert_array_equal(tape.read()[1, "weights"], [0.5, 0.25, 0.125, 1, 2, 3])


def test_a_copy_outlives_the_memory_it_was_taken_from(tape):
    tape.rewind({"weights"}, 100)
    values = np.ones((1, 2), np.float32)
    show(tape, node("ffn_moe_weights-0", values))
    values[:] = 7
    first = tape.read()
    tape.rewind({"weights"}, 100)
    show(tape, node("ffn_moe_weights-0", values))
    np.testing.assert_array_equal(first[0, "weights"], [1, 1])


def test_what_does_not_fit_is_an_error_and_not_a_gap(tape):
    tape.rewind({"logits"}, HEAD + 5)
    show(tape, node("ffn_moe_logits-0", np.ones((2, 3), np.float32)))
    with pytest.raises(RouterOutputError, match=f"{HEAD + 6} numbers more"):
        tape.read()


def test_numbers_of_another_type_are_an_error(tape):
    tape.rewind({"logits"}, 100)
    show(tape, node("ffn_moe_logits-9", np.ones((2, 3), np.float16)))
    with pytest.raises(RouterOutputError, match=r"ffn_moe_logits-9 in type 1"):
        tape.read()


def test_nothing_is_copied_that_was_not_asked_for(tape):
    tape.rewind((), 0)
    assert not show(tape, node("ffn_moe_topk-0", np.ones((1, 1), np.int32)))
    assert tape.read() == {}


def header(*tensors, **values):
    stated = {"general.architecture": "made", **{f"made.{name}": value for name, value in values.items()}}
    return Header(files=(Path("made.gguf"),), values=stated, tensors=frozenset(tensors), size_bytes=0)


SHARES = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
LOGITS = np.log(SHARES).astype(np.float32)
CHOSEN = np.array([[0, 1], [3, 2]], np.int32)


def flat(**kinds):
    """As copied: of block 5, without their shape."""
    return {(5, kind): np.asarray(values).ravel() for kind, values in kinds.items()}


PLAIN = header(block_count=6, expert_count=4)


def only(copied, header=PLAIN):
    (reading,) = learn(header, copied, tokens=2)
    return reading


def test_a_softmax_that_is_renormalised():
    plain = np.array([[0.4, 0.3], [0.4, 0.3]], np.float32)
    copied = flat(topk=CHOSEN, logits=LOGITS, weights=plain, weights_norm=plain / 0.7)
    reading = only(copied)
    assert reading.rule.sentence == "softmax over 4 experts, the best 2 kept, their weights made to sum to 1"
    assert (reading.rule.block, reading.rule.layer, reading.weights) == (5, 0, "weights_norm")
    routed = routes(reading, copied, 2, scores=True, logits=False)
    np.testing.assert_array_equal(routed.ids_nk, CHOSEN)
    np.testing.assert_allclose(routed.weights_nk, [[4 / 7, 3 / 7]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(routed.rejected_n, [2, 1])
    np.testing.assert_allclose(routed.margin_n, [math.log(1.5)] * 2, rtol=1e-5)  # log 0.3 - log 0.2
    entropy = -(0.4 * math.log(0.4) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))
    np.testing.assert_allclose(routed.entropy_n, [entropy] * 2, rtol=1e-5)
    np.testing.assert_allclose(routed.lse_n, [0, 0], atol=1e-6)  # the shares add up to 1


def test_slots_stand_in_order_of_weight():
    """The scores that choose may order experts otherwise than their weights do."""
    turned = np.array([[1, 0], [2, 3]], np.int32)
    weights = np.array([[0.3, 0.4], [0.3, 0.4]], np.float32)
    copied = flat(topk=turned, logits=LOGITS, weights=weights)
    routed = routes(only(copied), copied, 2, scores=True, logits=False)
    np.testing.assert_array_equal(routed.ids_nk, CHOSEN)
    np.testing.assert_allclose(routed.weights_nk, [[0.4, 0.3]] * 2, rtol=1e-6)


def test_a_softmax_over_the_chosen_alone():
    """Its raw scores stand under the name of probabilities."""
    over_chosen = np.array([[4 / 7, 3 / 7]] * 2, np.float32)
    copied = flat(topk=CHOSEN, probs=LOGITS + 3, weights=LOGITS[:, :2], weights_softmax=over_chosen)
    reading = only(copied)
    assert (reading.rule.score, reading.rule.is_renormalised) == ("softmax", True)
    assert (reading.weights, reading.logits) == ("weights_softmax", "probs")
    np.testing.assert_allclose(routes(reading, copied, 2, scores=True, logits=True).lse_n, [3, 3], rtol=1e-6)


def test_a_router_with_a_bias_of_its_own_is_read_behind_it():
    copied = flat(topk=CHOSEN, logits=LOGITS[:, ::-1], logits_biased=LOGITS, weights=[[0.4, 0.3]] * 2)
    reading = only(copied)
    assert (reading.rule.score, reading.logits, reading.selection) == ("softmax", "logits_biased", "logits_biased")
    routed = routes(reading, copied, 2, scores=True, logits=True)
    np.testing.assert_allclose(routed.logits_ne, LOGITS)


def test_a_sigmoid_with_bias_groups_scale_and_shared_experts():
    """Scores 0.5, 0.8, 0.2, 0.6; the bias lifts expert 3 over 1, and the group of the first two is ruled out."""
    gate = np.array([[0.5, 0.8, 0.2, 0.6]] * 2)
    logits = np.log(gate / (1 - gate)).astype(np.float32)
    masked = np.array([[-np.inf, -np.inf, 0.2, 0.9]] * 2, np.float32)
    raw = np.array([[0.6, 0.2]] * 2, np.float32)
    copied = flat(
        topk=np.array([[3, 2]] * 2, np.int32),
        logits=logits,
        probs_biased=masked,
        probs_masked=masked,
        weights=raw,
        weights_norm=raw / 0.8,
        weights_scaled=raw / 0.8 * 2.5,
    )
    names = ("blk.5.exp_probs_b.bias", "blk.5.ffn_up_shexp.weight")
    stated = header(
        *names,
        block_count=6,
        expert_count=4,
        expert_group_count=2,
        expert_group_used_count=1,
        expert_weights_scale=2.5,
        expert_shared_count=2,
    )
    reading = only(copied, stated)
    assert reading.rule.sentence == (
        "sigmoid over 4 experts, a balancing bias added for the choice only, the best 1 of 2 groups, the best 2 kept, "
        "their weights made to sum to 1, times 2.5, beside 2 shared experts"
    )
    routed = routes(reading, copied, 2, scores=True, logits=False)
    np.testing.assert_allclose(routed.weights_nk, [[1.875, 0.625]] * 2, rtol=1e-6)
    assert np.isinf(routed.margin_n).all(), "all that was not chosen was ruled out"
    share = gate[0] / 2.1
    np.testing.assert_allclose(routed.entropy_n, [-(share * np.log(share)).sum()] * 2, rtol=1e-5)


def test_weights_that_follow_no_known_gate_are_recorded_without_entropy():
    copied = flat(topk=CHOSEN, logits=LOGITS, weights=np.array([[0.9, 0.8]] * 2, np.float32))
    reading = only(copied)
    assert reading.rule.score == "unknown"
    routed = routes(reading, copied, 2, scores=True, logits=False)
    assert routed.entropy_n is None
    np.testing.assert_allclose(routed.weights_nk, [[0.9, 0.8]] * 2)


def test_a_choice_that_the_scores_do_not_explain_has_no_margin():
    """A table of token ids chose."""
    ids = np.array([[2, 3], [0, 1]], np.int32)
    copied = flat(topk=ids, logits=LOGITS, weights=np.array([[0.2, 0.1], [0.1, 0.2]], np.float32))
    reading = only(copied, header("blk.5.ffn_gate_tid2eid.weight", block_count=6, expert_count=4))
    assert reading.rule.by_token_id and reading.selection == ""
    routed = routes(reading, copied, 2, scores=True, logits=False)
    assert routed.margin_n is None and routed.rejected_n is None


def test_a_layer_that_ran_for_fewer_tokens_is_refused():
    """As the last block does where only the last token asks for its scores."""
    plain = np.array([[0.4, 0.3], [0.4, 0.3]], np.float32)
    copied = flat(topk=CHOSEN, logits=LOGITS, weights=plain)
    reading = only(copied)
    with pytest.raises(RouterOutputError, match="4 numbers of ffn_moe_topk-5 for 3 tokens"):
        routes(reading, copied, 3, scores=True, logits=False)
    with pytest.raises(RouterOutputError, match="1 numbers of ffn_moe_topk-5 per token"):
        routes(reading, copied, 4, scores=True, logits=False)
    with pytest.raises(RouterOutputError, match="0 numbers of ffn_moe_topk-5 per token"):
        routes(reading, {}, 2, scores=True, logits=False)


def test_a_block_that_routes_twice_is_refused():
    """Two choices of two experts are not one choice of four."""
    twice = flat(topk=[*CHOSEN, *CHOSEN], logits=[*LOGITS, *LOGITS], weights=np.full((4, 2), 0.25))
    stated = header(block_count=6, expert_count=4, expert_used_count=2)
    with pytest.raises(RouterOutputError, match=r"4 experts per token in ffn_moe_topk-5"):
        learn(stated, twice, tokens=2)


def test_counts_may_differ_between_blocks():
    varied = header(block_count=3, expert_count=(0, 8, 16), expert_used_count=2)
    assert [varied.count("expert_count", block) for block in range(4)] == [0, 8, 16, 0]
    assert [varied.count("expert_used_count", block) for block in range(3)] == [2, 2, 2]
    assert varied.most_experts == 16


def test_a_weight_that_is_no_number_is_refused():
    plain = np.array([[0.4, 0.3], [0.4, 0.3]], np.float32)
    copied = flat(topk=CHOSEN, logits=LOGITS, weights=plain)
    reading = only(copied)
    broken = copied | flat(weights=[[0.4, np.nan], [0.4, 0.3]])
    with pytest.raises(RouterOutputError, match=r"layer 0 \(blk\.5\.ffn\)"):
        routes(reading, broken, 2, scores=True, logits=False)


def test_a_graph_without_routers_is_refused():
    with pytest.raises(RouterOutputError, match="the graph of made never names its chosen experts"):
        learn(header(block_count=6), {}, tokens=2)
