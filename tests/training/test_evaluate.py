"""The figures of the model card: losses by label, what experts tell, and the history of the run."""

import json
import math

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from gatescope.models import bundled_captures as box
from gatescope.routing.errors import ModelNotFoundError
from gatescope.routing.record import Document, Provenance, RoutingRecord
from gatescope.routing.router import RouterRule
from gatescope.training import corpus, train
from gatescope.training.corpus import build
from gatescope.training.evaluate import choose, training
from gatescope.training.evidence import PROBE_QUESTIONS, QUESTIONS, information, load, losses, words
from gatescope.training.packages import Package
from gatescope.training.prepare import prepare
from gatescope.training.specialists import specialists
from gatescope.training.train import Recipe, State

TOKENS = 10
"""Tokens of each document below; the last one has nothing to predict."""


def documents() -> list[Document]:
    """Twenty-four documents of 40 bytes: domains a and b, languages en and de, in equal numbers."""
    return [Document("x" * 40, domain=domain, language=language) for domain in "ab" for language in ("en", "de")] * 6


def record(expert_d: list[int] | None = None, size: int = 24) -> RoutingRecord:
    """Every token of document d goes to expert `expert_d[d]` of 2; domain a costs 2 nats a token, domain b 6."""
    texts = documents()[:size]
    document_t = np.repeat(np.arange(size, dtype=np.int32), TOKENS)
    position_t = np.tile(np.arange(TOKENS, dtype=np.int32), size)
    loss_t = np.where([texts[d].domain == "a" for d in document_t], 2.0, 6.0).astype(np.float32)
    expert_t = np.asarray(expert_d or [0] * size, np.uint8)[document_t]
    return RoutingRecord(
        ids_tlk=expert_t[:, None, None],
        weight_tlk=None,
        token_t=position_t,
        document_t=document_t,
        position_t=position_t,
        flag_t=np.zeros(len(document_t), np.uint8),
        loss_t=np.where(position_t == TOKENS - 1, np.nan, loss_t).astype(np.float32),
        documents=tuple(texts),
        layers=(RouterRule(layer=0, block=0, module="mlp", experts=2, k=1, score="softmax"),),
        provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"),
    )


def test_losses_are_means_over_tokens_by_domain_language_and_pair():
    result = losses(record())
    assert result["nats"] == pytest.approx(4.0)
    assert result["bits_per_byte"] == pytest.approx(4.0 * 9 / math.log(2) / 40)
    assert result["domain"]["a"] == {"documents": 12, "tokens": 108, "nats": pytest.approx(2.0)}
    assert result["language"]["de"]["nats"] == pytest.approx(4.0)
    assert result["pair"]["b / en"]["nats"] == pytest.approx(6.0)


def test_a_label_with_few_documents_gets_no_loss_of_its_own():
    assert losses(record(size=12))["pair"] == {}


def test_experts_that_give_the_language_away_tell_one_bit_of_it_and_none_of_the_domain():
    told = record([int(document.language == "en") for document in documents()])
    result = information(told, QUESTIONS, permutations=200)
    assert result["language"][0]["observed_bits"] == pytest.approx(1)
    assert result["language given domain"][0]["p_value"] == pytest.approx(1 / 201)
    assert result["domain"][0]["observed_bits"] == pytest.approx(0, abs=1e-9)
    assert result["domain in English"][0]["documents"] == 12


def test_the_probe_set_is_asked_for_domains_in_its_texts_and_languages_in_its_passages():
    result = information(box.probed("sift-softmax"), PROBE_QUESTIONS, permutations=1)
    domains, languages = (layers[0] for layers in result.values())
    assert (domains["documents"], languages["documents"]) == (240, 312)
    assert domains["label_entropy_bits"] <= math.log2(12) and languages["label_entropy_bits"] <= math.log2(13)


