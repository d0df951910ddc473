"""The figures of the model card: losses by label, what experts tell, and the history of the run."""

import json
import math

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from models import corpus, train
from models.corpus import Document, build
from models.evaluate import information, load, losses, training
from models.measure import Measurement
from models.packages import Package
from models.prepare import prepare
from models.specialists import specialists
from models.train import Recipe, State
from routing.errors import ModelNotFoundError


def documents() -> list[Document]:
    """Twenty-four documents: domains a and b, languages en and de, in equal numbers."""
    return [Document("x", domain, language, "s", "heldout") for domain in "ab" for language in ("en", "de")] * 6


def measurement(count_dle: np.ndarray) -> Measurement:
    size = len(count_dle)
    loss_d = np.where([d.domain == "a" for d in documents()], 20.0, 60.0)[:size]
    return Measurement(loss_d, np.full(size, 10), np.full(size, 40), count_dle)


def test_losses_are_means_over_tokens_by_domain_language_and_pair():
    result = losses(measurement(np.ones((24, 1, 2), dtype=int)), documents())
    assert result["nats"] == pytest.approx(4.0)
    assert result["bits_per_byte"] == pytest.approx(4.0 / math.log(2) / 4)
    assert result["domain"]["a"] == {"documents": 12, "tokens": 120, "nats": pytest.approx(2.0)}
    assert result["language"]["de"]["nats"] == pytest.approx(4.0)
    assert result["pair"]["b / en"]["nats"] == pytest.approx(6.0)


def test_a_label_with_few_documents_gets_no_loss_of_its_own():
    few = documents()[:12]
    assert losses(measurement(np.ones((12, 1, 2), dtype=int)), few)["pair"] == {}


def test_experts_that_give_the_language_away_tell_one_bit_of_it_and_none_of_the_domain():
    speaks_d = np.array([d.language == "en" for d in documents()], dtype=int)
    count_dle = np.stack([speaks_d * 8, (1 - speaks_d) * 8], axis=1)[:, None]
    result = information(measurement(count_dle), documents(), permutations=200)
    assert result["language"][0]["observed_bits"] == pytest.approx(1)
    assert result["language given domain"][0]["p_value"] == pytest.approx(1 / 201)
    assert result["domain"][0]["observed_bits"] == pytest.approx(0, abs=1e-9)
    assert result["domain in English"][0]["documents"] == 12


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
    count_dle = np.array([[[4, 0]], [[0, 4]]])
    assert load(measurement(count_dle))["variation_l"] == [0.0]


def test_the_history_of_a_run_comes_from_its_state_and_log(tmp_path):
    state = State(step=50, tokens=800, seconds=12.5)
    torch.save({"state": vars(state), "recipe": vars(Recipe(tokens=800))}, tmp_path / "checkpoint.pt")
    rows = [{"step": step, "tokens": 16 * step, "loss": 5.0, "rate": 0.1, "other": 1} for step in range(1, 51)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    history = training(tmp_path)
    assert (history["steps"], history["tokens"], history["seconds"]) == (50, 800, 12.5)
    assert history["curve"][0] == {"step": 1, "tokens": 16, "loss": 5.0, "rate": 0.1}
    assert history["curve"][-1]["step"] == 50


def test_a_run_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"python -m models\.train"):
        training(tmp_path)


def test_a_corpus_that_is_not_there_stops_training_with_one_message(tmp_path):
    app = Typer()
    app.command()(train.main)
    result = CliRunner().invoke(app, ["--tokens", "1", "--corpus", str(tmp_path), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "run: python -m models.corpus --out" in result.output


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
