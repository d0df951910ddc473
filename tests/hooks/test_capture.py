"""Captures: threads do not mix, cancelling leaves nothing behind, options mean what they say."""

import threading

import numpy as np
import pytest
import torch

from gatescope.hooks import CaptureOptions, attach, capture, capture_batch
from gatescope.routing.errors import CaptureCancelledError, OptionError, PromptError
from gatescope.routing.record import Document, Flag

TEXTS = ["One text.", "Another, somewhat longer text!", "третий", "四つ目の文"]


def test_threads_sharing_one_model_never_mix_their_captures(qwen):
    alone = [capture(qwen, text) for text in TEXTS]
    mixed = []

    def work(number):
        for _ in range(15):
            record = capture(qwen, TEXTS[number])
            same = np.array_equal(record.token_t, alone[number].token_t)
            mixed.append(not (same and np.array_equal(record.ids_tlk, alone[number].ids_tlk)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(TEXTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(mixed), sum(mixed)) == (60, 0)


def test_cancelling_stops_within_one_layer_and_leaves_the_model_usable(qwen):
    before = capture(qwen, TEXTS[0])
    seen = []

    def stop_at_second(done, total):
        seen.append((done, total))
        if done == 2:
            raise CaptureCancelledError("Cancel pressed", expected="a wait", do="run again")

    with pytest.raises(CaptureCancelledError):
        capture(qwen, TEXTS[0], on_progress=stop_at_second)
    assert seen == [(1, 3), (2, 3)]
    np.testing.assert_array_equal(capture(qwen, TEXTS[0]).ids_tlk, before.ids_tlk)


def test_progress_counts_layers_of_the_prompt_and_of_each_generated_token(qwen):
    seen = []
    record = capture(
        qwen, "abc", CaptureOptions(max_new_tokens=2), on_progress=lambda done, total: seen.append((done, total))
    )
    generated = int((record.flag_t & Flag.GENERATED > 0).sum())
    assert seen[-1] == (3 * (1 + generated), 9)


def test_without_a_sink_nothing_is_recorded_and_hooks_come_off(make_tiny, tokenizer):
    model = make_tiny("mixtral")
    loaded = attach(model, tokenizer, name="mixtral")
    hooked = [site.experts for site in loaded.sites]
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        plain = model(ids).logits
    assert all(module._forward_pre_hooks for module in hooked)
    loaded.recorder.close()
    assert not any(module._forward_pre_hooks for module in hooked)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain)


def test_recording_does_not_change_the_output(qwen):
    ids = torch.tensor([qwen.tokenizer("The same numbers")["input_ids"]])
    with torch.no_grad():
        logits = qwen.model(ids).logits[0]
    record = capture(qwen, "The same numbers")
    np.testing.assert_array_equal(record.predicted_t, logits.argmax(-1))


def test_sampling_repeats_with_its_seed_and_differs_with_another(qwen):
    drawn = [
        tuple(capture(qwen, "go", CaptureOptions(max_new_tokens=12, sample=True, temperature=2.0, seed=seed)).token_t)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_batch_that_generates_equals_its_texts_one_by_one(qwen):
    options = CaptureOptions(max_new_tokens=5)
    together = capture_batch(qwen, TEXTS, options)
    for number, text in enumerate(TEXTS):
        single, batched = capture(qwen, text, options), together.take(together.document_t == number)
        np.testing.assert_array_equal(batched.token_t, single.token_t)
        np.testing.assert_array_equal(batched.flag_t, single.flag_t)
        np.testing.assert_array_equal(np.sort(batched.ids_tlk, -1), np.sort(single.ids_tlk, -1))


@pytest.mark.parametrize("text", ["Hi!", "user", "assistant] "])
def test_special_and_template_tokens_are_flagged(make_tiny, make_tokenizer, text):
    template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}{{ '\\n[assistant]' }}"
    loaded = attach(make_tiny("mixtral"), make_tokenizer(chat_template=template), name="chatty")
    plain, chat = capture(loaded, text), capture(loaded, text, CaptureOptions(chat=True))
    assert plain.flag_t.tolist() == [Flag.SPECIAL] + [0] * len(text)
    assert "".join(chat.piece(token) for token in chat.token_t) == f"[user] {text}\n[assistant]"
    own_t = chat.flag_t & Flag.TEMPLATE == 0
    assert "".join(chat.piece(token) for token in chat.token_t[own_t]) == text
    assert own_t.tolist() == [False] * 7 + [True] * len(text) + [False] * 12


def test_logits_are_kept_only_when_asked_for(qwen):
    assert capture(qwen, "x").logit_tle is None
    assert capture(qwen, "x", CaptureOptions(logits=True)).logit_tle.shape == (2, 3, 8)


def test_the_document_given_is_the_document_recorded(qwen):
    document = Document("Some law.", domain="law", language="en", id="law-1")
    assert capture(qwen, document).documents == (document,)


def test_bytes_that_are_no_text_alone_are_shown_as_bytes(qwen):
    record = capture(qwen, "四")
    assert [record.piece(token) for token in record.token_t] == ["<bos>", "<E5>", "<9B>", "<9B>"]


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        ("", {}, PromptError, "empty prompt"),
        (" \n\t", {}, PromptError, "3 characters, all blank"),
        ("x" * 128, {}, PromptError, "129 prompt tokens"),
        ("x" * 100, {"max_new_tokens": 28}, PromptError, "at most 128 together"),
        (7, {}, PromptError, "of type int"),
        ("x", {"chat": True}, OptionError, "no chat template"),
    ],
)
def test_a_bad_prompt_says_what_was_found_and_what_to_do(qwen, text, options, error, words):
    with pytest.raises(error, match=words) as caught:
        capture(qwen, text, CaptureOptions(**options))
    assert caught.value.do


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_p": 2.0}, {"max_new_tokens": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        CaptureOptions(**options)


def test_right_padding_cannot_generate(qwen):
    with pytest.raises(OptionError, match="padding on the right"):
        capture_batch(qwen, ["a", "bcd"], CaptureOptions(max_new_tokens=1), padding_side="right")


def test_losses_are_the_same_however_many_places_are_judged_at_once(qwen, monkeypatch):
    whole = capture(qwen, TEXTS[1])
    monkeypatch.setattr("gatescope.hooks.capturing.generation.CHUNK", 5)
    pieces = capture(qwen, TEXTS[1])
    np.testing.assert_allclose(pieces.loss_t, whole.loss_t, rtol=1e-6)
    np.testing.assert_array_equal(pieces.predicted_t, whole.predicted_t)


def test_without_scores_a_capture_holds_ids_and_weights_alone(qwen):
    whole, bare = capture(qwen, TEXTS[0]), capture(qwen, TEXTS[0], CaptureOptions(scores=False))
    np.testing.assert_array_equal(bare.ids_tlk, whole.ids_tlk)
    np.testing.assert_array_equal(bare.weight_tlk, whole.weight_tlk)
    assert [bare.margin_tl, bare.entropy_tl, bare.lse_tl, bare.rejected_tl] == [None] * 4
    assert CaptureOptions().as_dict() | {"scores": False} == CaptureOptions(scores=False).as_dict()
