"""Answers of vLLM, in every form it has written: the records are those of hooks on the same model."""

import base64
import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings, strategies
from hypothesis.extra.numpy import arrays

from gatescope.cache.importers import read_trace
from gatescope.cache.importers.importer import Given
from gatescope.cache.importers.vllm import IMPORTER, decoded
from gatescope.routing import Flag, RouterRule
from gatescope.routing.errors import TraceError
from tests.engines import standin
from tests.engines.standin import TEXTS, among_zeros, moved, npy, run, sglang_answer, usage, vllm_answer, vllm_choice

BLOCKS, HIDDEN = (1, 2, 4, 5, 6, 7), 9  # as if blocks 0, 3 and 8 were dense
HAND = (  # a NumPy file of version 1.0, as its format description has it: the shape (2, 1, 2), ids 1 0 and 3 2
    b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 2), }".ljust(69) + b"\n"
) + bytes([1, 0, 3, 2])
HAND_RULE = RouterRule(layer=0, block=0, module="layer 0", experts=4, k=2, score="unknown")


@pytest.fixture(scope="module")
def layers():
    return standin.model().layers


@pytest.fixture
def save(tmp_path):
    """A file of answers: one as `.json`, several as `.jsonl`."""

    def write(*answers):
        path = tmp_path / ("answers.jsonl" if len(answers) > 1 else "answer.json")
        path.write_text("\n".join(json.dumps(answer) for answer in answers), encoding="utf-8")
        return path

    return write


def read(path, **given):
    records, report = read_trace(path, Given(**given))
    return list(records), report


def hand_answer(routes, *, prompt=(5, 6), output=(7,), **more):
    choice = {"index": 0, "text": "…", "prompt_token_ids": [*prompt], "token_ids": [*output], "routed_experts": routes}
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [choice], **more}


@pytest.mark.parametrize("form", ["npy", "whole", "split"])
@pytest.mark.parametrize("has_dense", [False, True])
def test_every_form_gives_the_routes_that_hooks_saw(form, has_dense, layers, save):
    runs = [run(text, 4) for text in TEXTS]
    rules = moved(layers, BLOCKS) if has_dense else layers
    routes = [among_zeros(one.ids_tlk, BLOCKS, HIDDEN) if has_dense else one.ids_tlk for one in runs]
    answers = [vllm_answer(one, ids_thk, form) for one, ids_thk in zip(runs, routes, strict=True)]
    records, report = read(save(*answers), layers=rules)
    for one, record in zip(runs, records, strict=True):
        assert record.ids_tlk.dtype == one.record.ids_tlk.dtype
        np.testing.assert_array_equal(record.ids_tlk, one.record.ids_tlk)
        np.testing.assert_array_equal(record.token_t, one.record.token_t)
        np.testing.assert_array_equal(record.position_t, one.record.position_t)
        np.testing.assert_array_equal((record.flag_t & Flag.GENERATED) > 0, (one.record.flag_t & Flag.GENERATED) > 0)
        assert record.layers == rules and record.weight_tlk is None and record.provenance.engine == "vLLM"
    assert (report.documents, report.tokens) == (3, sum(one.record.tokens for one in runs))
    assert not report.left_out and "weights" in report.missing[0]


def test_routes_of_moe_layers_alone_are_told_by_their_number(layers, save):
    one = run(TEXTS[0], 2)
    records, _ = read(save(vllm_answer(one, one.ids_tlk, "whole")), layers=moved(layers, BLOCKS))
    np.testing.assert_array_equal(records[0].ids_tlk, one.record.ids_tlk)


def test_a_file_written_by_hand_from_the_description_of_the_format(save):
    records, _ = read(save(hand_answer(base64.b64encode(HAND).decode())), layers=(HAND_RULE,))
    assert records[0].ids_tlk.tolist() == [[[1, 0]], [[3, 2]]]
    assert records[0].token_t.tolist() == [5, 6]


def test_the_row_of_the_token_that_never_ran_is_not_taken(save):
    records, _ = read(save(hand_answer([[[1, 0]], [[3, 2]], [[2, 1]]])), layers=(HAND_RULE,))
    assert records[0].ids_tlk.tolist() == [[[1, 0]], [[3, 2]]]


@settings(max_examples=50)
@drawn(arrays(strategies.sampled_from(["u1", "<u2", ">i2", "<i4", "<i8"]), (3, 2, 4), elements={"max_value": 99}))
def test_whatever_numpy_writes_is_read(ids_thk):
    for array in (ids_thk, np.asfortranarray(ids_thk)):
        stream = io.BytesIO()
        np.save(stream, array)
        np.testing.assert_array_equal(decoded(base64.b64encode(stream.getvalue()).decode()), ids_thk)
    np.testing.assert_array_equal(decoded(ids_thk.tolist()), ids_thk)


