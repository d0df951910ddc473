"""The capture that is shipped: of the bundled model, and taken in under the id it gets on this server."""

import pytest

from app.settings import load_settings
from app.tracer import Hit, Shelf, Tracer
from app.welcome import FOLDER, TEXT, shipped
from cache.store import Store
from hooks import CaptureOptions, load_model
from models import BUNDLED_MODEL


@pytest.fixture(scope="module")
def bundled():
    if not (BUNDLED_MODEL / "model.safetensors").exists():
        pytest.skip(f"needs the bundled model in {BUNDLED_MODEL}: python -m models.train")
    return load_model(BUNDLED_MODEL, device="cpu")


def test_one_capture_of_the_example_is_shipped():
    assert len(list(FOLDER.glob("*.gsr"))) == 1
    assert shipped().documents[0].text == TEXT


def test_it_was_made_with_the_model_that_is_bundled(bundled):
    assert shipped().provenance.fingerprint == bundled.fingerprint, "run python -m app.welcome"


def test_it_is_found_before_the_model_is_loaded_and_again_afterwards(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("app.tracer.model_source", lambda name: tiny_model)
    shelf = Shelf(Store(tmp_path))
    tracer = Tracer("small", settings=load_settings(cache_dir=tmp_path), shelf=shelf)
    assert tracer.loading.wait(60)
    asked = tracer.request(TEXT, CaptureOptions(), "one")
    assert asked.wait(60)
    made = asked.result
    tracer.close()

    elsewhere = Shelf(Store(tmp_path / "elsewhere"))
    other = Tracer("small", settings=load_settings(cache_dir=tmp_path / "elsewhere"), shelf=elsewhere)
    assert other.recall(TEXT) is None
    other.adopt(made.record)
    recalled = other.recall(TEXT)
    assert recalled.id != made.id  # each server has a secret of its own
    assert other.loading.wait(60)
    again = other.request(TEXT, CaptureOptions(), "one")
    assert isinstance(again, Hit)
    assert again.id == recalled.id
    other.close()


def test_a_server_without_it_still_starts(monkeypatch, tmp_path):
    monkeypatch.setattr("app.welcome.FOLDER", tmp_path / "none")
    assert shipped() is None
