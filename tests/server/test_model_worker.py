"""From text to capture: the model runs once a recipe, and trouble with the store loses nothing."""

import threading

import numpy as np
import pytest

from gatescope import hooks
from gatescope.cache.store import Store
from gatescope.hooks import CaptureOptions, capture, load_model
from gatescope.routing.errors import CaptureNotFoundError, ModelNotFoundError, PromptError, explained
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.jobs import Job, Phase
from gatescope.server.model_worker import ModelWorker, identify
from gatescope.server.settings import load_settings
from gatescope.server.sources import Source

PATIENCE = 120
"""Seconds after which what should have happened never will, on a machine however busy."""


class Stage:
    """The real `hooks`, watched: what was captured, a gate in front of each pass, and errors on demand."""

    def __init__(self):
        self.captured, self.load_error = [], None
        self.go = threading.Event()
        self.go.set()

    def load_model(self, name, **options):
        if self.load_error:
            raise self.load_error
        return load_model(name, **options)

    def capture(self, model, text, options, *, on_progress, live=None):
        assert self.go.wait(PATIENCE)
        self.captured.append((text.text, options))
        return capture(model, text, options, on_progress=on_progress, live=live)


@pytest.fixture
def stage(monkeypatch):
    stage = Stage()
    monkeypatch.setattr(hooks, "load_model", stage.load_model)
    monkeypatch.setattr(hooks, "capture", stage.capture)
    return stage


@pytest.fixture
def settings(tmp_path):
    return load_settings(cache_dir=tmp_path, max_prompt_tokens=12, max_prompt_chars=60, max_new_tokens=5)


@pytest.fixture
def capture_cache(tmp_path):
    return CaptureCache(Store(tmp_path))


@pytest.fixture
def start(stage, settings, tiny_model):  # noqa: ARG001 - it stands before the library
    """Make workers of the tiny model, ready to ask; all are closed at the end."""
    started = []

    def make(capture_cache):
        started.append(ModelWorker(str(tiny_model), settings=settings, capture_cache=capture_cache))
        assert started[-1].loading.wait(PATIENCE)
        return started[-1]

    yield make
    for worker in started:
        worker.close()


@pytest.fixture
def worker(start, capture_cache):
    return start(capture_cache)


def done(asked: Source | Job) -> Source:
    if isinstance(asked, Source):
        return asked
    assert asked.wait(PATIENCE)
    assert asked.phase is Phase.DONE, asked.error
    return asked.result


def test_the_same_text_twice_runs_the_model_once(worker, stage):
    first = done(worker.request("one two three", CaptureOptions(), "a"))
    second = worker.request("one two three", CaptureOptions(), "b")
    assert isinstance(second, Source)
    assert (first.id, first.notice, second.notice) == (second.id, "", "")
    assert len(stage.captured) == 1


def test_a_text_is_tokenised_once_though_it_is_counted_checked_and_run(worker, monkeypatch):
    read, kind = [], type(worker.model.tokenizer)
    own = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda self, text, **options: read.append(text) or own(self, text, **options))
    tokens = worker.count_tokens("one two three")
    made = done(worker.request("one two three", CaptureOptions(), "a"))
    assert made.record.tokens == tokens
    assert read == ["one two three"]


def test_a_capture_survives_the_server(worker, stage, start, tmp_path):
    first = done(worker.request("one two three", CaptureOptions(), "a"))
    second = start(CaptureCache(Store(tmp_path))).request("one two three", CaptureOptions(), "a")
    assert isinstance(second, Source)
    assert np.array_equal(first.record.ids_tlk, second.record.ids_tlk)
    assert len(stage.captured) == 1


@pytest.mark.parametrize(
    "other",
    [
        CaptureOptions(max_new_tokens=2),
        CaptureOptions(logits=True),
        CaptureOptions(chat=True),
        CaptureOptions(max_new_tokens=2, sample=True),
    ],
)
def test_other_options_are_another_capture(worker, other):
    assert worker.identify("one two", CaptureOptions()) != worker.identify("one two", other)


def test_options_that_change_nothing_do_not_make_another_capture(worker):
    assert worker.identify("one two", CaptureOptions()) == worker.identify(
        "one two", CaptureOptions(temperature=0.5, seed=9)
    )
    greedy = CaptureOptions(max_new_tokens=3)
    assert worker.identify("one two", greedy) == worker.identify("one two", CaptureOptions(max_new_tokens=3, top_p=0.5))


def test_other_weights_and_another_number_format_are_another_capture(worker, tiny_model):
    before = worker.identify("one two", CaptureOptions())
    half = load_model(tiny_model, dtype="bfloat16")
    assert identify(half.provenance(), "one two", CaptureOptions(), secret=worker._secret) != before
    worker.model.fingerprint = "other"
    assert worker.identify("one two", CaptureOptions()) != before


def test_another_version_of_a_library_is_another_capture(worker, monkeypatch):
    before = worker.identify("one two", CaptureOptions())
    monkeypatch.setattr(hooks.loading.model.transformers, "__version__", "0.0.1")
    assert worker.identify("one two", CaptureOptions()) != before


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("", CaptureOptions(), "no text"),
        (" \n\t", CaptureOptions(), "no text"),
        ("x" * 61, CaptureOptions(), "61 characters"),
        ("a b c d e f a b c d e f", CaptureOptions(), "13 tokens"),
        ("a b", CaptureOptions(max_new_tokens=6), "3 prompt tokens and 6 new ones"),
    ],
)
def test_what_this_server_does_not_take_is_refused_before_it_is_queued(worker, stage, text, options, found):
    with pytest.raises(PromptError) as refused:
        worker.request(text, options, "a")
    assert refused.value.found == found
    assert stage.captured == []


