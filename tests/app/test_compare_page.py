"""The Compare page on what ships: each kind of comparison, its refusals, and its ways to a capture B."""

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.analysis.comparison.compare import paired, same_documents
from gatescope.analysis.comparison.saturation import agreement
from gatescope.app.shell.session import FRAME
from gatescope.app.views.compare.choice import steps_of
from gatescope.app.views.compare.weights import repeat_of
from gatescope.server.settings import settings
from gatescope.server.sources import read_shipped

PAGE = "../pages/compare.py"
PROBE, EARLY, LAST = "probe.sift-softmax", "step256.sift-softmax", "step2686.sift-softmax"


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the page on a server with the bundled models."""

    def open_page(**params: str) -> AppTest:
        page = AppTest.from_file(FRAME, default_timeout=240).run()
        page.switch_page(PAGE)
        for name, value in params.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    yield open_page
    monkeypatch.undo()
    settings.cache_clear()
    st.cache_resource.clear()


def said(page: AppTest) -> str:
    shown = [*page.subheader, *page.markdown, *page.caption, *page.warning, *page.info]
    return "\n".join(str(one.value) for one in shown).replace("\\", "")


def value_of(page: AppTest, name: str) -> str:
    value = page.query_params[name]
    return value if isinstance(value, str) else value[0]


def test_without_b_three_ways_to_one_and_the_history(opened):
    page = opened()
    text = said(page)
    assert "Nothing is compared yet" in text
    assert "How did routing settle during training?" in text
    page.button(key="compare-probe.sift-sigmoid").click().run()
    assert value_of(page, "vs") == "probe.sift-sigmoid"
    assert not page.exception


def test_another_text_keeps_what_is_looked_at_as_b(opened):
    page = opened(c="welcome.sift-softmax")
    page.button(key="compare-text").click().run()
    assert value_of(page, "vs") == "welcome.sift-softmax"
    assert "c" not in page.query_params


def test_an_earlier_step_is_compared_token_by_token(opened):
    text = said(opened(vs=EARLY))
    first, second = (read_shipped(id).record for id in (PROBE, EARLY))
    whole = agreement(*paired(first, second, same_documents(first, second)), resamples=1)
    prefixes, fresh = set(), 0
    one, _ = paired(first, second, same_documents(first, second))
    for number in range(len(one.documents)):
        token_n = one.token_t[one.document_t == number].tolist()
        own = [tuple(token_n[: end + 1]) for end in range(1, len(token_n))]  # each text's first token is special
        fresh += len(set(own) - prefixes)
        prefixes |= set(own)
    assert f"N = {fresh:,} tokens of 100 documents that A and B share; {19_743 - fresh:,} left out" in text
    shares = [layer.share for layer in whole]
    assert f"{max(shares):.0%}"[:-1] in text
    assert "A captured again (sift-softmax after 2,686 steps of training), 100.00% in every layer" in text
    assert "Do near ties flip first?" in text
    assert "experts differ beyond noise" in text
    assert "How did routing settle during training?" in text


def test_a_repeat_is_found_for_what_ships_and_never_b_itself():
    probe, early, last = (read_shipped(id) for id in (PROBE, EARLY, LAST))
    assert repeat_of(probe, early).id == LAST
    assert repeat_of(last, early).id == PROBE
    assert steps_of("sift-softmax")[-1] == LAST


def test_a_repeat_of_a_itself_has_no_difference(opened):
    text = said(opened(vs=LAST))
    assert "Every token has the same experts in every layer" in text
    assert "Nothing flips" in text
    assert "No expert has more work in either" in text


def test_two_models_are_refused_expert_by_expert(opened):
    page = opened(vs="probe.sift-sigmoid")
    text = said(page)
    assert "No difference expert by expert is shown" in text
    assert "552 documents hold the same tokens" in text
    assert "Which experts have more work" not in text
    assert "30 of 30 pairs of layers share more than chance" in text


def test_models_of_other_texts_share_nothing_that_can_be_counted(opened):
    text = said(opened(vs="welcome.sift-sigmoid"))
    assert "no document of the same tokens in both" in text


def test_two_documents_of_one_capture_are_aligned(opened):
    page = opened(vs=PROBE, d="20")
    text = said(page)
    assert "Two documents of one capture" in text
    assert "47 tokens stay, 297 of A are gone (−), 515 of B are new (+)" in text
    assert "the same word in other documents of the probe set" in text
    page.number_input(key=f"compare-d-{PROBE}").set_value(20).run()
    assert "0 of A are gone (−), 0 of B are new (+)" in said(page)


def test_a_pinned_token_has_two_cards(opened):
    page = opened(vs=EARLY, d="0", t="5", l="2")
    cards = [one.proto.body for one in page.get("html") if "gs-card" in one.proto.body]
    assert len(cards) == 2
    assert all("·</i>import" in card for card in cards)  # the step holds no pieces: the words are those of A


def test_a_slice_and_a_facet_narrow_what_is_compared(opened):
    assert "of 4 documents that A and B share" in said(opened(vs=EARLY, s="domain:code"))
    assert "no token of that kind" in said(opened(vs=EARLY, f="generated"))
