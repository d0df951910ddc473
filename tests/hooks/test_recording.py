"""Recording around other people's code: which rows are whose, nothing left behind, and never silently empty."""

import contextlib
import contextvars
import gc
import re
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import Trainer, TrainingArguments

from gatescope.hooks import capture, record
from gatescope.routing.errors import OptionError, RouterOutputError
from gatescope.routing.record import Document
from tests.hooks.likeness import PAD, document, forced, same

TEXTS = ["Short.", "A text of middling length", "третий"]


@pytest.fixture(scope="module")
def model(qwen):
    return qwen.model


@pytest.fixture
def own(make_tiny):
    """A model that nothing else has touched."""
    return make_tiny("qwen3_moe")


@pytest.fixture
def padded(tokenizer):
    def make(texts=TEXTS, side="right"):
        tokenizer.padding_side = side
        return tokenizer(list(texts), padding=True, return_tensors="pt")

    return make


def traces(model):
    """Everything a recording might leave behind: attributes, hooks, modes, buffers."""
    found = {}
    for path, module in model.named_modules():
        hooks = {name: list(value) for name, value in vars(module).items() if "hooks" in name and value is not None}
        found[path] = (sorted(vars(module)), hooks, module.training)
    tensors = {name: (value.data_ptr(), value._version) for name, value in model.state_dict(keep_vars=True).items()}
    return found, tensors


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_forward_pass_gives_what_capture_gives(qwen, model, tokenizer, padded, side):
    with record(model) as recording, torch.no_grad():
        model(**padded(side=side))
    routing = recording.record(tokenizer, labels=["a", "b", "c"])
    assert (recording.passes, [each.id for each in routing.documents]) == (1, ["a", "b", "c"])
    assert [each.text for each in routing.documents] == TEXTS
    for number, text in enumerate(TEXTS):
        alone = capture(qwen, text)
        same(document(routing, number), alone)
        np.testing.assert_array_equal(document(routing, number).position_t, alone.position_t)
        np.testing.assert_array_equal(document(routing, number).flag_t, alone.flag_t)
    assert recording.tokens == routing.tokens
    assert routing.provenance.options == {"recorded": "forward passes"}


def test_nothing_stays_on_the_model_and_random_numbers_are_untouched(own):
    own.train()
    own.model.layers[1].eval()
    state, before = torch.get_rng_state(), traces(own)
    with record(own) as recording:
        own(torch.tensor([[1, 2, 3]]))
        during = traces(own)
    assert torch.equal(torch.get_rng_state(), state)
    assert traces(own) == before != during
    assert recording.passes == 1
    own.eval()


def test_finding_the_routers_draws_no_random_numbers(own, make_tiny):
    other = make_tiny("qwen3_moe")
    for each in (own, other):
        each.model.embed_tokens.register_forward_pre_hook(lambda _module, _args: (torch.rand(1), None)[1])
    torch.manual_seed(5)
    other(torch.tensor([[1, 2, 3]]))
    after = torch.get_rng_state()
    torch.manual_seed(5)
    with record(own):
        own(torch.tensor([[1, 2, 3]]))
    assert torch.equal(torch.get_rng_state(), after)


def test_a_model_is_not_kept_alive_by_having_been_recorded(make_tiny):
    mortal = make_tiny("mixtral")
    with record(mortal) as recording:
        mortal(torch.tensor([[1, 2, 3]]))
    there = weakref.ref(mortal)
    del mortal, recording
    gc.collect()
    assert there() is None


def test_nothing_of_the_graph_is_kept(model):
    with record(model) as recording:
        output = model(torch.tensor([[1, 2, 3]]), use_cache=True)
        logits, cache = weakref.ref(output.logits), weakref.ref(output.past_key_values)
        del output
        gc.collect()
        assert logits() is None
        assert cache() is None
    assert all(type(array) is np.ndarray for _, array in recording.record().arrays())


def test_the_body_without_its_head_may_be_called(model):
    with record(model) as recording, torch.no_grad():
        model.model(torch.tensor([[5, 6, 7]]))
    same(recording.record(), forced(model, [5, 6, 7]))


def test_a_loaded_model_keeps_its_name_and_its_permanent_hooks(qwen):
    before = traces(qwen.model)
    with record(qwen) as recording:
        qwen.model(torch.tensor([[5, 6, 7]]))
    assert traces(qwen.model) == before
    assert recording.record().provenance.model == "qwen3_moe"
    same(recording.record(), forced(qwen.model, [5, 6, 7]))