def test_expert_255_of_256_is_an_expert(save):
    rule = RouterRule(layer=0, block=0, module="layer 0", experts=256, k=2, score="unknown")
    records, _ = read(save(hand_answer(npy(np.array([[[255, 0]], [[1, 255]]])))), layers=(rule,))
    assert records[0].ids_tlk.tolist() == [[[255, 0]], [[1, 255]]] and records[0].ids_tlk.dtype == np.uint16


@pytest.mark.parametrize("form", ["npy", "split"])
def test_choices_of_one_prompt_are_documents_of_their_own(form, layers, save):
    one, other = run(TEXTS[1], 4), run(TEXTS[1], 2)
    answer = vllm_answer(one, one.ids_tlk, form)
    answer["choices"].append(vllm_choice(other, other.ids_tlk, form, index=1))
    records, report = read(save(answer), layers=layers)
    assert [record.documents[0].id for record in records] == ["cmpl-1", "cmpl-1#1"]
    np.testing.assert_array_equal(records[1].ids_tlk, other.record.ids_tlk)
    assert any("several choices" in sentence for sentence in report.understood)


def test_several_prompts_in_one_request_keep_their_texts(layers, save):
    runs = [run(text, 2) for text in TEXTS[:2]]
    choices = [
        vllm_choice(one, one.ids_tlk, "npy", index=n // 2) for n, one in enumerate([runs[0]] * 2 + [runs[1]] * 2)
    ]
    answer = {"id": "c", "object": "text_completion", "model": "m", "choices": choices}
    records, _ = read(save({"request": {"prompt": TEXTS[:2], "n": 2}, "response": answer}), layers=layers)
    assert [record.documents[0].text for record in records] == [TEXTS[0], TEXTS[0], TEXTS[1], TEXTS[1]]
    np.testing.assert_array_equal(records[3].token_t, runs[1].record.token_t)


def test_split_routes_of_several_prompts_are_refused(layers, save):
    one = run(TEXTS[0], 2)
    answer = vllm_answer(one, one.ids_tlk, "split")
    answer["choices"] *= 2
    with pytest.raises(TraceError, match="routes of one prompt in an answer to several"):
        read(save({"request": {"prompt": TEXTS[:2]}, "response": answer}), layers=layers)


def test_a_line_of_a_batch_file_with_its_request(layers, save):
    one = run(TEXTS[0], 2)
    answer = vllm_answer(one, one.ids_tlk, chat=True)
    body = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"text": "Why?"}]}]}
    line = {"custom_id": "q7", "response": {"status_code": 200, "body": answer}, "request": {"body": body}}
    records, _ = read(save(line | {"domain": "law", "language": "de"}), layers=layers)
    document = records[0].documents[0]
    assert (document.id, document.text) == ("q7", "Be brief.\nWhy?")
    assert (document.domain, document.language) == ("law", "de")
    np.testing.assert_array_equal(records[0].token_t, one.record.token_t)


@pytest.mark.parametrize("has_row_of_last", [False, True])
def test_routes_of_the_generated_tokens_alone(has_row_of_last, layers, save):
    """The split form with nothing for the prompt: the rows are those of the tokens after it."""
    one = run(TEXTS[0], 4)
    answer = vllm_answer(one, one.ids_tlk, "split") | {"prompt_routed_experts": None}
    if has_row_of_last:
        answer["choices"][0]["routed_experts"].append(one.ids_tlk[0].tolist())
    (record,) = read(save(answer), layers=layers)[0]
    assert record.position_t.tolist() == [len(one.prompt_ids) + n for n in range(3)]
    np.testing.assert_array_equal(record.ids_tlk, one.record.ids_tlk[-3:])
    assert (record.flag_t == Flag.GENERATED).all()


def test_token_ids_in_token_ids_out(layers, save):
    """vLLM's /inference/v1/generate: the prompt is in the request alone, and nothing is counted."""
    one = run(TEXTS[0], 3)
    choice = {"index": 0, "token_ids": one.output_ids, "routed_experts": npy(one.ids_tlk[4:])}
    request = {"token_ids": one.prompt_ids, "sampling_params": {"max_tokens": 3, "routed_experts_prompt_start": 4}}
    records, _ = read(save({"request": request, "response": {"request_id": "r", "choices": [choice]}}), layers=layers)
    np.testing.assert_array_equal(records[0].ids_tlk, one.record.ids_tlk[4:])
    np.testing.assert_array_equal(records[0].token_t, one.record.token_t[4:])


