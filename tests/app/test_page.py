"""The Prompt page without a browser: every first sight, every ending, and addresses nobody should have typed."""

import re
import shutil
import threading
import zlib

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME, server
from gatescope.models.bundled_captures import WELCOME_TEXT
from gatescope.routing.errors import ModelNotFoundError, StorageFullError
from gatescope.server.settings import settings

TEXT = "The cat sat on the mat."
FIRST_SIGHT = "reading an example"


@pytest.fixture(scope="module")
def place(tiny_model, tmp_path_factory):
    """One server for the module: its settings, its folder, its loaded model."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("captures")
        patch.setenv("GATESCOPE_MODEL", str(tiny_model))
        patch.setenv("GATESCOPE_CACHE_DIR", str(folder))
        patch.setenv("GATESCOPE_MAX_PROMPT_TOKENS", "64")
        _forget()
        assert server().worker(settings().model).loading.wait(240)
        yield folder
        _forget()


def _forget():
    settings.cache_clear()
    st.cache_resource.clear()


@pytest.fixture
def page(place):  # noqa: ARG001 - the page is opened there
    return AppTest.from_file(FRAME, default_timeout=240)


def run_text(page: AppTest, text: str) -> AppTest:
    page.text_area(key="text").set_value(text)
    return settled(button(page, "Run").click().run())


def settled(page: AppTest) -> AppTest:
    """The page once its pass has ended: the browser's polling is what does this outside of a test."""
    job = page.session_state["request"].job if "request" in page.session_state else None
    if job is not None:
        assert job.wait(240)
        page.run()
    assert not page.exception
    return page


def button(page: AppTest, label: str):
    return next(one for one in page.button if one.label == label)


def words(page: AppTest) -> str:
    """Everything readable on the page."""
    shown = [*page.title, *page.markdown, *page.caption, *page.error, *page.warning]
    return "\n".join(str(one.value) for one in shown).replace("\\", "")


def capture_of(page: AppTest) -> str:
    """The id in the page's address."""
    found = page.query_params["c"]
    return found if isinstance(found, str) else found[0]


def card_of(page: AppTest) -> str:
    """The HTML that is drawn with links."""
    return "".join(
        zlib.decompress(one.proto.bytes).decode()
        for one in page.get("bidi_component")
        if "links" in one.proto.component_name
    )


def test_a_first_visit_shows_a_capture_nobody_asked_for(page):
    settled(page.run())
    assert page.title[0].value == "What did the model do with my text?"
    assert FIRST_SIGHT in words(page)
    assert "Pinned token" in card_of(page)
    assert page.query_params == {}


def test_a_text_that_is_run_is_shown_with_its_most_striking_cell_pinned(page):
    run_text(page.run(), TEXT)
    assert set(page.query_params) == {"c", "t", "l"}
    assert "Each layer sends every token to 2 of its 8 experts" in words(page)
    assert FIRST_SIGHT not in words(page)
    assert "recorded by hooks" in words(page)


def test_the_same_text_in_another_session_does_not_run_the_model(page, monkeypatch):
    run_text(page.run(), TEXT)
    monkeypatch.setattr("gatescope.hooks.capture", lambda *_, **__: pytest.fail("the model ran again"))
    other = run_text(AppTest.from_file(FRAME, default_timeout=240).run(), TEXT)
    assert capture_of(other) == capture_of(page)


@pytest.mark.parametrize("text", ["", "   \n", "\t"])
def test_white_space_alone_is_counted_as_no_token(page, text):
    page.run()
    page.text_area(key="text").set_value(text).run()
    assert "0 of 64 tokens" in words(page)


def test_every_part_of_an_address_that_cannot_be_used_is_said_also_where_nothing_was_captured(page):
    page.query_params.update({"c": "zzzz", "t": "-5", "l": "999", "k": "abc"})
    said = words(settled(page.run()))
    for part in ("c='zzzz'", "t='-5'", "There is no layer 999", "'k' is no part of an address"):
        assert part in said
    assert FIRST_SIGHT in said


def test_a_pin_of_a_link_without_a_capture_is_that_of_the_example(page):
    page.query_params.update({"t": "3", "l": "1"})
    assert "token 3" in words(settled(page.run())).casefold()


def test_a_text_that_turns_the_direction_of_writing_names_its_capture_neutrally(page):
    run_text(page.run(), "\u202eabc def\u2066 ghi")
    shown = page.selectbox(key="capture-a")
    assert "abc def ghi" in shown.options
    assert not any(letter in name for name in shown.options for letter in "\u202e\u2066")


def test_no_text_is_refused_in_three_parts(page):
    run_text(page.run(), "  \n ")
    assert "Found: no text" in page.error[0].value.replace("**", "")
    assert "Do:" in page.error[0].value.replace("**", "")


def test_the_count_warns_before_the_limit_and_run_refuses_beyond_it(page):
    settled(page.run())
    page.text_area(key="text").set_value("a " * 60).run()
    near = words(page)
    run_text(page, "a b c d e f " * 30)
    assert ":orange[" in near and " left]" in near
    assert ":red[" in words(page)
    assert "of 64 tokens: shorten it by" in words(page)
    assert "at most 64" in page.error[0].value


def test_a_text_far_too_long_is_not_even_counted(page, monkeypatch):
    settled(page.run())
    counted = []
    monkeypatch.setattr(
        "gatescope.server.model_worker.ModelWorker.count_tokens",
        lambda _tracer, text, **_: counted.append(len(text)) or 1,
    )
    run_text(page, "x" * 50_000)
    assert 50_000 not in counted
    assert "50,000 of 40,000 characters" in words(page)
    assert "50,000 characters" in page.error[0].value.replace("\\", "")


