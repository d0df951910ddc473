"""From text to capture: the model runs once a recipe, and trouble with the store loses nothing."""

import threading
import time
from dataclasses import asdict, dataclass

import numpy as np
import pytest

import hooks
from app.jobs import Job, Phase
from app.settings import load_settings
from app.tracer import Hit, Shelf, Tracer, explained
from cache.store import Store
from routing.errors import CaptureNotFoundError, ModelNotFoundError, PromptError, StorageFullError


@dataclass(frozen=True, kw_only=True)
class Options:
    max_new_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    chat: bool = False
    logits: bool = False

    def as_dict(self):
        return asdict(self)


class Model:
    """Stands in for a loaded model: a token a word."""

    name, fingerprint, device, dtype, max_tokens = "small", "0f" * 8, "cpu", "float32", 100

    def count_tokens(self, text, *, chat=False):
        return len(text.split())


class Stage:
    """What the stand-ins for `hooks` do and have done."""

    def __init__(self, make_record):
        self.make_record, self.captured, self.loads = make_record, [], 0
        self.load_error = self.capture_error = None
        self.go = threading.Event()
        self.go.set()

    def load_model(self, name, **options):
        self.loads += 1
        if self.load_error:
            raise self.load_error
        return Model()

    def capture(self, model, text, options, *, on_progress):
        assert self.go.wait(10)
        self.captured.append((text, options))
        if self.capture_error:
            raise self.capture_error
        on_progress(1, 2)
        on_progress(2, 2)
        return self.make_record(pieces=text.split())


@pytest.fixture
def stage(monkeypatch, make_record):
    stage = Stage(make_record)
    monkeypatch.setattr(hooks, "load_model", stage.load_model, raising=False)
    monkeypatch.setattr(hooks, "capture", stage.capture, raising=False)
    return stage


@pytest.fixture
def settings(tmp_path):
    return load_settings(cache_dir=tmp_path, max_prompt_tokens=8, max_prompt_chars=60, max_new_tokens=5)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(Store(tmp_path))


@pytest.fixture
def tracer(stage, settings, shelf):
    tracer = Tracer("small", settings=settings, shelf=shelf)
    assert tracer.loading.wait(10)
    yield tracer
    tracer.close()


def done(asked: Hit | Job) -> Hit:
    if isinstance(asked, Hit):
        return asked
    assert asked.wait(10)
    assert asked.phase is Phase.DONE, asked.error
    return asked.result


def test_the_same_text_twice_runs_the_model_once(tracer, stage):
    first = done(tracer.request("one two three", Options(), "a"))
    second = tracer.request("one two three", Options(), "b")
    assert isinstance(second, Hit)
    assert (first.id, first.notice, second.notice) == (second.id, "", "")
    assert len(stage.captured) == 1


def test_a_capture_survives_the_server(tracer, stage, settings, tmp_path):
    first = done(tracer.request("one two three", Options(), "a"))
    later = Tracer("small", settings=settings, shelf=Shelf(Store(tmp_path)))
    assert later.loading.wait(10)
    second = later.request("one two three", Options(), "a")
    assert isinstance(second, Hit)
    assert np.array_equal(first.record.ids_tlk, second.record.ids_tlk)
    assert len(stage.captured) == 1
    later.close()


@pytest.mark.parametrize(
    "other",
    [Options(max_new_tokens=2), Options(logits=True), Options(chat=True), Options(max_new_tokens=2, sample=True)],
)
def test_other_options_are_another_capture(tracer, other):
    assert tracer.identify("one two", Options()) != tracer.identify("one two", other)


def test_options_that_change_nothing_do_not_make_another_capture(tracer):
    assert tracer.identify("one two", Options()) == tracer.identify("one two", Options(temperature=0.5, seed=9))
    greedy = Options(max_new_tokens=3)
    assert tracer.identify("one two", greedy) == tracer.identify("one two", Options(max_new_tokens=3, top_p=0.5))


@pytest.mark.parametrize("name", ["device", "dtype", "fingerprint"])
def test_another_device_number_format_or_weights_is_another_capture(tracer, monkeypatch, name):
    before = tracer.identify("one two", Options())
    monkeypatch.setattr(Model, name, "other")
    assert tracer.identify("one two", Options()) != before


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("", Options(), "no text"),
        (" \n\t", Options(), "no text"),
        ("x" * 61, Options(), "61 characters"),
        ("a b c d e f g h i", Options(), "9 tokens"),
        ("a b", Options(max_new_tokens=6), "2 prompt tokens and 6 new ones"),
    ],
)
def test_what_this_server_does_not_take_is_refused_before_it_is_queued(tracer, stage, text, options, found):
    with pytest.raises(PromptError) as refused:
        tracer.request(text, options, "a")
    assert refused.value.found == found
    assert stage.captured == []


