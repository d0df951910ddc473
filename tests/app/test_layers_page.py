"""The page of layers over what ships with a model: every part stands, each choice recounts or says why not."""

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME
from gatescope.cache.store import Store
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord
from gatescope.server.settings import settings

DEPTHS = ("How many experts is the work worth?", "How far is the busiest above the mean?", "How undecided is the gate?")


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens a page by its address on a server of the bundled models; no model is loaded for it."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    page = AppTest.from_file(FRAME, default_timeout=240)

    def open_page(**params: str) -> AppTest:
        page.switch_page("../pages/layers.py")
        for name in list(page.query_params):
            del page.query_params[name]
        for name, value in params.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    yield open_page
    settings.cache_clear()
    st.cache_resource.clear()


@pytest.fixture
def uneven(opened):  # noqa: ARG001 - it names the folder of captures
    """The id of a kept capture of 12 documents whose first layer has 6 experts, whose second has 3."""
    generator = np.random.default_rng(0)
    tokens, documents = 240, 12
    ids_tlk = np.stack([_chosen(generator, tokens, experts) for experts in (6, 3)], axis=1)
    record = RoutingRecord(
        ids_tlk=ids_tlk.astype(np.uint8),
        weight_tlk=np.full(ids_tlk.shape, 0.5, np.float16),
        token_t=np.arange(tokens, dtype=np.int32) % 7,
        document_t=np.repeat(np.arange(documents, dtype=np.int32), tokens // documents),
        position_t=np.tile(np.arange(tokens // documents, dtype=np.int32), documents),
        flag_t=np.zeros(tokens, np.uint8),
        documents=tuple(Document(f"text {number}") for number in range(documents)),
        layers=tuple(
            RouterRule(layer=layer, block=layer, module="mlp", experts=experts, k=2, score="softmax")
            for layer, experts in enumerate((6, 3))
        ),
        provenance=Provenance(model="uneven", fingerprint="0f" * 8, dtype="float32", device="cpu"),
    )
    Store(settings().cache_dir).put("abcdefghijklmnop", record)
    return "abcdefghijklmnop"


def _chosen(generator, tokens, experts):
    """Two of so many experts for each token."""
    return generator.random((tokens, experts)).argsort(axis=1)[:, :2]


def words(page: AppTest) -> str:
    """All that is said on the page."""
    parts = (*page.title, *page.header, *page.subheader, *page.markdown, *page.caption, *page.info)
    return "\n".join(part.value.replace("\\", "") for part in parts)


def all_parts(page: AppTest) -> str:
    """All that is said on the page, one part after another below the load."""
    said = []
    for part in ("One layer", "By depth", "By kind of token", "Any other measure"):
        page.segmented_control(key="layers-part").set_value(part).run()
        assert not page.exception
        said.append(words(page))
    return "\n".join(said)


def test_every_figure_stands_on_the_probe_set(opened):
    said = all_parts(opened())
    for question in (*DEPTHS, "How much do the busiest do?", "Is it even in short stretches too?"):
        assert question in said
    assert "Of 192 experts 0 are dead" in said
    assert said.count("N = 110,552 tokens of 552 documents") >= 8
    assert "Not shown:** Not known in layers 0–5: " in said  # the gate's kept share: no raw scores
    assert "no prompt tokens, or no generated ones" in said


def test_what_to_watch_out_for_in_a_corpus_is_what_was_found_when_it_was_analysed(opened, monkeypatch):
    """No tally is read for it; that shares stand beside shares is no matter of texts."""

    def refuse(*asked):
        raise AssertionError(f"a tally was read: {asked}")

    monkeypatch.setattr("gatescope.app.views.layers.warnings.tally_of", refuse)
    page = opened()
    assert "2 things to watch out for in these texts" in [each.label for each in page.expander]
    said = words(page)
    assert "1,662 of 7,732 token ids (21.5 %) occur once" in said and "stand beside shares" not in said


def test_the_layer_shown_first_is_the_least_even_one(opened):
    """Its Gini coefficient is the largest of the shipped analysis: layer 5 of sift-softmax."""
    page = opened()
    assert page.selectbox(key="layer-chosen").value == 5
    assert "experts of layer 5 do 39.6 % of its work" in words(page)


def test_a_pinned_expert_is_told_in_words_with_the_way_to_its_page(opened):
    page = opened(l="5", e="31")
    assert "Expert 31 of layer 5:" in words(page)
    assert "number 1 of 32 by load" in words(page)
    assert page.button(key="open-expert").label == "Open expert 31 of layer 5"


def test_a_layer_can_be_chosen_by_name_and_drops_the_expert_of_another(opened):
    page = opened(l="5", e="31")
    page.selectbox(key="layer-chosen").set_value(2).run()
    assert page.query_params.get("l") == "2"
    assert "e" not in page.query_params
    assert "experts of layer 2 do" in words(page)


def test_gate_weight_is_another_count(opened):
    page = opened()
    before = next(part.value for part in page.markdown if part.value.startswith("Busiest"))
    page.segmented_control(key="load-of").set_value("relative_gate_mass").run()
    after = next(part.value for part in page.markdown if part.value.startswith("Busiest"))
    assert not page.exception
    assert before != after


def test_each_layer_on_its_own_scale_says_the_same(opened):
    page = opened()
    page.toggle(key="load-stretched").set_value(True).run()
    assert not page.exception
    assert "Of 192 experts 0 are dead" in words(page)


def test_a_slice_recounts_everything(opened):
    said = all_parts(opened(s="domain:code"))
    assert "N = 6,616 tokens of 20 documents" in said
    assert "N = 110,552" not in said
    assert "The texts are of one domain" in said


def test_nothing_generated_is_said_with_a_way_back(opened):
    page = opened(f="generated")
    assert "Nothing was generated here" in words(page)
    assert not page.segmented_control
    back = next(button for button in page.button if button.label == "Count the text's own tokens")
    back.click().run()
    assert page.segmented_control(key="layers-part").value == "One layer"


def test_another_model_stands_beside_with_its_own_numbers(opened):
    said = all_parts(opened(vs="probe.sift-sigmoid"))
    assert "B: from 59.3 experts in layer 4 (block 5)" in said
    assert "B: 110,552 tokens" in said


def test_shared_experts_are_counted_apart(opened):
    said = words(opened(m="sift-sigmoid"))
    assert "Beside these 1 shared expert works on every token" in said


def test_one_short_text_is_shown_without_intervals_and_says_so(opened):
    said = all_parts(opened(c="welcome.sift-softmax"))
    assert "No interval: it is over documents, and there are fewer than two." in said
    assert "Only 37 tokens" in said


def test_layers_with_fewer_experts_than_others_end_where_theirs_do(opened, uneven):
    """Layer 0 has 6 experts, layer 1 has 3: 9 in all, and the third is no expert of layer 1 that could be pinned."""
    page = opened(c=uneven, l="1", e="2")
    said = words(page)
    assert "Of 9 experts" in said
    assert "of 3 by load" in said
    assert "of 3 experts of layer 1 do" in said
    assert "Open expert" not in "".join(button.label for button in opened(c=uneven, l="1", e="5").button)
