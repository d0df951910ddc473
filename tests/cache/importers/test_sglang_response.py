"""Answers of SGLang, new and old: the records are those of hooks on the same model."""

import base64
import json

import numpy as np
import pytest

from gatescope.cache.importers import read_trace
from gatescope.cache.importers.importer import Given
from gatescope.cache.importers.sglang_response import IMPORTER
from gatescope.routing import Flag, RouterRule
from gatescope.routing.errors import TraceError
from tests.engines import standin
from tests.engines.standin import TEXTS, among_zeros, bare, moved, run, sglang_answer, sglang_chat, vllm_answer

BLOCKS, HIDDEN = (1, 2, 4, 5, 6, 7), 9
HAND_RULE = RouterRule(layer=0, block=0, module="layer 0", experts=4, k=2, score="unknown")


@pytest.fixture(scope="module")
def layers():
    return standin.model().layers


@pytest.fixture
def save(tmp_path):
    def write(*answers):
        path = tmp_path / ("answers.jsonl" if len(answers) > 1 else "answer.json")
        path.write_text("\n".join(json.dumps(answer) for answer in answers), encoding="utf-8")
        return path

    return write


def read(path, **given):
    records, report = read_trace(path, Given(**given))
    return list(records), report


def older_chat(one, ids_thk):
    return sglang_chat(one, ids_thk, extra="sgl_ext")


def chat_with_meta(one, ids_thk):
    """A chat that asked for meta_info: the routes stand there, and nowhere else."""
    answer = sglang_chat(one, ids_thk)
    answer["choices"][0]["meta_info"] = {"routed_experts": answer.pop("sglext")["routed_experts"]}
    return answer


def chat_with_ids_apart(one, ids_thk):
    """Token ids in the extra part of the answer."""
    answer = sglang_chat(one, ids_thk)
    del answer["choices"][0]["prompt_token_ids"], answer["choices"][0]["response_token_ids"]
    answer["sglext"] |= {"input_ids": one.prompt_ids, "output_ids": [one.output_ids]}
    return answer


def completion(one, ids_thk):
    """An answer of /v1/completions."""
    ids = {"token_ids": one.output_ids, "prompt_token_ids": one.prompt_ids}
    choice = {"index": 0, "text": "…", **ids}
    return {"id": "f00", "object": "text_completion", "choices": [choice], "sglext": {"routed_experts": bare(ids_thk)}}


def with_logged_ids(one, ids_thk):
    """An older server knows no return_prompt_token_ids; the ids stand beside the log-probabilities."""
    answer = sglang_answer(one, ids_thk)
    del answer["prompt_token_ids"], answer["output_ids"]
    answer["meta_info"]["input_token_logprobs"] = [[None, token, None] for token in one.prompt_ids]
    answer["meta_info"]["output_token_logprobs"] = [[-0.5, token, None] for token in one.output_ids]
    return answer


FORMS = [sglang_answer, sglang_chat, older_chat, chat_with_meta, chat_with_ids_apart, completion, with_logged_ids]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_dense", [False, True])
def test_every_form_gives_the_routes_that_hooks_saw(form, has_dense, layers, save):
    runs = [run(text, 4) for text in TEXTS]
    rules = moved(layers, BLOCKS) if has_dense else layers
    routes = [among_zeros(one.ids_tlk, BLOCKS, HIDDEN) if has_dense else one.ids_tlk for one in runs]
    records, report = read(save(*map(form, runs, routes)), layers=rules)
    for one, record in zip(runs, records, strict=True):
        np.testing.assert_array_equal(record.ids_tlk, one.record.ids_tlk)
        np.testing.assert_array_equal(record.token_t, one.record.token_t)
        np.testing.assert_array_equal(record.position_t, one.record.position_t)
        np.testing.assert_array_equal((record.flag_t & Flag.GENERATED) > 0, (one.record.flag_t & Flag.GENERATED) > 0)
        assert record.provenance.engine == "SGLang"
    assert (report.documents, report.left_out) == (3, {})


def hand_answer(routes, *, prompt=2, output=1):
    meta = {"id": "a", "prompt_tokens": prompt, "completion_tokens": output, "routed_experts": routes}
    return {"text": "…", "meta_info": meta}


def test_numbers_written_out_by_hand(save):
    """1, 0, 3, 2 as little-endian 32-bit integers: 01 00 00 00 00 00 00 00 03 00 00 00 02 00 00 00."""
    records, report = read(save(hand_answer("AQAAAAAAAAADAAAAAgAAAA==")), layers=(HAND_RULE,))
    assert records[0].ids_tlk.tolist() == [[[1, 0]], [[3, 2]]]
    assert records[0].token_t.tolist() == [-1, -1] and any("token ids" in each for each in report.missing)