def test_the_models_own_limit_counts_where_it_is_smaller(tracer, monkeypatch):
    assert tracer.prompt_limit == 8
    monkeypatch.setattr(Model, "max_tokens", 4)
    assert tracer.prompt_limit == 4
    with pytest.raises(PromptError, match="at most 1 new ones"):
        tracer.request("a b c", Options(max_new_tokens=2), "a")


def test_a_damaged_capture_is_set_aside_said_and_captured_again(tracer, stage, settings, tmp_path):
    first = done(tracer.request("one two three", Options(), "a"))
    path = tmp_path / f"{first.id}.gsr"
    path.write_bytes(path.read_bytes()[:-7])
    later = Tracer("small", settings=settings, shelf=Shelf(Store(tmp_path)))
    assert later.loading.wait(10)
    again = done(later.request("one two three", Options(), "a"))
    assert "damaged" in again.notice
    assert "captured again" in again.notice
    assert np.array_equal(again.record.ids_tlk, first.record.ids_tlk)
    assert len(stage.captured) == 2
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    later.close()


def test_a_capture_the_store_has_no_room_for_is_shown_and_found_again(tracer, stage, shelf, monkeypatch):
    def full(id, record):
        raise StorageFullError("the disk is full", expected="room", do="make room")

    monkeypatch.setattr(shelf.store, "put", full)
    hit = done(tracer.request("one two three", Options(), "a"))
    assert hit.record.tokens == 3
    assert "could not be kept: the disk is full" in hit.notice
    assert shelf.find(hit.id).record is hit.record
    assert isinstance(tracer.request("one two three", Options(), "a"), Hit)
    assert len(stage.captured) == 1


def test_memory_holds_the_captures_used_last(tmp_path, make_record):
    record = make_record()
    size = sum(array.nbytes for _, array in record.arrays())
    shelf = Shelf(Store(tmp_path), recent_bytes=2 * size)
    ids = [letter * 16 for letter in "abc"]
    for id in ids[:2]:
        shelf.keep(id, record)
    shelf.find(ids[0])
    shelf.keep(ids[2], record)
    assert list(shelf._recent) == [ids[0], ids[2]]
    assert shelf.find(ids[1]).record.tokens == 3


def test_an_unknown_capture_is_an_error_of_that_name(shelf):
    with pytest.raises(CaptureNotFoundError):
        shelf.find("a" * 16)


def test_two_sessions_with_two_texts_each_get_their_own(tracer, stage):
    stage.go.clear()
    jobs = [tracer.request(text, Options(), text) for text in ("one two three", "four five")]
    stage.go.set()
    assert [done(job).record.documents[0].text for job in jobs] == ["onetwothree", "fourfive"]


def test_a_model_that_does_not_load_says_why_and_may_be_tried_again(stage, settings, shelf):
    stage.load_error = ModelNotFoundError("no folder", expected="a folder", do="name one")
    tracer = Tracer("small", settings=settings, shelf=shelf)
    assert tracer.loading.wait(10)
    assert (tracer.loading.phase, tracer.loading.error, tracer.model) == (Phase.FAILED, stage.load_error, None)
    stage.load_error = None
    tracer.reload()
    assert tracer.loading.wait(10)
    assert tracer.model is not None
    tracer.close()


def test_making_a_tracer_does_not_wait_for_the_weights(stage, settings, shelf, monkeypatch):
    let = threading.Event()
    monkeypatch.setattr(hooks, "load_model", lambda *args, **options: let.wait(10) and Model())
    began = time.monotonic()
    tracer = Tracer("small", settings=settings, shelf=shelf)
    assert time.monotonic() - began < 5
    assert tracer.model is None
    let.set()
    assert tracer.loading.wait(10)
    tracer.close()


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (PromptError("no text", expected="some", do="type"), "no text"),
        (MemoryError("3 GB"), "memory ran out (3 GB)"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_every_error_has_three_parts(error, found):
    shown = explained(error)
    assert shown.found == found
    assert shown.expected
    assert shown.do
