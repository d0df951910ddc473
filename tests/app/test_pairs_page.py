"""The page of pairs over what ships with a model: pairs, their tokens, steps and paths, or why there are none."""

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME
from gatescope.cache.store import Store
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord
from gatescope.server.settings import settings


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens a page by its address on a server of the bundled models; no model is loaded for it."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    page = AppTest.from_file(FRAME, default_timeout=240)

    def open_page(**params: str) -> AppTest:
        page.switch_page("../pages/pairs.py")
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


def test_every_figure_stands_on_the_probe_set(opened):
    page = opened()
    said = words(page)
    for question in ("Which experts are co-activated?", "Where do the tokens of expert 0 go next?"):
        assert question in said
    assert "No layer is pinned: layer 0 is shown" in said
    assert "Of 496 pairs" in said  # 32 x 31 / 2
    assert "over 552 documents" in said
    said = words(page.segmented_control(key="pairs-part").set_value("Paths through all layers").run())
    for question in ("How many paths carry the tokens?", "Do layers follow one another?"):
        assert question in said
    assert "a word keeps 76 % of its experts" in said
    assert "Where do the tokens of expert 0 go next?" not in said  # one part at a time


def test_the_pinned_expert_comes_with_its_strongest_partner_and_another_can_be_chosen(opened):
    page = opened(l="3", e="9")
    assert page.selectbox(key="pair-one").value == 9
    strongest = page.selectbox(key="pair-two").value
    assert f"What do experts 9 and {strongest} do together?" in words(page)
    other = 7 if strongest != 7 else 8
    page.selectbox(key="pair-two").set_value(other).run()
    assert not page.exception
    assert f"What do experts 9 and {other} do together?" in words(page)
    assert page.query_params["e"] == "9"


def test_choosing_an_expert_pins_it_and_its_step_to_the_next_layer_follows(opened):
    page = opened(l="3", e="9")
    page.selectbox(key="pair-one").set_value(4).run()
    assert page.query_params["e"] == "4"
    assert "Where do the tokens of expert 4 go next?" in words(page)


def test_the_last_layer_has_no_step(opened):
    said = words(opened(l="5"))
    assert "Not shown:** layer 5 is the last one" in said
    assert "choose an earlier layer" in said


def test_the_order_can_be_by_number(opened):
    page = opened()
    assert "average linkage" in words(page)
    page.segmented_control(key="pairs-order").set_value("by number").run()
    assert "average linkage" not in words(page)


def test_a_slice_recounts_pairs_and_their_test(opened):
    said = words(opened(s="domain:code"))
    assert "N = 6,616 tokens of 20 documents" in said
    assert "over 20 documents" in said


def test_a_model_with_too_many_pairs_to_keep_shows_those_furthest_from_chance(opened, monkeypatch):
    monkeypatch.setattr("gatescope.analysis.tally.pairs.MOST_CELLS", 0)
    monkeypatch.setattr("gatescope.analysis.metrics.pairs.KEPT", 6 * 40)
    page = opened(s="language:de", l="3", e="9")  # which no other test asks for, as what is computed is kept
    said = words(page)
    assert "kept are the 40 of its 496 pairs that are furthest from chance" in said
    assert "2,736 of 2,976 pairs are left out, those nearest to chance" in said  # of six layers
    last = page.selectbox(key="pair-two").options[-1]  # without a lift
    page.selectbox(key="pair-two").set_value(int(last)).run()
    assert not page.exception
    assert f"Experts 9 and {last}: left out of the results" in words(page)


def test_one_text_is_not_tested_and_nothing_is_called_beyond_chance(opened):
    said = words(opened(c="welcome.sift-softmax"))
    assert "No pair is beyond chance with enough support" in said
    assert "Not tested: that needs 10 documents, and there are 1" in said


def test_groups_of_experts_are_said_to_meet_by_the_rule(opened):
    assert "experts of one group meet by its rule alone" in words(opened(m="sift-sigmoid"))


def test_nothing_generated_is_said(opened):
    page = opened(f="generated")
    assert "Nothing was generated here" in words(page)
    assert not page.segmented_control


def test_another_model_stands_beside_where_lines_are_drawn(opened):
    assert "B: from" in words(opened(vs="probe.sift-sigmoid"))


def test_a_layer_with_fewer_experts_than_others_has_its_own_pairs_only(opened, uneven):
    """Three experts are 3 pairs, six are 15."""
    page = opened(c=uneven, l="1")
    assert len(page.selectbox(key="pair-one").options) == 3
    assert len(page.selectbox(key="pair-two").options) == 2
    page = opened(c=uneven, l="0", e="5")
    assert page.selectbox(key="pair-one").value == 5
    assert "Where do the tokens of expert 5 go next?" in words(page)
    assert opened(c=uneven, l="1", e="5").selectbox(key="pair-one").value in (0, 1, 2)