def test_a_batch_is_a_document_for_each_text(layers, save):
    runs = [run(text, 2) for text in TEXTS]
    answer = [sglang_answer(one, one.ids_tlk) for one in runs]
    line = {"request": {"text": list(TEXTS), "sampling_params": {"max_new_tokens": 2}}, "response": answer}
    records, _ = read(save(line), layers=layers)
    assert [record.documents[0].text for record in records] == list(TEXTS)
    assert len({record.documents[0].id for record in records}) == 3
    np.testing.assert_array_equal(records[2].ids_tlk, runs[2].record.ids_tlk)


def test_ids_sent_in_place_of_a_text(layers, save):
    one = run(TEXTS[0], 2)
    answer = sglang_answer(one, one.ids_tlk)
    del answer["prompt_token_ids"]
    for asked in (one.prompt_ids, [one.prompt_ids]):
        records, _ = read(save({"request": {"input_ids": asked}, "response": answer}), layers=layers)
        np.testing.assert_array_equal(records[0].token_t, one.record.token_t)


def test_choices_after_the_first_have_no_routes_and_are_counted(layers, save):
    one = run(TEXTS[0], 2)
    answer = sglang_chat(one, one.ids_tlk)
    answer["choices"].append(answer["choices"][0] | {"index": 1})
    records, report = read(save(answer), layers=layers)
    assert len(records) == 1
    assert dict(report.left_out) == {"choice after the first, whose routes are not returned": 1}


def test_a_beginning_that_was_not_asked_for_is_told_by_the_request_alone(layers, save):
    one = run(TEXTS[0], 3)
    answer = sglang_answer(one, one.ids_tlk[5:])
    with pytest.raises(TraceError, match=r"ids that do not fit the tokens|another model"):
        read(save(answer), layers=layers)
    records, _ = read(save({"request": {"routed_experts_start_len": 5}, "response": answer}), layers=layers)
    assert records[0].position_t.tolist() == list(range(5, one.record.tokens))
    np.testing.assert_array_equal(records[0].token_t, one.record.token_t[5:])


def test_a_beginning_longer_than_the_answer_is_refused(save):
    line = {"request": {"routed_experts_start_len": 9}, "response": hand_answer("")}
    with pytest.raises(TraceError, match="ids that do not fit the tokens"):
        read(save(line), layers=(HAND_RULE,))


def test_layers_are_needed_or_k_and_the_number_of_experts(save):
    one = run(TEXTS[0], 3)
    path = save(sglang_answer(one, among_zeros(one.ids_tlk, BLOCKS, HIDDEN)))
    with pytest.raises(TraceError, match="without the model's layers"):
        read(path)
    records, _ = read(path, k=4, experts=32)
    assert [rule.block for rule in records[0].layers] == list(BLOCKS)
    np.testing.assert_array_equal(records[0].ids_tlk, one.record.ids_tlk)


def test_an_answer_without_a_single_row_is_counted(layers, save):
    records, report = read(save(hand_answer("", prompt=1, output=0)), layers=layers)
    assert records == [] and dict(report.left_out) == {"answer without a single route": 1}


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ("AQAAAAAAAAADAAAAAgAA", "no 32-bit integers"),  # 15 bytes
        ("***", "no 32-bit integers"),
        (["AQAA"], "no 32-bit integers"),
        (base64.b64encode(bytes(12)).decode(), "ids that do not fit the tokens"),
        ("", "ids that do not fit the tokens"),
        (bare(np.array([[[1, 4]], [[3, 2]]])), "expert 4 in block 0, which has 4"),
        (bare(np.array([[[1, 0]] * 2, [[3, 2]] * 2])), "experts in block 1, which has none"),
        (None, "an answer without routed experts"),
    ],
)
def test_what_is_no_trace_is_refused_or_left_out(routes, said, save):
    whole = hand_answer("AQAAAAAAAAADAAAAAgAAAA==")
    path = save(whole, hand_answer(routes), whole)
    with pytest.raises(TraceError, match=f"answers.jsonl, line 2: .*{said}"):
        read(path, layers=(HAND_RULE,))
    records, report = read(path, layers=(HAND_RULE,), on_fault="skip")
    assert len(records) == 2 and list(report.where.values()) == [["answers.jsonl, line 2"]]


def test_answers_are_known_by_their_fields(save):
    one = run(TEXTS[0], 2)
    for form in FORMS:
        assert IMPORTER.detect(save(form(one, one.ids_tlk)))
    assert not IMPORTER.detect(save(vllm_answer(one, one.ids_tlk)))
    assert not IMPORTER.detect(save({"meta_info": {"id": "a"}}))