def test_without_token_ids_tokens_are_counted_and_stand_as_unknown(layers, save):
    one = run(TEXTS[0], 3)
    answer = vllm_answer(one, one.ids_tlk)
    answer["choices"][0] |= {"token_ids": None, "prompt_token_ids": None}
    records, report = read(save(answer), layers=layers)
    assert set(records[0].token_t.tolist()) == {-1}
    np.testing.assert_array_equal(records[0].flag_t == Flag.GENERATED, (one.record.flag_t & Flag.GENERATED) > 0)
    assert any("token ids" in sentence for sentence in report.missing)


def test_where_neither_ids_nor_counts_are_there_nothing_is_guessed(layers, save):
    one = run(TEXTS[0], 3)
    answer = vllm_answer(one, one.ids_tlk)
    answer["choices"][0]["prompt_token_ids"] = answer["usage"] = None
    with pytest.raises(TraceError, match="does not say how many tokens its prompt has"):
        read(save(answer), layers=layers)
    request = {"request": {"prompt": one.prompt_ids}, "response": answer}
    assert read(save(request), layers=layers)[0][0].token_t.tolist() == one.record.token_t.tolist()


def test_a_beginning_that_was_not_asked_for_is_told_by_the_request_alone(layers, save):
    one = run(TEXTS[0], 3)
    answer = vllm_answer(one, one.ids_tlk[5:])
    with pytest.raises(TraceError, match="rows that do not fit the tokens"):
        read(save(answer), layers=layers)
    records, _ = read(save({"request": {"routed_experts_prompt_start": 5}, "response": answer}), layers=layers)
    assert records[0].position_t.tolist() == list(range(5, one.record.tokens))
    np.testing.assert_array_equal(records[0].token_t, one.record.token_t[5:])


@pytest.mark.parametrize("mark", [-1, 0])
def test_tokens_without_routes_are_left_out_and_counted(mark, layers, save):
    one = run(TEXTS[0], 3)
    routes = one.ids_tlk.copy()
    routes[2:6] = mark
    records, report = read(save(vllm_answer(one, routes, "split")), layers=layers)
    kept = [0, 1, *range(6, one.record.tokens)]
    assert records[0].position_t.tolist() == kept
    np.testing.assert_array_equal(records[0].ids_tlk, one.record.ids_tlk[kept])
    (reason,) = report.left_out
    assert report.left_out[reason] == 4 and report.where[reason][0] == "answer.json, position 2"


def test_an_expert_zero_of_a_single_choice_is_no_lost_token(save):
    rule = RouterRule(layer=0, block=0, module="layer 0", experts=4, k=1, score="unknown")
    records, _ = read(save(hand_answer([[[0]], [[0]]])), layers=(rule,))
    assert records[0].ids_tlk.tolist() == [[[0]], [[0]]]


def test_layers_that_nobody_gave_are_told_by_their_zeros(save):
    runs = [run(text, 2) for text in TEXTS]
    answers = [vllm_answer(one, among_zeros(one.ids_tlk, BLOCKS, HIDDEN)) for one in runs]
    records, report = read(save(*answers), experts=32)
    assert [rule.block for rule in records[0].layers] == list(BLOCKS)
    assert {(rule.experts, rule.k, rule.score) for rule in records[0].layers} == {(32, 4, "unknown")}
    for one, record in zip(runs, records, strict=True):
        np.testing.assert_array_equal(record.ids_tlk, one.record.ids_tlk)
    assert "6 layers with experts" in report.understood[0] and any("scores" in each for each in report.missing)


@pytest.mark.parametrize(
    ("routes", "given", "said"),
    [
        ([[[1, 0]], [[3, 2]]], {}, "number of experts that is not known"),
        ([[[1, 0]], [[3, 2]]], {"experts": 3}, "number of experts that is not known"),
        ([[[1]], [[3]]], {"experts": 4}, "cannot be told from the ids alone"),
        ([[[0, 0]], [[0, 0]]], {"experts": 4}, "cannot be told from the ids alone"),
    ],
)
def test_without_layers_what_cannot_be_decided_is_refused(routes, given, said, save):
    with pytest.raises(TraceError, match=said):
        read(save(hand_answer(routes)), **given)


def test_without_layers_answers_of_two_models_are_refused(save):
    answers = hand_answer([[[1, 0]], [[3, 2]]]), hand_answer([[[1, 0], [1, 0]], [[3, 2], [3, 2]]])
    with pytest.raises(TraceError, match="answers of different shapes"):
        read(save(*answers), experts=4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layers: layers[:4], r"experts in block 4, which has none"),
        (lambda layers: moved(layers, (0, 1, 2, 3, 4, 7)), r"experts in block 5"),
        (
            lambda layers: moved(layers, (1, 2, 3, 4, 5, 9)),
            r"8 layers, where the model has 6 with experts, the last in block 9",
        ),
        (
            lambda layers: tuple(_with(rule, k=2) for rule in layers),
            r"4 experts for each token, layers that choose \[2\]",
        ),
        (lambda layers: tuple(_with(rule, experts=16) for rule in layers), r"expert \d+ in block 0, which has 16"),
    ],
)
def test_the_layers_of_another_model_are_noticed(change, said, layers, save):
    one = run(TEXTS[0], 2)
    with pytest.raises(TraceError, match=said) as caught:
        read(save(vllm_answer(one, among_zeros(one.ids_tlk, range(6), 8))), layers=change(layers))
    assert caught.value.found.startswith("answer.json: ") and "layers" in caught.value.do


