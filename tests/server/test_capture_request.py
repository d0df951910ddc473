"""One visitor's request: what it waits for, and how it ends."""

import threading

import pytest

from gatescope.cache.store import Store
from gatescope.hooks import CaptureOptions
from gatescope.models.bundled_captures import WELCOME_TEXT
from gatescope.routing.errors import PromptError
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.capture_request import CaptureRequest
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import load_settings

PATIENCE = 120
"""Seconds after which what should have happened never will, on a machine however busy."""


@pytest.fixture
def worker(tmp_path, tiny_model):
    made = ModelWorker(
        str(tiny_model),
        settings=load_settings(cache_dir=tmp_path),
        capture_cache=CaptureCache(Store(tmp_path / "captures")),
    )
    yield made
    made.close()


@pytest.fixture
def loaded(worker):
    assert worker.loading.wait(PATIENCE)
    return worker


@pytest.fixture
def busy(loaded):
    """A model at work on something else until it is let go."""
    go = threading.Event()
    loaded.queue.submit("other", lambda _tick: go.wait(PATIENCE), watcher="other")
    yield loaded
    go.set()


@pytest.fixture
def request_():
    return CaptureRequest("me")


def test_a_text_arrives_by_a_pass_and_the_second_time_at_once(loaded, request_):
    request_.submit(loaded, "one two three", CaptureOptions)
    assert request_.is_busy
    assert request_.settle(PATIENCE)
    first = request_.arrived
    assert first.record.documents[0].text == "one two three"
    assert not request_.is_busy
    request_.submit(loaded, "one two three", CaptureOptions)
    assert request_.job is None
    assert request_.arrived.id == first.id


def test_what_is_asked_for_while_the_model_loads_runs_when_it_is_there(worker, request_):
    if worker.model is None:  # else it was loaded before the test came to ask
        request_.submit(worker, "one", lambda: pytest.fail("the options need the model"))
        assert request_.is_wanted
    else:
        request_.is_wanted = True
    assert worker.loading.wait(PATIENCE)
    request_.resume(worker, "one", CaptureOptions)
    assert not request_.is_wanted
    assert request_.settle(PATIENCE)
    assert request_.arrived.record.documents[0].text == "one"


def test_a_refused_text_leaves_its_error_and_the_next_request_clears_it(loaded, request_):
    request_.submit(loaded, "  ", CaptureOptions)
    assert isinstance(request_.error, PromptError)
    assert not request_.is_busy
    request_.submit(loaded, "one", CaptureOptions)
    assert request_.error is None
    assert request_.settle(PATIENCE)


def test_settling_gives_up_after_its_seconds_and_leaving_ends_the_pass(busy, request_):
    request_.submit(busy, "one two", CaptureOptions)
    job = request_.job
    assert not request_.settle(0)
    request_.leave(busy)
    assert not request_.is_busy
    assert job.wait(PATIENCE)
    assert job.result is None


def test_a_pass_that_others_stopped_is_told(busy, request_):
    request_.submit(busy, "one two", CaptureOptions)
    busy.queue.leave(request_.job, "me")
    assert request_.settle(PATIENCE)
    assert request_.notice == "The pass was stopped."
    assert request_.arrived is None


def test_the_example_is_not_taken_for_something_asked_for(loaded, request_):
    assert request_.submit_welcome(loaded) is None
    assert request_.is_welcome
    assert request_.settle(PATIENCE)
    assert request_.arrived is None
    found = request_.submit_welcome(loaded)
    assert found.record.documents[0].text == WELCOME_TEXT
    assert loaded.recall(WELCOME_TEXT).id == found.id


def test_an_example_that_fails_is_not_asked_for_again(loaded, request_, monkeypatch):
    monkeypatch.setattr(loaded, "_settings", load_settings(cache_dir=loaded._settings.cache_dir, max_prompt_chars=3))
    assert request_.submit_welcome(loaded) is None
    assert isinstance(request_.error, PromptError)
    assert request_.is_busy


def test_a_page_loaded_anew_waits_for_the_same_pass_with_its_text(busy, request_):
    request_.submit(busy, "one two", CaptureOptions)
    again = CaptureRequest("me, loaded anew")
    assert again.rejoin(busy, request_.job.key) == "one two"
    assert again.job is request_.job
    request_.leave(busy)
    assert not again.job.is_over, "the page that is left does not end what another waits for"


def test_there_is_nothing_to_rejoin_where_no_pass_is_under_way_or_another_is_waited_for(busy, request_):
    assert request_.rejoin(busy, "a" * 16) is None and request_.job is None
    request_.submit(busy, "one two", CaptureOptions)
    mine = request_.job
    other = CaptureRequest("other")
    other.submit(busy, "three", CaptureOptions)
    assert request_.rejoin(busy, other.job.key) is None and request_.job is mine


def test_what_was_cancelled_is_forgotten_when_it_is_asked_for_again(busy, request_):
    request_.cancelled = "a" * 16
    request_.submit(busy, "one two", CaptureOptions)
    assert request_.cancelled == ""
