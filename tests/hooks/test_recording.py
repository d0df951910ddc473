"""Recording around other people's code: which rows are whose, nothing left behind, and never silently empty."""

import contextlib
import contextvars
import copy
import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from hooks import capture, record
from routing.errors import OptionError, RouterOutputError
from routing.record import Document, Flag
from tests.hooks.zoo import specimen

TEXTS = ["Short.", "A text of middling length", "третий"]
PAD = 258


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


def document(routing, number):
    return routing.take(routing.document_t == number)


def same(one, other):
    """The same tokens sent to the same experts by the same weights."""
    np.testing.assert_array_equal(one.token_t, other.token_t)
    np.testing.assert_array_equal(np.sort(one.ids_tlk, -1), np.sort(other.ids_tlk, -1))
    np.testing.assert_allclose(one.weight_tlk.astype(float), other.weight_tlk.astype(float), atol=2e-3)


def forced(model, token_t):
    """The routing of these very tokens in one plain pass."""
    with record(model) as recording, torch.no_grad():
        model(torch.tensor([[int(token) for token in token_t]]))
    return recording.record()


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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True},
        {"num_return_sequences": 2, "do_sample": True},
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 3},
        {"num_beams": 3, "do_sample": True},
        {"num_beams": 3, "use_cache": False},
        {"use_cache": False},
        {"prefill_chunk_size": 4},
        {"cache_implementation": "static"},
        {"return_dict_in_generate": True, "output_scores": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("ends", [None, 0])
def test_generation_holds_the_routes_of_what_it_returned(model, padded, options, ends):
    """Every returned sequence, against the same tokens in one plain pass; `ends` lets some rows stop early."""
    torch.manual_seed(3)
    inputs = padded(side="left")
    stop = {} if ends is None else {"eos_token_id": list(range(0, 250, 6))}
    with record(model) as recording:
        output = model.generate(**inputs, max_new_tokens=7, pad_token_id=PAD, **stop, **options)
    returned = getattr(output, "sequences", output)
    routing = recording.record()
    assert len(routing.documents) == len(returned)
    prompts = inputs["input_ids"].repeat_interleave(len(returned) // len(TEXTS), 0)
    for number, (row, prompt) in enumerate(zip(returned, prompts, strict=True)):
        own, start = document(routing, number), len(prompt)
        ended = torch.isin(row[start:], torch.tensor(stop.get("eos_token_id", [])))
        last = start + int(ended.int().argmax()) if ended.any() else len(row) - 1
        prompt, new = row[:start][prompt != PAD], row[start:last]
        np.testing.assert_array_equal(own.token_t, torch.cat([prompt, new]))
        np.testing.assert_array_equal(own.position_t, np.arange(len(own.token_t)))
        np.testing.assert_array_equal(own.flag_t, [0] * len(prompt) + [Flag.GENERATED] * len(new))
        same(own, forced(model, own.token_t))


@pytest.mark.parametrize("way", ["lookup", "assistant"])
def test_rejected_candidates_do_not_stay(model, make_tiny, way):
    ids = torch.tensor([[7, 8, 9, 7, 8, 9, 7, 8]])
    helper = {"prompt_lookup_num_tokens": 3} if way == "lookup" else {"assistant_model": _almost(make_tiny)}
    with record(model) as recording:
        returned = model.generate(
            ids, max_new_tokens=12, do_sample=False, pad_token_id=PAD, eos_token_id=None, **helper
        )
    routing = recording.record()
    np.testing.assert_array_equal(routing.token_t, returned[0, : len(routing.token_t)])
    assert returned.shape[1] - routing.tokens == 1
    assert recording.passes != 12, "some candidates were accepted"
    assert (routing.flag_t[8:] == Flag.GENERATED).all() and not routing.flag_t[:8].any()
    same(routing, forced(model, routing.token_t))


def _almost(make_tiny):
    """A model that often guesses what the other one says."""
    other = make_tiny("qwen3_moe")
    with torch.no_grad():
        other.lm_head.weight.add_(
            torch.randn(other.lm_head.weight.shape, generator=torch.Generator().manual_seed(1)) * 0.01
        )
    return other


def test_an_own_loop_over_a_cache_extends_the_same_documents(model, padded):
    inputs = padded(side="left")
    mask, cache, ids = inputs["attention_mask"], None, inputs["input_ids"]
    with record(model) as recording, torch.no_grad():
        for _ in range(4):
            output = model(ids, attention_mask=mask, past_key_values=cache, use_cache=True)
            ids, cache = output.logits[:, -1:].argmax(-1), output.past_key_values
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    routing = recording.record()
    assert len(routing.documents) == 3
    for number in range(3):
        own = document(routing, number)
        assert (own.flag_t == Flag.GENERATED).sum() == 3
        same(own, forced(model, own.token_t))


def test_a_cropped_cache_replaces_what_is_run_again(model):
    with record(model) as recording, torch.no_grad():
        cache = model(torch.tensor([[5, 6, 7, 8, 9]]), use_cache=True).past_key_values
        cache.crop(-2)
        model(torch.tensor([[20, 21, 22]]), past_key_values=cache)
    routing = recording.record()
    assert routing.token_t.tolist() == [5, 6, 7, 20, 21, 22]
    same(routing, forced(model, routing.token_t))


def test_a_cache_from_before_the_recording_gives_positions_behind_it(model):
    with torch.no_grad():
        cache = model(torch.tensor([[5, 6, 7, 8, 9]]), use_cache=True).past_key_values
    with record(model) as recording, torch.no_grad():
        model(torch.tensor([[20, 21]]), past_key_values=copy.deepcopy(cache))
    routing = recording.record()
    assert (routing.token_t.tolist(), routing.position_t.tolist()) == ([20, 21], [5, 6])


def test_a_conversation_over_several_calls_of_generate_is_one_document(model):
    ids = torch.tensor([[5, 6, 7]])
    options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True, "eos_token_id": None}
    with record(model) as recording:
        first = model.generate(ids, pad_token_id=PAD, **options)
        ids = torch.cat([first.sequences, torch.tensor([[30, 31, 32]])], 1)
        second = model.generate(ids, past_key_values=first.past_key_values, pad_token_id=PAD, **options)
    routing = recording.record()
    assert len(routing.documents) == 1
    np.testing.assert_array_equal(routing.token_t, second.sequences[0, :-1])
    same(routing, forced(model, routing.token_t))


@pytest.mark.parametrize("said_by", ["position_ids", "cu_seq_lens_q"])
def test_packed_sequences_are_documents_of_their_own(model, said_by):
    ids = torch.tensor([[10, 11, 12, 20, 21, 30]])
    where = {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 0]])}
    if said_by == "cu_seq_lens_q":
        where |= {"cu_seq_lens_q": torch.tensor([0, 3, 5, 6], dtype=torch.int32)}
    with record(model) as recording, torch.no_grad():
        model(ids, **where, use_cache=False)  # with a cache, transformers lets them see each other
    routing = recording.record()
    assert [document(routing, number).token_t.tolist() for number in range(3)] == [[10, 11, 12], [20, 21], [30]]
    assert routing.position_t.tolist() == [0, 1, 2, 0, 1, 0]
    for number in range(3):
        same(document(routing, number), forced(model, document(routing, number).token_t))


