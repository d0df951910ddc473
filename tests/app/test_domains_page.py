"""The page of domains and languages over what ships with a model: each part stands, or says why it does not."""

import re

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME
from gatescope.app.views.domains import word_tables
from gatescope.server.measures import measure, table
from gatescope.server.settings import settings
from gatescope.server.sources import read_shipped
from tests.app.figures_shown import STUDY, figures_server

PROBE = "probe.sift-softmax"


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the page by its address on a server of the bundled models; no model is loaded for it."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    page = AppTest.from_file(FRAME, default_timeout=240)

    def open_page(**params: str) -> AppTest:
        page.switch_page("../pages/domains.py")
        for name in list(page.query_params):
            del page.query_params[name]
        for name, value in params.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        assert not page.error
        return page

    yield open_page
    settings.cache_clear()
    st.cache_resource.clear()


def words(page: AppTest) -> str:
    """All that is said on the page."""
    parts = (*page.title, *page.header, *page.subheader, *page.markdown, *page.caption, *page.info)
    return "\n".join(part.value.replace("\\", "") for part in parts)


def buttons(page: AppTest) -> dict[str, object]:
    return {one.label.replace("\\", ""): one for one in page.button}


def test_every_figure_of_domains_stands_on_the_probe_set(opened):
    said = words(opened())
    for question in (
        "Do experts differ between domains?",
        "And beyond the words themselves?",
        "Which experts specialize in which domain?",
        "Which domains are routed alike?",
        "Where are domains furthest apart?",
        "Can the domain of a document be told from its routing?",
        "What remains when every group uses the same words equally often?",
    ):
        assert question in said
    assert "Not shown" not in said
    assert said.count("N = 110,552 tokens of 552 documents") >= 7


def test_the_shares_of_the_words_are_those_of_the_study(opened):
    share_l = table(read_shipped(PROBE), "composition.domain")["share_excess"]
    said = words(opened())
    assert f"The words alone explain {share_l.min():.0%}".replace("%", " %") in said
    assert f"to {share_l.max():.0%}".replace("%", " %") in said


def test_languages_have_figures_of_their_own(opened):
    page = opened(by="language")
    said = words(page)
    for question in (
        "Are translations routed alike?",
        "Which experts do the languages share?",
        "Which languages have experts of their own?",
    ):
        assert question in said
        assert question not in words(opened())
    assert "of passages in several languages" in said


def test_the_label_is_chosen_on_the_page_and_kept_in_the_address(opened):
    page = opened()
    page.button_group(key="groups-by").set_value("language").run()
    assert page.query_params["by"] in ("language", ["language"])
    assert "Do experts differ between languages?" in words(page)


def test_a_pinned_expert_has_documents_and_words_behind_it(opened):
    assert "Click a cell to see the documents and the words behind it." in words(opened(l="3"))
    page = opened(l="3", e="9")
    assert "Click a cell to see" not in words(page)
    difference = measure(read_shipped(PROBE), "usage_difference", by="domain").value[:, 3, 9]
    group = measure(read_shipped(PROBE), "usage_difference", by="domain").groups[abs(difference).argmax()]
    assert buttons(page)["See the layers on these documents alone"].click().run().query_params["s"] in (
        f"domain:{group}",
        [f"domain:{group}"],
    )


def test_the_strongest_cell_is_offered(opened):
    page = opened(l="3")
    offered = next(label for label in buttons(page) if label.startswith("Show expert"))
    number = re.match(r"Show expert (\d+) and (.+)", offered)
    result = measure(read_shipped(PROBE), "usage_difference", by="domain")
    value_ge = abs(result.value[:, 3])
    assert value_ge[result.groups.index(number[2]), int(number[1])] == value_ge.max()
    buttons(page)[offered].click().run()
    assert page.query_params["e"] in (number[1], [number[1]])


def test_all_layers_can_be_looked_at_together(opened):
    page = opened()
    page.button_group(key="usage-difference-view").set_value("All layers").run()
    assert not page.exception
    assert "In which layers do experts specialize in which domain?" in words(page)


@pytest.mark.parametrize(
    ("params", "said", "ways"),
    [
        ({"c": "welcome.sift-softmax"}, "no document that counts states a domain", {"Study a corpus with labels"}),
        ({"s": "domain:code"}, "only the domain code counts here", {"Count all documents"}),
        ({"s": "language:de", "by": "language"}, "only the language de", {"Count all documents", "Compare domains"}),
    ],
)
def test_where_nothing_can_be_compared_the_way_on_is_shown(opened, params, said, ways):
    page = opened(**params)
    assert f"Nothing to compare: {said}" in words(page)
    assert ways <= set(buttons(page))


def test_nothing_generated_is_said(opened):
    assert "Nothing was generated here" in words(opened(f="generated"))


def test_a_slice_is_computed_anew(opened):
    said = words(opened(s="documents:0-39"))  # twenty documents of code, twenty of data
    assert "of 40 documents" in said and "N = 110,552" not in said
    assert "Furthest apart".lower() in said.lower()


def test_what_takes_long_is_computed_when_asked_for(opened, monkeypatch):
    monkeypatch.setattr(word_tables, "LIVE_CHOICES", 1000)
    page = opened(s="documents:0-39")
    assert "was not computed for this choice" in words(page)
    ask = [one for one in page.button if one.label.startswith("Compute (about")]
    assert len(ask) == 2
    ask[0].click().run()
    assert not page.exception
    assert "was not computed for this choice" not in words(page)
    assert "The words alone explain" in words(page) or "nothing for the words to explain" in words(page)


def test_another_model_is_compared_as_b(opened):
    said = words(opened(m="sift-sigmoid", vs=PROBE))
    assert "; B: 110,552 tokens" in said
    assert "layer 0 (block 1)" not in said, "no brackets within brackets"


def test_of_a_study_partly_at_hand_both_figures_draw_the_stored_bits(tmp_path):
    with figures_server(tmp_path) as open_page:
        page, shown = open_page("domains", {"c": STUDY}, {})
    told, split = (next(each for each in shown if each.key == key) for key in ("told", "split"))
    stored, parts = told.frame(), split.frame()
    assert parts["beyond_chance_bits"].tolist() == stored["beyond_chance_bits"].tolist()
    sums = parts["words_alone_bits"] + parts["beyond_words_bits"]
    assert sums.tolist() == pytest.approx(stored["beyond_chance_bits"].tolist(), nan_ok=True)
    assert 'results["mutual_information", "domain"]' in split.code
    assert "what the words explain: the first" in words(page)