def test_gradients_are_the_same_to_the_bit(own):
    ids = torch.tensor([[5, 6, 7, 8]])

    def gradients():
        own.zero_grad()
        own(ids, labels=ids).loss.backward()
        return [each.grad.clone() for each in own.parameters() if each.grad is not None]

    plain = gradients()
    with record(own):
        recorded = gradients()
    assert len(plain) == len(recorded) > 0
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))
    own.zero_grad()


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_gives_the_same_record(own, reentrant):
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = forced(own, ids[0])
    own.activation_checkpointing_enable({"use_reentrant": reentrant})
    own.enable_input_require_grads()
    own.train()
    try:
        with record(own) as recording:
            own(ids, labels=ids, use_cache=False).loss.backward()
            own(ids, labels=ids, use_cache=False).loss.backward()
    finally:
        own.activation_checkpointing_disable()
        own.disable_input_require_grads()
        own.eval()
        own.zero_grad()
    routing = recording.record()
    assert (recording.passes, len(routing.documents)) == (2, 2)
    same(document(routing, 0), plain)
    same(document(routing, 1), plain)


def test_a_model_run_again_as_a_whole_in_the_backward_pass_is_one_pass(own):
    ids = torch.tensor([[5, 6, 7, 8]])
    embeds = own.get_input_embeddings()(ids).detach().requires_grad_()
    with record(own) as recording:
        checkpoint(lambda x: own(inputs_embeds=x, use_cache=False).logits, embeds, use_reentrant=False).sum().backward()
    assert (recording.passes, recording.tokens) == (1, 4)
    assert embeds.grad is not None


def test_margins_follow_the_balancing_bias(make_tiny):
    model, other = make_tiny("deepseek_v3"), make_tiny("deepseek_v3")
    before = forced(model, [5, 6, 7])
    for each in (model, other):
        for layer in each.model.layers[1:]:
            layer.mlp.gate.e_score_correction_bias = layer.mlp.gate.e_score_correction_bias * -1.5
    after, wanted = forced(model, [5, 6, 7]), forced(other, [5, 6, 7])
    np.testing.assert_array_equal(after.margin_tl, wanted.margin_tl)
    assert not np.array_equal(after.margin_tl, before.margin_tl)


def test_threads_do_not_mix(model):
    alone = {number: forced(model, range(number, number + 6)) for number in range(4)}
    found, errors = [], []

    def work(number):
        try:
            for _ in range(10):
                if number == 3:  # runs beside, unrecorded
                    model(torch.arange(number, number + 6)[None])
                    continue
                routing = forced(model, range(number, number + 6))
                same(routing, alone[number])
                found.append(number)
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(found) == [0] * 10 + [1] * 10 + [2] * 10


def test_nested_recordings_both_see_everything(model):
    ids = torch.tensor([[5, 6, 7]])
    with record(model) as outer:
        model(ids)
        with record(model, logits=True) as inner:
            model.generate(ids, max_new_tokens=3, pad_token_id=PAD, eos_token_id=None)
    assert (outer.passes, inner.passes) == (4, 3)
    same(document(outer.record(), 1), inner.record())
    assert inner.record().logit_tle is not None and outer.record().logit_tle is None


def test_a_pass_in_another_thread_is_an_error_not_an_empty_record(model):
    with pytest.raises(RouterOutputError, match="0 forward passes") as caught, record(model):
        thread = threading.Thread(target=lambda: model(torch.tensor([[1, 2, 3]])))
        thread.start()
        thread.join()
    assert "thread" in caught.value.do


def test_a_thread_given_this_context_is_recorded(model):
    with record(model) as recording:
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(model, torch.tensor([[1, 2, 3]])))
        thread.start()
        thread.join()
    same(recording.record(), forced(model, [1, 2, 3]))


def test_layers_called_alone_are_an_error(model):
    with pytest.raises(RouterOutputError, match="outside any forward pass"), record(model):
        model.model.layers[0].mlp(torch.randn(1, 3, 32))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_passes_through_and_what_was_recorded_stays_readable(own, error):
    before = traces(own)
    with pytest.raises(error), record(own) as recording:
        own(torch.tensor([[5, 6, 7]]))
        handle = own.model.layers[2].mlp.experts.register_forward_pre_hook(_raising(error))
        try:
            own(torch.tensor([[8, 9]]))
        finally:
            handle.remove()
    assert traces(own) == before
    routing = recording.record()
    assert routing.token_t.tolist() == [5, 6, 7]
    assert routing.provenance.options["ended"] == error.__name__


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_pass_that_raises_inside_the_block_leaves_the_next_one_whole(own, error):
    with record(own) as recording:
        handle = own.model.layers[2].mlp.experts.register_forward_pre_hook(_raising(error))
        with contextlib.suppress(error):
            own(torch.tensor([[8, 9]]))
        handle.remove()
        own(torch.tensor([[5, 6, 7]]))
    assert recording.passes == 1
    same(recording.record(), forced(own, [5, 6, 7]))