def test_words_that_every_language_shares_explain_nothing_of_it():
    """All documents hold the same ten tokens: whatever experts tell of the language, no word does."""
    told = words(record([int(document.language == "en") for document in documents()]), permutations=80)
    assert told["token"][0]["observed_bits"] == pytest.approx(0, abs=1e-9)
    assert abs(told["language"][0]["share_excess"]) < 0.2
    assert told["language"][0]["given_words"]["observed_bits"] == pytest.approx(1)


def test_the_first_documents_of_every_pair_of_labels_are_chosen():
    rows = [corpus.Document("x", domain, "en", "s", "heldout") for domain in "aab" for _ in range(3)]
    chosen = choose(rows, 2)
    assert [(document.domain, document.id) for document in chosen] == [("a", "0"), ("a", "1"), ("b", "6"), ("b", "7")]


def test_the_specialist_of_a_label_is_named_on_one_half_and_measured_on_the_other():
    """Expert 1 of layer 1 sees only "rare" documents: 8 of 8, where the label has 1 in 4 of all assignments."""
    is_rare_d = np.array([True, False, False, False] * 4)
    shared_de = np.full((16, 2), 4)
    leaning_de = np.stack([np.where(is_rare_d, 0, 8), np.where(is_rare_d, 8, 0)], axis=1)
    found = specialists(np.stack([shared_de, leaning_de], axis=1), ["rare" if rare else "usual" for rare in is_rare_d])
    assert found[0] == ("rare", 1, 1, pytest.approx(4.0), 1.0, 0.25)


def test_the_lift_of_a_specialist_found_in_noise_is_near_one():
    """1,200 documents that choose alike: the most leaning of 64 experts hardly leans on the other half."""
    draw = np.random.default_rng(0)
    count_dle = draw.multinomial(100, np.full(32, 1 / 32), size=(1200, 2))
    labels = [str(label) for label in draw.integers(4, size=1200)]
    assert all(abs(found.lift - 1) < 0.15 for found in specialists(count_dle, labels))


def test_load_is_taken_over_all_documents():
    even = load(record([0, 1] * 12))
    assert (even["variation_l"], even["violation_l"], even["dead_l"]) == ([0.0], [0.0], [0])
    assert load(record())["dead_l"] == [1]


def test_the_history_of_a_run_comes_from_its_state_and_log(tmp_path):
    state = State(step=50, tokens=800, seconds=12.5)
    torch.save({"state": vars(state), "recipe": vars(Recipe(tokens=800))}, tmp_path / "checkpoint.pt")
    rows = [
        {"step": step, "tokens": 16 * step, "loss": 5.0, "rate": 0.1, "variation_l": [0.5], "other": 1}
        for step in range(1, 51)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    history = training(tmp_path)
    assert (history["steps"], history["tokens"], history["seconds"]) == (50, 800, 12.5)
    assert history["curve"][0] == {"step": 1, "tokens": 16, "loss": 5.0, "rate": 0.1, "variation_l": [0.5]}
    assert history["curve"][-1]["step"] == 50


def test_a_run_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"python -m gatescope\.training\.train"):
        training(tmp_path)


def test_a_corpus_that_is_not_there_stops_training_with_one_message(tmp_path):
    app = Typer()
    app.command()(train.main)
    result = CliRunner().invoke(
        app, ["sift-softmax", "--tokens", "1", "--corpus", str(tmp_path), "--runs", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "run: python -m gatescope.training.corpus --out" in result.output


def test_the_text_is_tokenised_once(tmp_path, monkeypatch):
    row = Package("arithmetic", "generated", "1", "Apache-2.0", "mathematics", ("en", "ru"), "arithmetic")
    monkeypatch.setattr(corpus, "PACKAGES", (row,))
    build(row, tmp_path)
    first = prepare(tmp_path)
    assert sorted(first.streams) == ["arithmetic/en", "arithmetic/ru"]
    (tmp_path / f"{row.key}.jsonl").write_text("")
    again = prepare(tmp_path)
    assert len(again.tokenizer) == len(first.tokenizer)
    assert all(np.array_equal(again.streams[name].token_t, first.streams[name].token_t) for name in first.streams)