def test_embeddings_without_ids_have_no_token(model):
    ids = torch.tensor([[5, 6, 7]])
    with record(model) as recording, torch.no_grad():
        model(inputs_embeds=model.get_input_embeddings()(ids))
        model.generate(
            inputs_embeds=model.get_input_embeddings()(ids), max_new_tokens=3, pad_token_id=PAD, eos_token_id=None
        )
    routing = recording.record()
    assert document(routing, 0).token_t.tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(np.sort(document(routing, 0).ids_tlk, -1), np.sort(forced(model, ids[0]).ids_tlk, -1))
    assert document(routing, 1).flag_t.tolist() == [0, 0, 0, 4, 4]


def test_the_body_without_its_head_may_be_called(model):
    with record(model) as recording, torch.no_grad():
        model.model(torch.tensor([[5, 6, 7]]))
    same(recording.record(), forced(model, [5, 6, 7]))


def test_a_loaded_model_keeps_its_name_and_its_permanent_hooks(qwen, tokenizer):
    before = traces(qwen.model)
    with record(qwen) as recording:
        qwen.model(torch.tensor([[5, 6, 7]]))
    assert traces(qwen.model) == before
    assert recording.record().provenance.model == "qwen3_moe"
    same(recording.record(), forced(qwen.model, [5, 6, 7]))