def test_after_a_pass_that_raises_the_body_alone_may_be_called(own):
    with record(own) as recording:
        handle = own.model.layers[2].mlp.experts.register_forward_pre_hook(_raising(ValueError))
        with contextlib.suppress(ValueError):
            own(torch.tensor([[8, 9]]))
        handle.remove()
        own.model(torch.tensor([[5, 6, 7]]))
    same(recording.record(), forced(own, [5, 6, 7]))


def _raising(error):
    def hook(_module, _args):
        raise error

    return hook


def test_the_record_can_be_read_while_the_block_runs(model):
    with record(model) as recording:
        with pytest.raises(RouterOutputError, match="0 forward passes"):
            recording.record()
        model(torch.tensor([[5, 6, 7]]))
        assert recording.record().tokens == 3
        model(torch.tensor([[5, 6]]))
    assert recording.record().tokens == 5


def test_labels_are_documents_or_ids_one_each(model):
    with record(model) as recording:
        model(torch.tensor([[5, 6, 7], [8, 9, 10]]))
    law = Document("", domain="law")
    assert recording.record(labels=[law, "b"]).documents == (law, Document("", id="b"))
    with pytest.raises(OptionError, match="1 labels for 2 documents"):
        recording.record(labels=["a"])


def test_scores_that_are_no_numbers_are_named(make_tiny):
    broken = make_tiny("mixtral").half()
    with record(broken):
        broken(torch.tensor([[5, 6, 7]]))
    with torch.no_grad():
        broken.model.layers[1].mlp.gate.weight[:] = 6e4
    with pytest.raises(RouterOutputError, match=r"layer 1 \(model.layers.1.mlp\).*no number"), record(broken):
        broken(torch.tensor([[5, 6, 7]]))


def test_routers_replaced_after_a_recording_are_found_anew(make_tiny):
    changed, other = make_tiny("mixtral"), make_tiny("mixtral")
    forced(changed, [5, 6, 7])
    other.model.layers[1].mlp.gate.weight.data.neg_()
    changed.model.layers[1].mlp = other.model.layers[1].mlp
    routing = forced(changed, [5, 6, 7])
    with torch.no_grad():
        seen = []
        handle = changed.model.layers[1].mlp.experts.register_forward_pre_hook(lambda _m, args: seen.append(args[1]))
        changed(torch.tensor([[5, 6, 7]]))
        handle.remove()
    np.testing.assert_array_equal(np.sort(routing.ids_tlk[:, 1], -1), seen[0].sort(-1).values)


def test_a_wrapper_of_ones_own_around_the_model_may_be_recorded(model):
    class Judge(nn.Module):
        def __init__(self):
            super().__init__()
            self.llm, self.head = model.model, nn.Linear(32, 1)

        def forward(self, ids, mask):
            return self.head(self.llm(input_ids=ids, attention_mask=mask).last_hidden_state)

    ids, mask = torch.tensor([[5, 6, 7, PAD]]), torch.tensor([[1, 1, 1, 0]])
    judge = Judge()
    with record(judge) as recording:
        judge(ids, mask)
    assert recording.passes == 1
    same(recording.record(), forced(model, [5, 6, 7]))


EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs/recording.md").read_text("utf-8"), re.M | re.S
)


def test_the_documentation_has_examples():
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("number", range(6))
def test_the_documented_examples_run(own, tokenizer, tmp_path, number):
    inputs = tokenizer(["One text.", "Another, longer text."], padding=True, padding_side="left", return_tensors="pt")
    settings = TrainingArguments(
        str(tmp_path), max_steps=2, logging_steps=1, report_to=[], disable_tqdm=True, use_cpu=True
    )
    rows = [{"input_ids": row, "labels": row} for row in inputs["input_ids"]]
    trainer = Trainer(own, settings, train_dataset=rows)
    names = {"model": own, "tokenizer": tokenizer, "inputs": inputs, "trainer": trainer}
    own.generation_config.pad_token_id = PAD
    exec(EXAMPLES[number], names)
    if "routing" in names:
        assert names["routing"].tokens > 0