def test_an_error_goes_away_with_the_next_text(page):
    run_text(page.run(), "")
    assert page.error
    run_text(page, TEXT)
    assert not page.error


def test_an_example_fills_the_box_and_runs(page):
    settled(page.run())
    settled(page.pills(key="example").select("A few words").run())
    assert page.text_area(key="text").value == WELCOME_TEXT
    assert "c" in page.query_params


def test_a_link_opens_at_the_pinned_token_of_the_same_view(page):
    capture = capture_of(run_text(page.run(), TEXT))
    link = AppTest.from_file(FRAME, default_timeout=240)
    for name, value in {"c": capture, "t": "2", "l": "1", "view": "entropy"}.items():
        link.query_params[name] = value
    settled(link.run())
    assert "<dd>2 of 0" in card_of(link)
    assert re.search(r'class="pinned"><th scope="row">(<a [^>]*>)?1<', card_of(link))
    assert "Gate entropy is lowest" in words(link)
    assert link.text_area(key="text").value == TEXT


def test_an_unknown_capture_says_so_and_offers_the_example(page):
    page.query_params["c"] = "a" * 16
    settled(page.run())
    assert "holds no capture" in words(page)
    settled(button(page, "Show the example").click().run())
    assert FIRST_SIGHT in words(page)


@pytest.mark.parametrize(
    ("name", "value"), [("c", "<script>"), ("t", "-1"), ("l", "9" * 99), ("view", "none"), ("m", "/etc/passwd")]
)
def test_a_forged_address_is_said_and_changes_nothing_else(page, name, value):
    page.query_params[name] = value
    settled(page.run())
    assert f"{name}=" in page.warning[0].value.replace("\\", "")
    assert FIRST_SIGHT in words(page)


def test_a_pin_beyond_the_text_is_said(page):
    capture = capture_of(run_text(page.run(), TEXT))
    page.query_params.clear()
    page.query_params["c"], page.query_params["t"] = capture, "999"
    settled(page.run())
    assert "There is no token 999" in words(page)
    assert "No token is pinned" in words(page)


@pytest.mark.parametrize("view", ["margin", "entropy", "top1-weight", "expert", "overlap"])
def test_every_view_has_a_sentence_with_its_n(page, view):
    capture = capture_of(run_text(page.run(), TEXT))
    page.query_params.clear()
    page.query_params["c"], page.query_params["view"] = capture, view
    settled(page.run())
    assert "N = " in words(page)


def test_generated_tokens_are_counted_apart(page):
    settled(page.run())
    page.number_input(key="new_tokens").set_value(3).run()
    run_text(page, TEXT)
    assert ", generated 3)" in words(page) or ", generated 2)" in words(page)


def test_a_failure_of_the_model_is_shown_without_a_traceback(page, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("by zero")

    settled(page.run())
    monkeypatch.setattr("gatescope.hooks.capture", fail)
    run_text(page, "A text nobody has captured yet.")
    assert "ZeroDivisionError: by zero" in page.error[0].value.replace("\\", "")


def test_markup_in_a_text_stays_text(page):
    hostile = '<img src=x onerror="alert(1)"> **bold** :red[x] [y](javascript:1)'
    capture = capture_of(run_text(page.run(), hostile))
    tokens = server().capture_cache.find(capture).record.tokens
    for token in range(tokens):
        page.query_params["t"] = str(token)
        page.run()
        assert "<img" not in card_of(page)
        assert "**bold**" not in "".join(one.value for one in page.markdown)


def test_a_capture_that_cannot_be_kept_is_shown_with_a_notice(page, monkeypatch):
    def full(*_):
        raise StorageFullError("the disk is full", expected="room", do="make room")

    settled(page.run())
    monkeypatch.setattr("gatescope.cache.store.Store.put", full)
    run_text(page, "A text there is no room for.")
    assert "could not be kept: the disk is full" in words(page)
    assert "recorded by hooks" in words(page)


@pytest.mark.usefixtures("place")
def test_another_model_reads_the_same_text(tiny_model, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    monkeypatch.setenv("GATESCOPE_MODELS", str(other))
    _forget()
    for name in settings().offered:
        assert server().worker(name).loading.wait(240)
    page = AppTest.from_file(FRAME, default_timeout=240).run()
    first = capture_of(run_text(page, TEXT))
    page.selectbox(key="model").select(str(other)).run()
    settled(page.run())
    assert page.query_params["m"] in (str(other), [str(other)])
    assert capture_of(page) == first  # the weights are the same, whatever their folder is called
    monkeypatch.undo()
    _forget()


@pytest.mark.usefixtures("place")
def test_a_model_that_does_not_load_says_why_and_can_be_tried_again(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise ModelNotFoundError("no such folder", expected="a folder", do="name one")

    with monkeypatch.context() as patch:
        patch.setenv("GATESCOPE_MODEL", str(tmp_path / "nothing"))
        patch.setattr("gatescope.hooks.load_model", refuse)
        _forget()
        page = AppTest.from_file(FRAME, default_timeout=240).run()
        server().worker(settings().model).loading.wait(240)
        page.run()
        assert "no such folder" in page.error[0].value
        assert button(page, "Try again")
    _forget()


@pytest.mark.usefixtures("place")
def test_the_first_picture_does_not_wait_for_the_model(monkeypatch):
    settled(AppTest.from_file(FRAME, default_timeout=240).run())
    _forget()
    may_go_on = threading.Event()
    monkeypatch.setattr(
        "gatescope.server.model_worker.ModelWorker._read_model", lambda _self, _tick: may_go_on.wait(240) and None
    )
    try:
        page = AppTest.from_file(FRAME, default_timeout=240).run()
        assert not server().worker(settings().model).loading.is_over
        assert FIRST_SIGHT in words(page)
    finally:
        may_go_on.set()
    monkeypatch.undo()
    _forget()
