"""The Model page: what is said of a model is what it is, whether it loads, fails a check, or has a hostile name."""

import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
import streamlit as st
import torch
import transformers
from safetensors.torch import load_file
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME, server
from gatescope.app.views.model.blocks_figure import rule_figure
from gatescope.app.views.model.report import CLAIMS
from gatescope.routing.router import RouterRule
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import settings
from tests.app.browser.harness import go_to
from tests.app.test_browser import address, visit  # noqa: F401  # a dashboard of this file's own

PAGE = "../pages/model.py"
QUESTION = "What does this model do with a token, and can I trust the recording?"


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the page on a server whose first model is the one named; `others` may be chosen too."""

    def open_page(model: object, *, others: str = "", is_awaited: bool = True, **params: str) -> AppTest:
        monkeypatch.setenv("GATESCOPE_MODEL", str(model))
        monkeypatch.setenv("GATESCOPE_MODELS", others)
        monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
        _forget()
        if is_awaited:
            assert server().worker(settings().model).loading.wait(240)
        page = AppTest.from_file(FRAME, default_timeout=240).run()
        page.switch_page(PAGE)
        for name, value in params.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    yield open_page
    monkeypatch.undo()
    _forget()


def _forget():
    settings.cache_clear()
    st.cache_resource.clear()


class Text(HTMLParser):
    """The words of a piece of HTML, and its tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.tags, self._is_style = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._is_style = tag == "style"

    def handle_endtag(self, _tag):
        self._is_style = False

    def handle_data(self, data):
        if not self._is_style:
            self.words.append(data)

    def dots(self) -> list[str]:
        """The kinds of all dots, "" for an expert that does not run."""
        return [attrs.get("class", "") for tag, attrs in self.tags if tag == "i"]


def html_of(page: AppTest) -> str:
    return "".join(one.proto.body for one in page.get("html"))


def drawn(page: AppTest) -> list[str]:
    """What can be read of the page's own HTML; the frame's is style alone."""
    return [word for word in Text(html_of(page)).words if word.strip()]


def words(page: AppTest) -> str:
    """Everything readable on the page."""
    shown = [*page.title, *page.header, *page.markdown, *page.caption, *page.error, *page.warning, *page.success]
    said = "\n".join(str(one.value) for one in shown).replace("\\", "")
    return "\n".join([said, *Text(html_of(page)).words, *(one.value for one in page.code)])


