"""The Map page on what ships: its numbers are those of the study, a lasso chooses documents, a click pins."""

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME
from gatescope.app.views.map import chart
from gatescope.app.views.map.projections import places_of
from gatescope.server.measures import table
from gatescope.server.settings import settings
from gatescope.server.sources import Scope, documents_of, read_shipped
from gatescope.server.view import Span

PAGE = "../pages/map.py"
PROBE = "probe.sift-softmax"


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


@pytest.mark.parametrize("kind", ["documents", "tokens"])
def test_the_neighbours_are_those_of_the_study(kind):
    """The study counted them from its tally; the page counts them from the routes."""
    source = read_shipped(PROBE)
    before = table(source, "nearest_neighbours").query("of == @kind and layer == 'all'").set_index("label")
    places = places_of(source, kind, "PCA", Scope(), None)
    assert set(places.purities) == set(before.index)
    for by, found in places.purities.items():
        assert found.value == pytest.approx(before.loc[by, "value"])
        assert found.chance == pytest.approx(before.loc[by, "null"], abs=0.01)  # other draws of the shuffles


def test_the_page_says_what_the_plane_holds_and_whose_neighbours_are_alike(opened):
    text = said(opened())
    assert "552 documents by the experts they use" in text
    assert "Of a document's 10 nearest by routing" in text
    assert "32% bear its own domain (chance 8.8%, at most 100%)" in text


def test_tokens_are_coloured_by_their_id_first(opened):
    page = opened()
    page.segmented_control(key="map-kind-2").set_value("tokens").run()
    assert page.selectbox(key="map-by-tokens").value == "token"
    text = said(page)
    assert "A random 2,000 of 110,552 are laid out" in text
    assert "18% bear its own token id" in text
    assert text.index("token id (chance") < text.index("domain (chance")


def test_one_text_has_tokens_only_and_says_why_no_neighbours(opened):
    page = opened(c="welcome.sift-softmax")
    assert page.segmented_control(key="map-kind-1").options == ["tokens"]
    assert "of one document only" in said(page)


def test_nothing_written_is_nothing_to_lay_out(opened):
    assert "0 documents to lay out" in said(opened(f="generated"))


def test_a_slice_is_drawn_in_full_and_counted_alone(opened):
    text = said(opened(s="domain:code", l="3"))
    assert "drawn in full; the others are faint" in text
    assert "in layer 3, which is pinned" in text


def test_what_is_sought_can_be_taken_as_a_slice(opened):
    page = opened()
    page.text_input(key="map-sought").set_value("poetry").run()
    page.button(key="map-take-found").click().run()
    record = read_shipped(PROBE).record
    said_slice = page.query_params["s"]
    chosen = documents_of(record, said_slice if isinstance(said_slice, str) else said_slice[0])
    assert {record.documents[number].domain for number in chosen} >= {"poetry"}
    assert len(chosen) >= 46


def test_a_lasso_names_documents_and_a_click_pins(monkeypatch):
    written = {}
    monkeypatch.setattr(chart.address, "change", lambda **parts: written.update(parts))
    places = places_of(read_shipped(PROBE), "documents", "PCA", Scope(), None)
    points = [{"customdata": [4]}, {"customdata": {"0": 5}}, {"customdata": [99_999]}, {}]
    st.session_state["chart"] = {"selection": {"points": points, "lasso": [{}], "box": []}}
    chart._take("chart", places)
    assert written == {"slice": "documents:4-5", "span": None}
    st.session_state["chart"] = {"selection": {"points": [{"customdata": [7]}], "lasso": [], "box": []}}
    chart._take("chart", places)
    assert (written["document"], written["token"]) == (7, None)
    written.clear()
    st.session_state["chart"] = {"selection": {"points": [], "lasso": [], "box": []}}
    chart._take("chart", places)
    assert written == {}


def test_too_scattered_a_lasso_is_said_and_not_taken(monkeypatch):
    written = {}
    monkeypatch.setattr(chart.address, "change", lambda **parts: written.update(parts))
    places = places_of(read_shipped(PROBE), "documents", "PCA", Scope(), None)
    chart.choose(places, list(range(0, 552, 2)))
    assert written == {}
    assert st.session_state.pop(chart.TOO_SCATTERED) == 276


def test_a_token_of_a_range_is_pinned_where_it_stands(monkeypatch):
    written = {}
    monkeypatch.setattr(chart.address, "change", lambda **parts: written.update(parts))
    scope = Scope(documents=(20,), span=Span(5, 30))
    places = places_of(read_shipped(PROBE), "tokens", "PCA", scope, None)
    chart.pin(places, 3)
    assert (written["document"], written["token"]) == (20, 8)
    record = read_shipped(PROBE).record
    own_t = record.token_t[record.document_t == 20]
    assert places.frame["token_id"].tolist() == own_t[5:31].tolist()


def test_the_same_seed_gives_the_same_tokens():
    source = read_shipped("welcome.sift-softmax")
    one, again = (places_of(source, "tokens", "PCA", Scope(), layer).frame for layer in (None, None))
    pd.testing.assert_frame_equal(one, again)
