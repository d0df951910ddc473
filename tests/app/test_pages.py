"""Every page in every state a link can put it in, without a browser: nothing breaks, and what is wrong is said."""

from dataclasses import replace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.navigation import PageFile, find_pages
from gatescope.app.shell.session import FRAME, server
from gatescope.routing import Document
from gatescope.server.settings import settings
from tests.records import build_record

PIECES = ["<s>", "The", " cat", "\n", " =1+1", " <b>", "**x**", " end"]
SMALL, OTHER, CORPUS = "smallcaptureaaaa", "othercaptureaaaa", "corpuscaptureaaa"
PINNED = {"t": "2", "l": "1", "e": "3"}
STATES = {
    "bare": {},
    "small": {"c": SMALL},
    "corpus": {"c": CORPUS},
    "pinned": {"c": SMALL} | PINNED,
    "pinned in a corpus": {"c": CORPUS, "d": "1"} | PINNED,
    "range": {"c": SMALL, "r": "1-4", "f": "prompt"},
    "compared": {"c": SMALL, "vs": OTHER} | PINNED,
    "compared with itself": {"c": SMALL, "vs": SMALL},
    "slice": {"c": CORPUS, "s": "domain:code", "by": "language"},
}
PLAINER = ("small", "corpus", "pinned", "compared with itself")
"""States of which another one asks the same and more."""
GARBAGE = dict.fromkeys(
    ("c", "vs", "d", "t", "l", "e", "r", "f", "s", "by", "view", "m", "p"), "<script>alert(1)</script>"
)
TROUBLE = {
    "garbage": (GARBAGE, [f"{parameter}=" for parameter in GARBAGE]),
    "outside": ({"c": SMALL, "t": "999", "l": "99", "e": "9999"}, ["no token 999", "no layer 99", "no expert 9999"]),
    "document outside": ({"c": CORPUS, "d": "77", "t": "1"}, ["no document 77"]),
    "range outside": ({"c": SMALL, "r": "5-900"}, ["no tokens 5 to 900"]),
    "unknown capture": ({"c": "a" * 16, "t": "1"}, ["a" * 16]),
    "unknown shipped capture": ({"c": "probe.no-such-model"}, ["probe.no-such-model"]),
    "unknown reference": ({"c": SMALL, "vs": "b" * 16}, ["b" * 16]),
    "slice of nothing": ({"c": CORPUS, "s": "domain:nothing"}, ["domain:nothing"]),
}
"""Addresses that ask for what is not there, and what must be said of each."""
WITHOUT_CAPTURE = ("library", "model", "guide")
"""Pages that show no capture: what an address says of one is not looked up there."""
FIRST_TIER = ("prompt", "compare", "expert")
"""Pages on which every bad link is tried each time; what tells of them is the same on the others."""
PAGES = find_pages()


def corpus():
    """Four documents of three domains and two languages, routed at random."""
    pieces = [PIECES[number % len(PIECES)] for number in range(240)]
    random = np.random.default_rng(3)
    ids = np.argsort(random.random((240, 2, 4)), axis=-1)[..., :2].astype(np.uint8)
    rejected = ((ids.max(-1) + 1) % 4).astype(np.uint8)
    texts = ["".join(pieces[start : start + 60]) for start in range(0, 240, 60)]
    labels = [("code", "en"), ("law", "en"), ("code", "de"), ("poetry", "de")]
    return replace(
        build_record(pieces, ids_tlk=ids, rejected_tl=rejected),
        document_t=np.repeat(np.arange(4, dtype=np.int32), 60),
        position_t=np.tile(np.arange(60, dtype=np.int32), 4),
        token_t=np.arange(240, dtype=np.int32) % len(PIECES),
        documents=tuple(
            Document(text, domain=domain, language=language)
            for text, (domain, language) in zip(texts, labels, strict=True)
        ),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One server for the module, as a fresh clone starts it, with three captures in its store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path_factory.mktemp("captures")))
        _forget()
        store = server().capture_cache.store
        store.put(SMALL, build_record(PIECES))
        store.put(OTHER, build_record([*PIECES[:5], " other", " end"]))
        store.put(CORPUS, corpus())
        assert server().worker(settings().model).loading.wait(240)
        yield
        _forget()