def _with(rule, **changes):
    return RouterRule(**{name: changes.get(name, getattr(rule, name)) for name in rule.__dataclass_fields__})


def header(text):
    data = b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"
    return base64.b64encode(data + bytes(64)).decode()


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        (npy(np.zeros((2, 1, 2)))[:-4], "not as long as it says"),
        ("no base64 at all", "no NumPy file in base64"),
        (base64.b64encode(pickle.dumps([1, 2])).decode(), "no NumPy file in base64"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 1, 4), }"), "not as long as it says"),
        (
            header("{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776, 1, 2), }"),
            "not as long as it says",
        ),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-8, -4, 2), }"), "not as long as it says"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2, 2), }"), "of another form"),
        ([[[1, 0]], [[3]]], "of another form"),
        ([[[1.5, 0]], [[3, 2]]], "of another form"),
        ([[1, 0], [3, 2]], "of another form"),
        ([[[2**70, 0]], [[3, 2]]], "of another form"),
        ({"data": "AAAA"}, "of another form"),
        ([[[1, 1]], [[3, 2]]], "1 at token 0, layer 0"),
        ([[[1, -1]], [[3, 2]]], "expert -1 in block 0"),
        ([[[1, 0]]], "rows that do not fit the tokens"),
    ],
)
def test_what_is_no_trace_is_refused_or_left_out(routes, said, save):
    whole = hand_answer([[[1, 0]], [[3, 2]]])
    path = save(whole, hand_answer(routes), whole)
    with pytest.raises(TraceError, match=f"answers.jsonl, line 2: .*{said}"):
        read(path, layers=(HAND_RULE,))
    records, report = read(path, layers=(HAND_RULE,), on_fault="skip")
    assert len(records) == report.documents == 2
    assert list(report.left_out.values()) == [1] and list(report.where.values()) == [["answers.jsonl, line 2"]]


def test_a_cut_off_line_and_one_that_is_no_answer(save):
    path = save(*[hand_answer([[[1, 0]], [[3, 2]]])] * 3)
    path.write_text(path.read_text() + '\n[7]\n{"error": {"message": "overloaded"}}\n{"choices": [{"ind')
    records, report = read(path, layers=(HAND_RULE,), on_fault="skip")
    assert len(records) == 3
    assert dict(report.left_out) == {
        "no answer": 1,
        "an answer without routed experts": 1,
        "text that is no JSON": 1,
    }


def test_a_server_started_without_the_flag_is_named(save, layers):
    answer = hand_answer(None, usage={"prompt_tokens": 2, "completion_tokens": 1})
    with pytest.raises(TraceError, match="an answer without routed experts") as caught:
        read(save(answer), layers=layers)
    assert "--enable-return-routed-experts" in caught.value.do


def test_answers_are_known_by_their_fields(save, tmp_path):
    one = run(TEXTS[0], 2)
    assert IMPORTER.detect(save(vllm_answer(one, one.ids_tlk, "split")))
    assert IMPORTER.detect(save(*[{"response": {"body": vllm_answer(one, one.ids_tlk)}}] * 2))
    assert not IMPORTER.detect(save(sglang_answer(one, one.ids_tlk)))
    assert not IMPORTER.detect(save({"text": '"routed_experts": "…"', "choices": 3}))
    assert not IMPORTER.detect(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00[")
    assert not IMPORTER.detect(tmp_path / "bytes.json")


def test_layers_beside_the_decoder_are_none_that_a_server_reports(layers, save):
    one = run(TEXTS[0], 2)
    tower = _with(layers[0], stack="vision", layer=0)
    rules = (tower, *(_with(rule, layer=rule.layer + 1) for rule in layers))
    records, _ = read(save(vllm_answer(one, one.ids_tlk)), layers=rules)
    assert records[0].layers == layers
    twice = (layers[0], _with(layers[0], layer=1))
    with pytest.raises(TraceError, match=r"layers at the blocks \[0, 0\]"):
        read(save(vllm_answer(one, one.ids_tlk)), layers=twice)


def test_usage_and_ids_agree_in_the_stand_in():
    one = run(TEXTS[0], 4)
    assert usage(one)["total_tokens"] - 1 == one.record.tokens
