"""Generation, caches and packed batches: every document holds the routes of its own tokens, each once."""

import copy

import numpy as np
import pytest
import torch

from gatescope.hooks import record
from gatescope.routing.record import Flag
from tests.hooks.likeness import PAD, document, forced, same
from tests.hooks.zoo import specimen

TEXTS = ["Short.", "A text of middling length", "третий"]


@pytest.fixture(scope="module")
def model(qwen):
    return qwen.model


@pytest.fixture
def padded(tokenizer):
    def make(texts=TEXTS, side="right"):
        tokenizer.padding_side = side
        return tokenizer(list(texts), padding=True, return_tensors="pt")

    return make


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
    assert len(own.documents) == 1
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


class _StopError(Exception):
    pass


def test_a_cancelled_generation_keeps_the_steps_that_were_made(model):
    def stop(ids, _scores, **_options):
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