@pytest.mark.parametrize("name", ["switch_transformers", "nllb_moe"])
def test_what_an_encoder_read_stands_before_what_its_decoder_wrote(name):
    entry = specimen(name)
    model, ids = entry.model, entry.inputs["input_ids"]
    written = torch.tensor([[3, 40, 41], [3, 50, 51]])
    with record(model, inputs=entry.inputs) as recording, torch.no_grad():
        model(input_ids=ids, decoder_input_ids=written)
        encoded = model.get_encoder()(ids)
        model(encoder_outputs=encoded, decoder_input_ids=written)
    routing = recording.record()
    assert len(routing.documents) == 4
    for number in range(4):
        own = document(routing, number)
        is_read_t = own.flag_t & Flag.ENCODER > 0
        np.testing.assert_array_equal(own.token_t, torch.cat([ids[number % 2], written[number % 2]]))
        assert is_read_t.tolist() == [True] * 12 + [False] * 3
        assert own.position_t.tolist() == [*range(12), *range(3)]
        for rule in routing.layers:
            other_t = is_read_t if rule.stack == "decoder" else ~is_read_t
            assert (own.ids_tlk[other_t, rule.layer] == routing.empty).all()
    np.testing.assert_array_equal(document(routing, 0).ids_tlk, document(routing, 2).ids_tlk)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_with_an_encoder_gives_one_document_a_text(beams):
    entry = specimen("switch_transformers")
    model, ids = entry.model, entry.inputs["input_ids"][:1]
    for module in model.modules():
        if hasattr(module, "expert_capacity"):
            module.expert_capacity = 100  # an expert is full for a whole text sooner than for a token at a time
    with record(model, inputs=entry.inputs) as recording:
        returned = model.generate(
            ids, max_new_tokens=6, num_beams=beams, do_sample=False, decoder_start_token_id=PAD, eos_token_id=None
        )
    own = recording.record()
    is_read_t = own.flag_t & Flag.ENCODER > 0
    np.testing.assert_array_equal(own.token_t[is_read_t], ids[0])
    np.testing.assert_array_equal(own.token_t[~is_read_t], returned[0, :-1])
    assert own.flag_t[~is_read_t].tolist() == [0] + [Flag.GENERATED] * 5
    with record(model, inputs=entry.inputs) as recording, torch.no_grad():
        model(input_ids=ids, decoder_input_ids=returned[:, :-1])
    same(own, recording.record())


def test_image_tokens_are_flagged_and_patches_are_a_document():
    entry = specimen("qwen3_vl_moe")
    with record(entry.model, inputs=entry.inputs) as recording, torch.no_grad():
        entry.model(**entry.inputs)
    routing, ids = recording.record(), entry.inputs["input_ids"]
    np.testing.assert_array_equal(routing.flag_t == Flag.IMAGE, (ids == entry.model.config.image_token_id).flatten())
    tower = specimen("dots3_note_vision")
    with record(tower.model, inputs=tower.inputs) as recording, torch.no_grad():
        tower.model(**tower.inputs)
    routing = recording.record()
    assert [each.id for each in routing.documents] == ["image patches"]
    assert set(routing.flag_t.tolist()) == {Flag.IMAGE | Flag.ENCODER} and set(routing.token_t.tolist()) == {-1}
    np.testing.assert_array_equal(routing.position_t, np.arange(routing.tokens))


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


class _StopError(Exception):
    pass


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


def _raising(error):
    def hook(module, args):
        raise error

    return hook


def test_a_cancelled_generation_keeps_the_steps_that_were_made(model):
    def stop(ids, scores, **options):
        if ids.shape[1] == 6:
            raise _StopError
        return torch.zeros(len(ids), dtype=torch.bool)

    with pytest.raises(_StopError), record(model) as recording:
        model.generate(
            torch.tensor([[5, 6, 7]]), max_new_tokens=9, stopping_criteria=[stop], pad_token_id=PAD, eos_token_id=None
        )
    routing = recording.record()
    assert routing.tokens == 5 and routing.provenance.options["ended"] == "_StopError"
    same(routing, forced(model, routing.token_t))


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
        handle = changed.model.layers[1].mlp.experts.register_forward_pre_hook(lambda m, args: seen.append(args[1]))
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
