"""What the models that ship promise: they load, are small, learned, use their experts, and their cards are true."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.words import token_information
from gatescope.analysis.statistics.information import excess_information
from gatescope.analysis.statistics.load import counts_by_document, expert_counts, load_cv
from gatescope.corpora import languages, probe
from gatescope.hooks import attach, capture_corpus, load_model
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import history, load_probe_capture
from gatescope.routing.errors import WeightsError
from gatescope.training.architecture import fresh_model
from gatescope.training.card import render
from gatescope.training.evidence import is_passage, labels, losses
from gatescope.training.export import narrowed
from gatescope.training.ship import texts_over_training

NAMES = tuple(BUNDLED_MODELS)
PERMUTATIONS = 1999
"""Of so many, the smallest p there can be is 0.0005."""


@pytest.fixture(scope="module", params=[NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name) -> Path:
    return BUNDLED_MODELS[name]


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def figures(folder):
    return json.loads((folder / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def captured(name):
    """The capture of the probe set that ships with the model."""
    return load_probe_capture(name)


def test_the_weights_are_small_and_the_head_is_not_written_twice(folder):
    path = folder / "model.safetensors"
    assert path.stat().st_size <= 30e6
    assert not [name for name in load_file(path) if "lm_head" in name]


def test_it_needs_no_code_of_its_own_and_its_head_is_tied_to_the_embeddings(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_both_models_have_one_tokenizer():
    first, second = ((folder / "tokenizer.json").read_bytes() for folder in BUNDLED_MODELS.values())
    assert first == second


def test_encoding_puts_the_start_mark_first_and_decodes_every_script(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for document in languages():
        ids = tokenizer(document.text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == document.text


@pytest.mark.parametrize("which", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_model_with_one_bit_flipped_is_refused(folder, tmp_path, which):
    for file in (each for each in folder.iterdir() if each.is_file()):
        shutil.copy(file, tmp_path)
    content = bytearray((tmp_path / which).read_bytes())
    at = len(content) - 5_001 if which == "model.safetensors" else content.index(b"5")  # a weight; a digit
    content[at] ^= 1
    (tmp_path / which).write_bytes(content)
    with pytest.raises(WeightsError, match=r"have the fingerprint .* and fingerprint\.txt says") as caught:
        load_model(tmp_path)
    assert "restore the folder" in caught.value.do


def test_the_shipped_capture_is_of_these_weights_and_this_probe_set(loaded, captured):
    assert captured.provenance.fingerprint == loaded.fingerprint, "run python -m gatescope.training.ship"
    assert captured.documents == tuple(probe()), "run python -m gatescope.training.ship"


def test_the_shipped_capture_is_what_the_model_does(loaded, captured):
    chosen = range(0, len(captured.documents), 40)
    again = capture_corpus(loaded, [captured.documents[number] for number in chosen])
    rows_t = np.isin(captured.document_t, list(chosen))
    np.testing.assert_array_equal(captured.token_t[rows_t], again.token_t)
    assert (captured.ids_tlk[rows_t] == again.ids_tlk).mean() > 0.999


@pytest.mark.slow  # it guards the weights, which a change of code leaves alone
def test_it_beats_its_untrained_self_in_every_language_and_domain(loaded, figures, captured):
    """By two nats a token, where the untrained one knows nothing: its loss is that of an even guess."""
    seed = figures["training"]["recipe"]["seed"]
    fresh = attach(narrowed(fresh_model(loaded.model.config, seed)).float().eval(), loaded.tokenizer, name="untrained")
    untrained = losses(capture_corpus(fresh, texts_over_training()))
    assert untrained["nats"] == pytest.approx(np.log(figures["size"]["vocabulary"]), abs=0.4)
    trained = losses(captured)
    for kind in ("language", "domain"):
        assert len(trained[kind]) >= 10
        for label, row in trained[kind].items():
            assert row["nats"] < untrained["nats"] - 2, label


def of_kind(record, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts and label numbers of the half of the probe set in which this label varies."""
    chosen_d = np.array([is_passage(document) == (kind == "language") for document in record.documents])
    label_d = np.unique(np.array(labels(record, kind))[chosen_d], return_inverse=True)[1]
    return counts_by_document(record).filled(0)[chosen_d], label_d


