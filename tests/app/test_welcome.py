"""The capture a first visitor sees: of a bundled model, and taken in under the id it gets on this server."""

from types import SimpleNamespace

import pytest

from gatescope.cache.store import Store
from gatescope.hooks import CaptureOptions
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import WELCOME_TEXT, load_welcome_capture
from gatescope.routing.errors import ModelNotFoundError
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.model_worker import ModelWorker
from gatescope.server.server import _adopt_welcome
from gatescope.server.settings import load_settings
from gatescope.server.sources import Source


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_the_welcome_is_shipped_with_each_bundled_model(name):
    assert load_welcome_capture(name).documents[0].text == WELCOME_TEXT


def test_it_is_found_before_the_model_is_loaded_and_again_afterwards(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("gatescope.server.settings.model_source", lambda _name: tiny_model)
    capture_cache = CaptureCache(Store(tmp_path))
    worker = ModelWorker("small", settings=load_settings(cache_dir=tmp_path), capture_cache=capture_cache)
    assert worker.loading.wait(240)
    asked = worker.request(WELCOME_TEXT, CaptureOptions(), "one")
    assert asked.wait(240)
    made = asked.result
    worker.close()

    elsewhere = CaptureCache(Store(tmp_path / "elsewhere"))
    other = ModelWorker("small", settings=load_settings(cache_dir=tmp_path / "elsewhere"), capture_cache=elsewhere)
    assert other.recall(WELCOME_TEXT) is None
    other.adopt(made.record)
    recalled = other.recall(WELCOME_TEXT)
    assert recalled.id != made.id  # each server has a secret of its own
    assert other.loading.wait(240)
    again = other.request(WELCOME_TEXT, CaptureOptions(), "one")
    assert isinstance(again, Source)
    assert again.id == recalled.id
    other.close()


def test_a_server_without_it_says_so_and_still_starts(monkeypatch, tmp_path, caplog):

    monkeypatch.setattr("gatescope.models.bundled_captures.folder_of", lambda _name: tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"gatescope\.training\.ship"):
        load_welcome_capture("sift-softmax")
    _adopt_welcome(SimpleNamespace(adopt=pytest.fail), "sift-softmax")
    assert "welcome.gsr" in caplog.text