def test_the_models_own_limit_counts_where_it_is_smaller(worker):
    assert worker.prompt_limit == 12
    worker.model.model.config.max_position_embeddings = 4
    assert worker.prompt_limit == 4
    with pytest.raises(PromptError, match="at most 0 new ones"):
        worker.request("a b c", CaptureOptions(max_new_tokens=2), "a")


def test_a_damaged_capture_is_set_aside_said_and_captured_again(worker, stage, start, tmp_path):
    first = done(worker.request("one two three", CaptureOptions(), "a"))
    path = tmp_path / f"{first.id}.gsr"
    path.write_bytes(path.read_bytes()[:-7])
    again = done(start(CaptureCache(Store(tmp_path))).request("one two three", CaptureOptions(), "a"))
    assert "damaged" in again.notice
    assert "captured again" in again.notice
    assert np.array_equal(again.record.ids_tlk, first.record.ids_tlk)
    assert len(stage.captured) == 2
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_a_capture_the_store_has_no_room_for_is_shown_and_found_again(start, stage, tmp_path):
    capture_cache = CaptureCache(Store(tmp_path / "full", quota_bytes=100))
    worker = start(capture_cache)
    hit = done(worker.request("a b", CaptureOptions(), "a"))
    assert hit.record.tokens == 3
    assert "could not be kept" in hit.notice
    assert capture_cache.find(hit.id).record is hit.record
    assert isinstance(worker.request("a b", CaptureOptions(), "a"), Source)
    assert len(stage.captured) == 1


def test_memory_holds_the_captures_used_last(tmp_path, make_record):
    record = make_record()
    size = sum(array.nbytes for _, array in record.arrays())
    capture_cache = CaptureCache(Store(tmp_path), recent_bytes=2 * size)
    ids = [letter * 16 for letter in "abc"]
    for id in ids[:2]:
        capture_cache.keep(id, record)
    capture_cache.find(ids[0])
    capture_cache.keep(ids[2], record)
    assert list(capture_cache._recent) == [ids[0], ids[2]]
    assert capture_cache.find(ids[1]).record.tokens == 3


def test_an_unknown_capture_is_an_error_of_that_name(capture_cache):
    with pytest.raises(CaptureNotFoundError):
        capture_cache.find("a" * 16)


def test_two_sessions_with_two_texts_each_get_their_own(worker, stage):
    stage.go.clear()
    jobs = [worker.request(text, CaptureOptions(), text) for text in ("one two three", "four five")]
    stage.go.set()
    assert [done(job).record.documents[0].text for job in jobs] == ["one two three", "four five"]


def test_a_model_that_does_not_load_says_why_and_may_be_tried_again(stage, start, capture_cache):
    stage.load_error = ModelNotFoundError("no folder", expected="a folder", do="name one")
    worker = start(capture_cache)
    assert (worker.loading.phase, worker.loading.error, worker.model) == (Phase.FAILED, stage.load_error, None)
    stage.load_error = None
    worker.reload()
    assert worker.loading.wait(PATIENCE)
    assert worker.model is not None


def test_making_a_tracer_does_not_wait_for_the_weights(settings, capture_cache, monkeypatch, tiny_model):
    let = threading.Event()
    monkeypatch.setattr(hooks, "load_model", lambda name, **options: let.wait(PATIENCE) and load_model(name, **options))
    worker = ModelWorker(str(tiny_model), settings=settings, capture_cache=capture_cache)
    assert not worker.loading.is_over
    assert worker.model is None
    let.set()
    assert worker.loading.wait(PATIENCE)
    worker.close()


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (PromptError("no text", expected="some", do="type"), "no text"),
        (MemoryError("3 GB"), "memory ran out (3 GB)"),
        (PermissionError(13, "Permission denied", "/srv/models/config.json"), "config.json: Permission denied"),
        (OverflowError("int too large to convert"), "a number out of range: int too large to convert"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_every_error_has_three_parts(error, found):
    shown = explained(error)
    assert shown.found == found
    assert shown.expected
    assert shown.do
    assert ("nobody foresaw" in shown.expected) == isinstance(error, ZeroDivisionError)


def test_the_command_line_names_the_whole_path_and_a_page_the_file_alone():
    denied = PermissionError(13, "Permission denied", "/srv/models/config.json")
    assert explained(denied, log="the traceback").found == "/srv/models/config.json: Permission denied"
    assert "/srv" not in str(explained(denied))


def test_what_was_written_is_seen_before_the_end_and_kept_when_it_is_stopped(start, capture_cache, stage):
    worker = start(capture_cache)
    stage.go.clear()
    job = worker.request("the cat", CaptureOptions(max_new_tokens=5), "me")
    assert job.work.is_generating
    job.work.stop()  # before the first token: one is written all the same
    stage.go.set()
    assert job.wait(PATIENCE)
    record = job.result.record
    assert job.work.so_far.tokens <= record.tokens
    assert record.provenance.options["max_new_tokens"] == 1
    assert job.result.id == worker.identify("the cat", CaptureOptions(max_new_tokens=1))
    assert worker.request("the cat", CaptureOptions(max_new_tokens=1), "me").id == job.result.id


def test_a_text_that_is_only_read_has_nothing_to_stop(start, capture_cache):
    worker = start(capture_cache)
    job = worker.request("the cat", CaptureOptions(), "me")
    assert not job.work.is_generating
    assert job.wait(PATIENCE)
    assert job.work.so_far is None