@pytest.mark.parametrize("kind", ["domain", "language"])
def test_experts_tell_the_label_of_texts_that_no_training_saw(kind, captured):
    count_dle, label_d = of_kind(captured, kind)
    layers = excess_information(count_dle, label_d, permutations=PERMUTATIONS)
    assert sum(layer.p_value < 0.001 for layer in layers) > len(layers) / 2
    assert max(layer.excess_bits for layer in layers) > 0.1


def test_the_words_alone_do_not_explain_what_experts_tell_of_the_domain(captured):
    """Among English texts: words lead domains to their experts, but at the same word the domain still counts."""
    is_english_d = np.array([not is_passage(document) for document in captured.documents])
    label_d = np.unique(np.array(labels(captured, "domain")), return_inverse=True)[1]
    layers = composition(
        captured.ids_tlk,
        captured.token_t,
        captured.document_t,
        np.where(is_english_d, label_d, -1),
        permutations=199,
    )
    assert {layer.label.documents for layer in layers} == {240}
    told = [layer.given_words.p_value <= 0.01 and 0.1 < layer.share_excess < 0.95 for layer in layers]
    assert sum(told) > len(layers) / 2
    assert all(layer.agreement > 0.5 and layer.covered > 0.3 for layer in layers)


def test_experts_tell_the_token(captured):
    layers = token_information(captured.ids_tlk, captured.token_t, captured.document_t, permutations=99)
    assert all(layer.p_value == pytest.approx(0.01) and layer.excess_bits > 0.3 for layer in layers)


def test_no_layer_has_collapsed(captured, figures):
    counts_le = expert_counts(captured)
    assert (load_cv(counts_le) < 1).all()
    assert figures["heldout"]["trained"]["load"]["dead_l"] == [0] * figures["size"]["layers"]


@pytest.mark.slow  # it guards the weights, which a change of code leaves alone
def test_it_writes_in_the_script_of_the_beginning(loaded):
    """Forty tokens after a beginning in a script of its own stay in that script, for the most part."""
    scripts = {"ru": "Ѐӿ", "el": "Ͱῼ", "ar": "؀ۿ", "he": "֐׿", "hi": "ऀॿ", "th": "฀๿", "ko": "가힣"}
    for document in languages():
        if document.language not in scripts:
            continue
        low, high = scripts.pop(document.language)
        ids = torch.tensor([loaded.tokenizer(document.text)["input_ids"][:30]])
        with torch.inference_mode():
            made = loaded.model.generate(ids, max_new_tokens=40, do_sample=False)
        written = [sign for sign in loaded.tokenizer.decode(made[0, 30:], skip_special_tokens=True) if sign.isalpha()]
        assert len([sign for sign in written if low <= sign <= high]) > 0.6 * len(written), document.language


@pytest.mark.slow  # it guards the weights, which a change of code leaves alone
def test_the_history_begins_untrained_ends_with_these_weights_and_grows_towards_them(name, loaded, figures):
    moments = history(name)
    assert len(moments) >= 6
    assert (moments[0].step, moments[-1].tokens) == (0, figures["training"]["tokens"])
    overlap = [row["overlap_l"] for row in figures["saturation"]]
    assert np.mean(overlap[0]) < np.mean(overlap[2]) < np.mean(overlap[-2]) < 1 == np.mean(overlap[-1])
    now = capture_corpus(loaded, texts_over_training())
    assert (now.ids_tlk == moments[-1].record.ids_tlk).mean() > 0.999


def test_a_file_of_the_history_is_small(folder):
    assert all(path.stat().st_size < 700_000 for path in (folder / "captures" / "history").iterdir())


def test_the_card_shows_the_figures_of_the_evaluation(folder, figures):
    assert (folder / "README.md").read_text() == render(figures)


def test_the_evaluation_is_of_these_weights(figures, folder, loaded):
    assert figures["size"]["weights_bytes"] == (folder / "model.safetensors").stat().st_size
    assert figures["size"]["parameters"] == loaded.parameters
