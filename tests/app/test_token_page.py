"""The page of one token, over what ships with a model: it stands, follows the address, and says what is missing."""

import re

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.charts.places import place_of, row_of
from gatescope.app.shell.session import FRAME, server
from gatescope.drawing.token_heatmap import striking_cell
from gatescope.models.bundled_captures import load_welcome_capture
from gatescope.server.settings import settings
from gatescope.server.sources import Scope, document_of, select_routes
from gatescope.server.view import Span


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the page by its address on a server of the bundled models; no model is loaded for it."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    page = AppTest.from_file(FRAME, default_timeout=240)

    def open_page(**params: str) -> AppTest:
        page.switch_page("../pages/token.py")
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


def test_the_bare_page_follows_the_most_striking_token_of_the_example(opened):
    said = words(opened())
    _, token = striking_cell(load_welcome_capture("sift-softmax"), "expert")
    assert f"Token {token} “" in said
    for question in ("Which experts took", "How firmly", "Which other words", "Is the route the word's"):
        assert question in said
    assert "documents of sift-softmax on the probe set" in said, "the word is looked for where there are others"


def test_the_neighbours_of_a_token_are_a_button_away(opened):
    page = opened(c="welcome.sift-softmax", t="20")
    assert "Token 20 " in words(page)
    next(button for button in page.button if button.label == "Next ›").click().run()
    assert "Token 21 " in words(page)
    assert page.query_params["t"] in ("21", ["21"])
    first = opened(c="welcome.sift-softmax", t="0")
    assert next(button for button in first.button if button.label == "‹ Previous").disabled


def test_a_token_of_a_corpus_is_compared_with_all_of_it(opened):
    page = opened(c="probe.sift-softmax", d="7", t="12")
    said = words(page)
    tokens = int(re.search(r"nearest of ([0-9,]+) tokens", said)[1].replace(",", ""))
    assert 100_000 < tokens < 110_552
    assert re.search(r"more times in [0-9]+ other documents", said)


def test_tokens_that_do_not_count_are_not_compared(opened):
    page = opened(f="generated")
    assert "no other word among the tokens that count" in words(page)


def test_a_token_that_is_not_there_is_said(opened):
    assert "There is no token 999: this capture has 38 tokens" in words(opened(c="welcome.sift-softmax", t="999"))


@pytest.mark.parametrize(
    ("scope", "document", "token"),
    [
        (Scope(), 7, 3),
        (Scope(documents=(9, 7, 30)), 7, 3),
        (Scope(documents=(7,), span=Span(2, 20)), 7, 3),
    ],
)
def test_a_row_and_its_place_are_the_same_token(scope, document, token):
    source = server().find_source("probe.sift-softmax")
    routes = select_routes(source, scope)
    row = row_of(routes, scope, document, token)
    assert place_of(routes, scope, row) == (document, token)
    own = document_of(source, document)
    assert routes.token_t[row] == own.token_t[token] and (routes.ids_tlk[row] == own.ids_tlk[token]).all()
    outside = row_of(routes, scope, document, 10_000)
    assert outside is None
    assert scope.documents is None or row_of(routes, scope, 100, 0) is None
    assert np.array_equal(routes.position_t[row], own.position_t[token])
