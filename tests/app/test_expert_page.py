"""The page of one expert, over what ships with a model: it stands, follows the address, and says what is missing."""

from functools import cache

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME
from gatescope.models.bundled_captures import load_probe_capture
from gatescope.routing import Flag
from gatescope.server.settings import settings

QUESTIONS = (
    "How busy is it, and for which texts is it used more often?",
    "Which words does it take?",
    "Where does it work?",
    "Does it work more on some domains?",
    "Does it work more at some places of a document?",
    "Which kinds of token does it take?",
    "Which experts work on the same tokens?",
    "Where do its tokens come from, and where do they go?",
)


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the page by its address on a server of the bundled models; no model is loaded for it."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    page = AppTest.from_file(FRAME, default_timeout=240)

    def open_page(**params: str) -> AppTest:
        page.switch_page("../pages/expert.py")
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


def words(page: AppTest) -> str:
    """All that is said on the page."""
    parts = (*page.title, *page.subheader, *page.markdown, *page.caption, *page.info, *page.warning)
    return "\n".join(part.value.replace("\\", "") for part in parts)


def param(page: AppTest, name: str) -> str:
    value = page.query_params[name]
    return value if isinstance(value, str) else value[0]


@cache
def loads(layer: int) -> list[int]:
    """Tokens of the text itself that each expert worked on, counted afresh."""
    record = load_probe_capture("sift-softmax")
    own_t = record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE) == 0
    return np.bincount(record.ids_tlk[own_t, layer].ravel(), minlength=32).tolist()


def test_the_bare_page_shows_the_busiest_expert_with_every_figure(opened):
    said = words(opened())
    busiest = max((count, layer, expert) for layer in range(6) for expert, count in enumerate(loads(layer)))
    assert f"Expert {busiest[2]} of layer {busiest[1]}\n" in said
    assert [question for question in QUESTIONS if question not in said] == []
    assert "Not shown" not in said
    assert f"N = {busiest[0]:,} of 110,552 tokens" in said


def test_the_address_names_the_expert_and_buttons_walk_by_load(opened):
    page = opened(l="3", e="9")
    assert "Expert 9 of layer 3\n" in words(page)
    order = sorted(range(32), key=lambda expert: -loads(3)[expert])
    next(button for button in page.button if button.label == "Less busy ›").click().run()
    assert param(page, "e") == str(order[order.index(9) + 1])
    page.selectbox(key="expert-layer").select(4).run()
    assert param(page, "l") == "4" and "e" not in page.query_params
    assert f"Expert {int(np.argmax(loads(4)))} of layer 4\n" in words(page)


def test_words_change_with_what_they_are_told_by(opened):
    page = opened(l="3", e="9")
    assert "By what it reads" in words(page)
    page.button_group(key="expert-kind").set_value("predicted").run()
    assert "By what is predicted there" in words(page)


def test_groups_change_with_the_label(opened):
    page = opened(l="3", e="9")
    page.button_group(key="expert-by").set_value("language").run()
    assert param(page, "by") == "language"
    assert "Does it work more on some languages?" in words(page)


def test_a_slice_recounts_everything(opened):
    page = opened(l="3", e="9", s="domain:code")
    said = words(page)
    record = load_probe_capture("sift-softmax")
    numbers = [number for number, document in enumerate(record.documents) if document.domain == "code"]
    own_t = np.isin(record.document_t, numbers) & (record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE) == 0)
    count = int((record.ids_tlk[own_t, 3] == 9).sum())
    assert f"N = {count:,} of {own_t.sum():,} tokens" in said


def test_a_short_text_says_that_it_tells_little(opened):
    said = words(opened(c="welcome.sift-softmax"))
    assert "Only 37 tokens" in said
    assert "no document says its domain" in said
    assert "no word with 5 tokens" in said


def test_where_nothing_was_generated_it_is_said(opened):
    assert "no token of this kind was given to an expert here" in words(opened(f="generated"))


def test_an_expert_is_taken_away_in_the_models_queue(opened, monkeypatch):
    monkeypatch.setattr("gatescope.app.views.expert.ablation.TEXTS", 2)
    page = opened(l="3", e="9")
    assert "reads 2 texts of this capture again" in words(page)
    page.button(key="knock-out").click().run()
    (job,) = page.session_state["knock-out-jobs"].values()
    assert job.wait(240)
    page.run()
    assert "Without expert 9 the loss of a token" in words(page)
    assert "predicted tokens of 2 documents" in words(page)


def test_it_can_be_stopped_and_begun_again(opened):
    page = opened(l="3", e="9")
    page.button(key="knock-out").click().run()
    (job,) = page.session_state["knock-out-jobs"].values()
    page.button(key="knock-out-cancel").click().run()
    assert job.wait(240) and job.phase.value == "cancelled"
    page.run()
    assert "It was stopped." in words(page)
    assert page.button(key="knock-out")