def facts(page: AppTest) -> dict[str, str]:
    """Names and values of all lists of facts."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html_of(page))
    return dict(pairs)


def numbers_in(folder: Path) -> int:
    """All numbers of a saved model, counted from its file."""
    return sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())


def test_a_loaded_model_is_described_and_proven(opened, tiny_model):
    page = opened(tiny_model)
    assert page.title[0].value == QUESTION
    said = words(page)
    assert "Layers 0–1" in said
    assert "softmax over 8 experts, the best 2 kept." in said  # OLMoE without norm_topk_prob, as its config says
    assert "2 of 2 blocks have experts" in said
    assert facts(page)["Experts a token"] == "2 of 8 (25.0%)"
    checks = server().worker(settings().model).model.selfcheck.checks
    assert f"Yes: {len(checks)} of {len(checks)} checks passed." in said
    assert [one.detail for one in checks if one.detail not in said] == []


def test_every_check_of_a_model_is_explained(opened, tiny_model):
    opened(tiny_model)
    assert {one.name for one in server().worker(settings().model).model.selfcheck.checks} == set(CLAIMS)


def test_where_a_model_comes_from_is_said(opened, tiny_model):
    shown = facts(opened(tiny_model))
    assert shown["Name"] == tiny_model.name
    assert shown["Class"] == "OlmoeForCausalLM (olmoe)"
    assert shown["Parameters"] == f"{numbers_in(tiny_model):,}"
    assert shown["Number format"] == "float32"
    assert re.fullmatch(r"cpu, on \d+ threads?", shown["Device"])
    assert re.match(r"[0-9a-f]{16},", shown["Fingerprint"])
    assert f"torch {torch.__version__}, transformers {transformers.__version__}" in shown["Versions"]
    assert shown["Longest text"] == "512 tokens"


def test_the_command_gives_the_same_report(opened, tiny_model, monkeypatch):
    monkeypatch.setenv("GATESCOPE_DTYPE", "float32")
    page = opened(tiny_model)
    assert page.code[-1].value == f"gatescope check {tiny_model} --dtype float32"


def test_a_model_is_not_read_by_the_page_that_waits_for_it(opened, tiny_model, monkeypatch):
    may_go_on, readers = threading.Event(), []
    usual = ModelWorker._read_model

    def slow(self, tick):
        readers.append(threading.current_thread())
        may_go_on.wait(240)
        return usual(self, tick)

    monkeypatch.setattr("gatescope.server.model_worker.ModelWorker._read_model", slow)
    page = opened(tiny_model, is_awaited=False)
    try:
        assert next(one.label.replace("\\", "") for one in page.status).startswith(f"Reading the model {tiny_model}")
        assert drawn(page) == []
    finally:
        may_go_on.set()
    assert server().worker(settings().model).loading.wait(240)
    page.run()
    assert "checks passed" in words(page)
    assert [one.name for one in readers] == ["gatescope-worker"]


def test_a_dense_model_is_told_so_in_three_parts(opened, tmp_path, tiny_model):
    folder = tmp_path / "dense"
    sizes = {"hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=1000, **sizes)).save_pretrained(folder)
    for file in tiny_model.glob("tokenizer*"):
        shutil.copy(file, folder)
    page = opened(folder)
    (error,) = (one.value.replace("\\", "") for one in page.error)
    assert re.search(r"\*\*Found:\*\* dense: no router found in llama .*\*\*Expected:\*\* .*\*\*Do:\*\* ", error, re.S)
    assert [one.label for one in page.button] == ["Search", "Try again"]
    assert drawn(page) == []


def test_a_failed_check_is_told_with_what_it_means(opened, tiny_model, monkeypatch):
    from gatescope import hooks

    usual = hooks.load_model

    def with_an_odd_router(*arguments, **options):
        """The same model, its first layer weighing by a formula that nobody knows."""
        model = usual(*arguments, **options)
        gate = model.model.model.layers[0].mlp.gate
        forward = type(gate).forward

        def cubed(self, hidden):
            logits, weights, ids = forward(self, hidden)
            return logits, weights**3, ids

        gate.__class__ = type("OddRouter", (type(gate),), {"forward": cubed})
        return hooks.attach(model.model, model.tokenizer, name="odd")

    monkeypatch.setattr("gatescope.hooks.load_model", with_an_odd_router)
    page = opened(tiny_model)
    said = words(page)
    checks = server().worker(settings().model).model.selfcheck.checks
    assert f"Not in full: 1 of {len(checks)} checks failed** (weights)." in said
    assert not page.success
    assert "Did not hold: " + CLAIMS["weights"][0] in said and said.count("Did not hold") == 1
    assert CLAIMS["weights"][1] in said and CLAIMS["choice"][1] not in said
    assert "follow 2 rules" in said
    assert ["Layer 0" in said, "Layer 1" in said] == [True, True]


def test_another_model_is_chosen_and_kept_in_the_address(opened, tiny_model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    page = opened(tiny_model, others=str(other), c="abcdefghijklmnop", t="3")
    assert facts(page)["Name"] == tiny_model.name
    page.selectbox(key="model").select(str(other)).run()
    assert server().worker(str(other)).loading.wait(240)
    page.run()
    assert facts(page)["Name"] == "other"
    assert set(page.query_params) == {"m"}, "a capture and its pins are of the model before"
    assert page.query_params["m"] in (str(other), [str(other)])


def test_a_model_that_is_not_offered_is_said(opened, tiny_model):
    page = opened(tiny_model, m="<b>someone/else</b>")
    assert "is not one of" in words(page)
    assert facts(page)["Name"] == tiny_model.name


def test_markup_in_a_name_stays_text(opened, tiny_model, tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)> **bold** :red[x]"
    shutil.copytree(tiny_model, folder)
    page = opened(folder)
    assert "&lt;img" in html_of(page)
    assert "img" not in {tag for tag, _ in Text(html_of(page)).tags}
    assert folder.name in words(page)
    assert all("<img" not in one.value and ":red[x]" not in one.value for one in [*page.markdown, *page.caption])


def rule(**fields) -> RouterRule:
    known = {"layer": 0, "block": 0, "module": "m", "score": "softmax"}
    return RouterRule(**known | fields)


@pytest.mark.parametrize(
    ("fields", "drawn"),
    [
        ({"experts": 8, "k": 3}, {"on": 3, "": 5}),
        ({"experts": 4, "k": 1, "shared_experts": 2}, {"on": 1, "": 3, "gap": 1, "shared": 2}),
        ({"experts": 6, "k": 1, "zero_experts": 2}, {"on": 1, "": 3, "same": 2}),
        ({"experts": 8, "k": 3, "groups": 4, "groups_kept": 2}, {"on": 3, "": 5}),
        ({"experts": 5000, "k": 3}, {}),
    ],
)
def test_there_are_as_many_dots_as_experts(fields, drawn):
    dots = Text(rule_figure("Layer 0", "", rule(**fields), [])).dots()
    assert {kind: dots.count(kind) for kind in dots} == drawn


def test_experts_of_a_group_stand_together_and_only_in_kept_ones():
    text = Text(rule_figure("Layer 0", "", rule(experts=8, k=3, groups=4, groups_kept=2), []))
    spans = [attrs["class"] for tag, attrs in text.tags if tag == "span"]
    assert spans == ["group kept", "group kept", "group", "group"]
    assert text.dots() == ["on", "on", "on", "", "", "", "", ""]


@pytest.mark.browser
def test_a_bundled_model_is_read_about_and_then_used(visit):  # noqa: F811
    page = visit()
    go_to(page, "model")
    page.get_by_text("What exactly it is").wait_for()
    page.get_by_role("combobox", name="Model", exact=False).click()
    page.get_by_role("option", name="sift-softmax").click()
    page.get_by_text("softmax over 32 experts").first.wait_for()
    assert page.get_by_role("img", name="4 of 32 experts run for a token").locator("i.on").count() == 4
    page.get_by_text("Model card").click()
    page.get_by_role("heading", name="Limits").wait_for()
    assert page.locator(".katex").count() == 0, "dollars in the samples of text are no formulas"
    page.set_viewport_size({"width": 390, "height": 1000})
    page.wait_for_timeout(1000)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    page.get_by_role("link", name="Give this model a text").click()
    page.get_by_role("textbox", name="Your text").wait_for()
    assert page.url.endswith("/?m=sift-softmax")
    page.set_viewport_size({"width": 1280, "height": 1000})
    go_to(page, "model")
    page.get_by_text("softmax over 32 experts").first.wait_for()
    assert page.url.endswith("/model?m=sift-softmax"), "the model goes along to the other page"
