"""What llama.cpp executes is what is recorded: held against transformers on the same weights, family by family."""

import threading
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from gatescope.cache.schema import decode, encode
from gatescope.corpora import probe
from gatescope.hooks import CaptureOptions, capture, capture_corpus, load_model, record
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.record import Document, Flag

pytestmark = pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("gguf")), reason="needs xllamacpp and gguf (requirements-dev.txt)"
)
if find_spec("gguf"):
    from benchmarks.gguf_files import write_gguf
    from gatescope.engines.llamacpp import capture_gguf, open_gguf, stream_gguf

HALF = 1e-3  # weights and scores are kept as float16
TIE = 1e-4  # two engines may pick either of two experts whose scores are no further apart
SIZE = {
    "vocab_size": 199,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
FAMILIES = {
    "mixtral": ("MixtralConfig", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "olmoe": ("OlmoeConfig", {"num_experts": 8, "num_experts_per_tok": 3, "num_key_value_heads": 4}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {
            "num_experts": 300,  # more than a byte can number
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
            "head_dim": 8,
        },
    ),
    "deepseek_v3": (
        "DeepseekV3Config",
        {
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
            "n_group": 4,
            "topk_group": 2,
            "routed_scaling_factor": 2.5,
            "n_routed_experts": 16,
            "n_shared_experts": 1,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
        },
    ),
    "gpt_oss": (
        "GptOssConfig",
        {
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "sliding_window": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
}
TOKENS = np.random.default_rng(3).integers(3, 199, 60).tolist()


def tiny(family):
    """A random model of one family whose routers decide, so that a wrong reader cannot pass by luck."""
    config, options = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(getattr(transformers, config)(**(SIZE | options))).eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith((".gate.weight", ".router.weight", "e_score_correction_bias", ".router.bias")):
                tensor.normal_(0, 0.3)
            elif "experts" in name or "embed" in name:
                tensor.normal_(0, 0.2)
    return model


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def pair(request, tmp_path_factory):
    """One model twice: in transformers, and as a file without a vocabulary."""
    model = tiny(request.param)
    path = write_gguf(model, tmp_path_factory.mktemp("gguf") / f"{request.param}.gguf")
    with open_gguf(path, attention="float32", threads=1, proof=False) as opened:
        yield model, opened


@pytest.fixture(scope="module", params=["sift-softmax", pytest.param("sift-sigmoid", marks=pytest.mark.slow)])
def bundled(request, tmp_path_factory):
    """A trained model twice, with its vocabulary."""
    model = load_model(BUNDLED_MODELS[request.param], device="cpu", dtype="float32")
    folder = tmp_path_factory.mktemp("gguf")
    paths = {
        kind: write_gguf(model.model, folder / f"{kind}.gguf", kind=kind, tokenizer=model.tokenizer)
        for kind in ("F32", "Q8_0", "Q4_0")
    }
    return model, paths


def run(model, ids):
    """Scores over the vocabulary, and the record of a pass, by transformers."""
    with torch.no_grad(), record(model, logits=True) as recording:
        logits = model(torch.tensor([ids])).logits[0]
    return logits, recording.record()


def dense(ids_tlk, weight_tlk, experts):
    """(tokens, layers, experts) weights, 0 where an expert did not run: slot order plays no part."""
    dense_tle = np.zeros((*ids_tlk.shape[:2], experts))
    np.put_along_axis(dense_tle, ids_tlk.astype(int), weight_tlk.astype(float), axis=2)
    return dense_tle


def test_ids_weights_and_scores_are_those_of_transformers(pair):
    model, opened = pair
    _, expected = run(model, TOKENS)
    found = capture_gguf(opened, TOKENS, logits=True)
    clear_tl = expected.margin_tl > TIE
    assert clear_tl.mean() > 0.99
    weights = [dense(one.ids_tlk, one.weight_tlk, one.experts)[clear_tl] for one in (found, expected)]
    np.testing.assert_allclose(*weights, atol=HALF)
    np.testing.assert_array_equal(found.rejected_tl[clear_tl], expected.rejected_tl[clear_tl])
    for name in ("margin_tl", "entropy_tl", "lse_tl", "logit_tle"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=2 * HALF, rtol=HALF)


def test_the_rule_is_the_one_that_transformers_behaviour_tells(pair):
    model, opened = pair
    _, expected = run(model, TOKENS[:8])
    assert [rule.sentence for rule in opened.layers] == [rule.sentence for rule in expected.layers]
    assert [rule.block for rule in opened.layers] == [rule.block for rule in expected.layers]


def test_losses_and_predictions_are_those_of_the_scores_over_the_vocabulary(pair):
    model, opened = pair
    logits, _ = run(model, TOKENS)
    found = capture_gguf(opened, TOKENS)
    nats = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(TOKENS[1:]), reduction="none")
    np.testing.assert_allclose(found.loss_t[:-1], nats, atol=1e-4)
    assert np.isnan(found.loss_t[-1])
    np.testing.assert_array_equal(found.predicted_t, logits.argmax(-1))


def test_listening_changes_nothing(pair):
    _, opened = pair
    opened.begin(len(TOKENS))
    deaf = opened.run(TOKENS, 0, (), 0).logits_nv.copy()
    opened.begin(len(TOKENS))
    kinds = set().union(*(reading.kinds for reading in opened.readings))
    heard = opened.run(TOKENS, 0, kinds, 10**6)
    np.testing.assert_array_equal(heard.logits_nv, deaf)
    assert {block for block, _ in heard.copied} == {rule.block for rule in opened.layers}


def test_a_trained_model_is_read_as_transformers_reads_it(bundled):
    model, paths = bundled
    documents = probe()[::60]
    expected = capture_corpus(model, documents, CaptureOptions(logits=True))
    with open_gguf(paths["F32"], attention="float32", threads=1) as opened:
        found = capture_gguf(opened, documents, logits=True)
    for name in ("token_t", "document_t", "position_t", "flag_t", "predicted_t"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.pieces, found.documents) == (expected.pieces, expected.documents)
    clear_tl = expected.margin_tl > TIE
    weights = [dense(one.ids_tlk, one.weight_tlk, one.experts)[clear_tl] for one in (found, expected)]
    np.testing.assert_allclose(*weights, atol=HALF)
    np.testing.assert_allclose(found.loss_t, expected.loss_t, atol=1e-3)
    np.testing.assert_allclose(found.logit_tle, expected.logit_tle, atol=1e-2)


@pytest.mark.slow
def test_coarser_weights_route_further_away_and_say_so(bundled):
    model, paths = bundled
    documents = probe()[::150]
    expected = np.sort(capture_corpus(model, documents).ids_tlk)
    shares, labels, digests = [], [], set()
    for path in paths.values():
        with open_gguf(path, threads=1) as opened:
            found = capture_gguf(opened, documents)
        shares.append((np.sort(found.ids_tlk) == expected).all(-1).mean())
        labels.append((found.provenance.dtype, found.provenance.engine))
        digests.add(found.provenance.fingerprint)
    assert 1 >= shares[0] > shares[1] > shares[2] > 0.5
    assert labels == [("F32", "llama.cpp"), ("Q8_0", "llama.cpp"), ("Q4_0", "llama.cpp")]
    assert len(digests) == 3


@pytest.mark.slow
def test_a_text_longer_than_one_pass_is_whole(bundled):
    model, paths = bundled
    ids = model.tokenizer("The keeper counted the lamps twice and wrote the number down. " * 70)["input_ids"]
    with open_gguf(paths["F32"], attention="float32", threads=1, proof=False) as opened:
        assert opened.chunk < len(ids) < opened.max_tokens
        found = capture_gguf(opened, ids)
    _, expected = run(model.model, ids)
    clear_tl = expected.margin_tl > 10 * TIE
    assert (np.sort(found.ids_tlk) == np.sort(expected.ids_tlk)).all(-1)[clear_tl].all()
    np.testing.assert_array_equal(found.position_t, np.arange(len(ids)))
    assert np.isfinite(found.loss_t[:-1]).all()


def test_generated_tokens_are_those_of_transformers(bundled):
    model, paths = bundled
    prompt = "The recipe begins"
    expected = capture(model, prompt, CaptureOptions(max_new_tokens=12))
    with open_gguf(paths["F32"], attention="float32", threads=1, proof=False) as opened:
        found = capture_gguf(opened, prompt, max_new_tokens=12)
    np.testing.assert_array_equal(found.token_t, expected.token_t)
    np.testing.assert_array_equal(found.flag_t, expected.flag_t)
    np.testing.assert_array_equal(np.sort(found.ids_tlk), np.sort(expected.ids_tlk))
    np.testing.assert_allclose(found.loss_t, expected.loss_t, atol=1e-3)
    assert (found.flag_t == Flag.GENERATED).sum() == 12


def test_a_text_ends_with_the_token_that_the_file_says_ends_it(bundled, tmp_path):
    model, paths = bundled
    with open_gguf(paths["F32"], threads=1, proof=False) as opened:
        written = capture_gguf(opened, "The recipe begins", max_new_tokens=6)
    new_t = written.token_t[written.flag_t == Flag.GENERATED].tolist()
    stop = next(token for token in new_t if new_t.index(token) == 3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(BUNDLED_MODELS["sift-softmax"])
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stop)
    path = write_gguf(model.model, tmp_path / "ends.gguf", tokenizer=tokenizer)
    with open_gguf(path, threads=1, proof=False) as opened:
        stopped = capture_gguf(opened, "The recipe begins", max_new_tokens=6)
    assert stopped.token_t.tolist() == written.token_t.tolist()[: -len(new_t) + 3]
    assert np.isfinite(stopped.loss_t).all(), "what came after the last token is known: the end"


def test_documents_are_read_each_on_its_own(pair):
    _, opened = pair
    lists = [TOKENS[:20], TOKENS[20:25], TOKENS[25:]]
    together = capture_gguf(opened, lists)
    alone = list(stream_gguf(opened, lists))
    assert [one.tokens for one in alone] == [20, 5, 35]
    np.testing.assert_array_equal(together.document_t, np.repeat([0, 1, 2], [20, 5, 35]))
    for number, one in enumerate(alone):
        own = together.take(together.document_t == number)
        np.testing.assert_array_equal(own.ids_tlk, one.ids_tlk)
        np.testing.assert_array_equal(own.position_t, np.arange(one.tokens))


def test_ids_and_weights_alone_are_the_same_ids_and_weights(pair):
    _, opened = pair
    whole, bare = capture_gguf(opened, TOKENS, logits=True), capture_gguf(opened, TOKENS, scores=False)
    np.testing.assert_array_equal(bare.ids_tlk, whole.ids_tlk)
    np.testing.assert_array_equal(bare.weight_tlk, whole.weight_tlk)
    assert {name for name, _ in whole.arrays()} - {name for name, _ in bare.arrays()} == {
        "margin_tl",
        "entropy_tl",
        "lse_tl",
        "rejected_tl",
        "logit_tle",
    }


def test_progress_counts_documents_and_may_end_the_capture(pair):
    _, opened = pair
    seen = []
    capture_gguf(opened, [TOKENS[:5]] * 3, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture_gguf(opened, [TOKENS[:5]] * 3, on_progress=stop)
    assert capture_gguf(opened, TOKENS[:5]).tokens == 5


def test_threads_that_share_a_model_do_not_mix(pair):
    _, opened = pair
    lists = [TOKENS[start : start + 9] for start in range(0, 36, 9)]
    expected = [capture_gguf(opened, ids) for ids in lists]
    found = [None] * len(lists)

    def read(number):
        for _ in range(5):
            found[number] = capture_gguf(opened, lists[number], max_new_tokens=0)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(lists))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids_tlk, other.ids_tlk)
        np.testing.assert_array_equal(one.loss_t, other.loss_t)


def test_a_record_survives_the_store(pair):
    _, opened = pair
    found = capture_gguf(opened, TOKENS, logits=True)
    kept = decode(encode(found))
    assert (kept.provenance, kept.layers) == (found.provenance, found.layers)
    np.testing.assert_array_equal(kept.ids_tlk, found.ids_tlk)


def test_a_labelled_document_keeps_its_labels(bundled):
    _, paths = bundled
    document = Document("Zwei Lampen.", id="d1", domain="fiction", language="de")
    with open_gguf(paths["Q4_0"], threads=1, proof=False) as opened:
        found = capture_gguf(opened, document)
    assert found.documents == (document,)
    assert "".join(found.piece(token) for token in found.token_t[1:]) == "Zwei Lampen."
    assert found.flag_t.tolist() == [Flag.SPECIAL] + [0] * (found.tokens - 1)
