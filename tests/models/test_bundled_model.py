"""What the model that ships promises: it loads, it is small, it learned, it uses its experts, and its card is true."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import BUNDLED_MODEL
from models.architecture import fresh_model
from models.card import render
from models.measure import measure

SENTENCES = {
    "en": "To open the document, choose the command from the menu and select the file that you want to read.",
    "de": "Um das Dokument zu öffnen, wählen Sie den Befehl aus dem Menü und die Datei, die Sie lesen möchten.",
    "fr": "Pour ouvrir le document, choisissez la commande dans le menu et le fichier que vous voulez lire.",
    "es": "Para abrir el documento, elija la orden en el menú y el archivo que desea leer en la ventana.",
    "ru": "Чтобы открыть документ, выберите команду в меню и файл, который вы хотите прочитать.",
    "ja": "文書を開くには、メニューからコマンドを選択し、読みたいファイルを選択します。",
    "zh": "要打开文档，请从菜单中选择命令，然后选择要阅读的文件。",
    "ar": "لفتح المستند اختر الأمر من القائمة ثم اختر الملف الذي تريد قراءته على النظام.",
    "python": "def read_lines(path):\n    with open(path) as file:\n        return [line.strip() for line in file]\n",
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BUNDLED_MODEL)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(BUNDLED_MODEL).eval()


@pytest.fixture(scope="module")
def figures():
    return json.loads((BUNDLED_MODEL / "evaluation.json").read_text())


def test_the_weights_are_small_and_the_head_is_not_written_twice():
    path = BUNDLED_MODEL / "model.safetensors"
    assert path.stat().st_size <= 30e6
    with safe_open(path, "pt") as tensors:
        assert not [name for name in tensors.keys() if "lm_head" in name]  # not a mapping


def test_the_head_is_tied_to_the_embeddings(model):
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_encoding_puts_the_start_mark_first_and_decodes_every_script(tokenizer):
    for text in SENTENCES.values():
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("language", SENTENCES)
def test_it_beats_its_untrained_self_by_two_nats_a_token_in(language, model, tokenizer):
    untrained = fresh_model(model.config, 20).to(model.dtype).eval()
    losses = [
        measured.loss_nats_d[0] / measured.predicted_d[0]
        for measured in (measure(m, tokenizer, [SENTENCES[language]], length=128) for m in (model, untrained))
    ]
    assert losses[0] < losses[1] - 2


def test_it_generates(model, tokenizer):
    prompt = tokenizer("The file", return_tensors="pt")
    with torch.inference_mode():
        produced = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert produced.shape[1] == prompt["input_ids"].shape[1] + 4


def test_the_card_shows_the_figures_of_the_evaluation(figures):
    assert (BUNDLED_MODEL / "README.md").read_text() == render(figures)


def test_no_expert_is_dead_and_every_layer_tells_the_language(figures):
    assert figures["trained"]["load"]["dead_l"] == [0] * figures["size"]["layers"]
    for trained, untrained in zip(
        *(figures[n]["information"]["language"] for n in ("trained", "untrained")), strict=True
    ):
        assert trained["excess_bits"] > untrained["excess_bits"]
        assert trained["p_value"] < 0.01


def test_the_evaluation_is_of_these_weights(figures, model):
    assert figures["size"]["weights_bytes"] == (BUNDLED_MODEL / "model.safetensors").stat().st_size
    assert figures["size"]["parameters"] == sum(parameter.numel() for parameter in model.parameters())