def _forget():
    settings.cache_clear()
    st.cache_resource.clear()


def opened(page: PageFile, params: dict[str, str]) -> AppTest:
    """The page at an address, as a new session sees it."""
    shown = AppTest.from_file(FRAME, default_timeout=240)
    for name, value in params.items():
        shown.query_params[name] = value
    if page is not PAGES[0]:
        shown.switch_page(str(page.path))
    shown.run()
    assert not shown.exception, [one.message for one in shown.exception]
    return shown


def words(page: AppTest) -> str:
    """Everything readable on the page, as it is read: without the marks of Markdown."""
    shown = [*page.title, *page.markdown, *page.caption, *page.error, *page.warning, *page.info]
    return "\n".join(str(one.value) for one in shown).replace("\\", "").replace("**", "")


def name(value: object) -> str:
    return value.address if isinstance(value, PageFile) else str(value)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "state", [pytest.param(state, marks=pytest.mark.slow if state in PLAINER else ()) for state in STATES]
)
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_stands_in_every_state(page, state):
    shown = opened(page, STATES[state])
    assert len(shown.title) == 1
    assert shown.title[0].value.endswith("?")
    assert not shown.error, [one.value for one in shown.error]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("page", "trouble"),
    [
        pytest.param(page, each, marks=() if each == "garbage" or page.address in FIRST_TIER else pytest.mark.slow)
        for page in PAGES
        for each in TROUBLE
        if each == "garbage" or page.address not in WITHOUT_CAPTURE
    ],
    ids=name,
)
def test_a_bad_link_is_said_and_the_page_stands(page, trouble):
    params, said = TROUBLE[trouble]
    shown = opened(page, params)
    assert len(shown.title) == 1
    assert shown.warning or shown.error
    assert [part for part in said if part not in words(shown)] == []


@pytest.mark.usefixtures("place")
def test_every_page_asks_a_question_of_its_own():
    questions = [opened(page, {}).title[0].value for page in PAGES]
    assert len(set(questions)) == len(PAGES)


LAYERS_PAGE = next(page for page in PAGES if page.address == "layers")


def asked(page: AppTest) -> dict[str, str]:
    return {name: value[0] if isinstance(value, list) else value for name, value in page.query_params.items()}


@pytest.mark.usefixtures("place")
def test_swap_makes_a_of_b_and_b_of_a_and_clear_leaves_a():
    page = opened(LAYERS_PAGE, {"c": SMALL, "vs": OTHER})
    page.button(key="swap").click().run()
    assert asked(page) == {"c": OTHER, "vs": SMALL}
    page.button(key="clear-b").click().run()
    assert asked(page) == {"c": OTHER}
    assert page.selectbox(key="capture-b").value == "none"


@pytest.mark.usefixtures("place")
def test_what_ships_is_said_to_be_no_text_of_the_visitors_and_theirs_is_one_click_away():
    page = opened(LAYERS_PAGE, {})
    assert "The probe set, not your text." in words(page)
    page.query_params["c"] = CORPUS
    page.run()
    assert "not your text" not in words(page)
    del page.query_params["c"]
    page.run()
    page.button(key="show-mine").click().run()
    assert asked(page)["c"] == CORPUS


@pytest.mark.usefixtures("place")
def test_a_press_opens_the_search():
    page = opened(PAGES[0], {})
    page.button(key="search-open").click().run()
    labels = page.selectbox(key="search-choice").options
    assert any(label.startswith("Router ·") for label in labels) and any("load_gini" in label for label in labels)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("name", "key", "part"), [("library", "library-part", "import"), ("layers", "layers-part", None)]
)
def test_the_part_of_a_page_that_is_open_stands_in_its_address(name, key, part):
    file = next(page for page in PAGES if page.address == name)
    page = opened(file, {"c": SMALL})
    part = part or page.button_group(key=key).options[-1]
    page.button_group(key=key).set_value(part).run()
    again = opened(file, asked(page))
    assert (
        again.button_group(key=key).value
        == page.button_group(key=key).value
        != opened(file, {}).button_group(key=key).value
    )


@pytest.mark.usefixtures("place")
def test_a_part_that_a_page_does_not_have_is_said():
    assert "p=nothing is no part of this page. It has " in words(opened(LAYERS_PAGE, {"p": "nothing"}))
