"""Settings come from the environment, then the file, then the defaults; a bad one is named, not traced back."""

from pathlib import Path

import pytest

from gatescope.routing.errors import OptionError
from gatescope.server.settings import Settings, default_cache_dir, load_settings, model_source


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GATESCOPE_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_offer_both_bundled_models_and_2048_tokens():
    found = load_settings()
    assert (found.offered, found.max_prompt_tokens) == (("sift-softmax", "sift-sigmoid"), 2048)


def test_the_environment_wins_over_the_file(monkeypatch, tmp_path):
    (tmp_path / "gatescope.toml").write_text('model = "from-file"\nqueue_limit = 4\n')
    monkeypatch.setenv("GATESCOPE_MODEL", "from-env")
    found = load_settings()
    assert (found.model, found.queue_limit) == ("from-env", 4)


def test_the_list_of_models_starts_with_the_first_shown_and_repeats_none(monkeypatch):
    monkeypatch.setenv("GATESCOPE_MODEL", "b")
    monkeypatch.setenv("GATESCOPE_MODELS", "a, b,sift-sigmoid,")
    assert load_settings().offered == ("b", "a", "sift-sigmoid")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_LIMIT", "-1"),
        ("QUEUE_LIMIT", "many"),
        ("MAX_PROMPT_TOKENS", "0"),
        ("QUOTA_BYTES", "12"),
        ("MODEL", " "),
    ],
)
def test_a_bad_value_is_named_with_what_it_may_be(monkeypatch, name, value):
    monkeypatch.setenv(f"GATESCOPE_{name}", value)
    with pytest.raises(OptionError) as refused:
        load_settings()
    assert "setting" in refused.value.found
    assert refused.value.do.startswith("correct GATESCOPE_")


def test_a_setting_that_does_not_exist_is_refused(tmp_path):
    (tmp_path / "gatescope.toml").write_text("queue_limits = 4\n")
    with pytest.raises(OptionError, match="queue_limits"):
        load_settings()


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "gatescope.toml").write_text("queue_limit: 4\n")
    with pytest.raises(OptionError, match="cannot be read"):
        load_settings()


def test_a_list_of_models_in_the_file_is_a_toml_list(tmp_path):
    (tmp_path / "gatescope.toml").write_text('models = ["a", "b"]\n')
    assert load_settings().offered == ("sift-softmax", "a", "b")


def test_no_quota_is_said_with_none(monkeypatch):
    monkeypatch.setenv("GATESCOPE_QUOTA_BYTES", "none")
    assert load_settings().quota_bytes is None


def test_the_cache_follows_xdg_only_when_it_is_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "gatescope"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir() == Path.home() / ".cache" / "gatescope"


def test_every_setting_says_what_it_does():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_model_named_by_hand_is_passed_on_as_it_is():
    assert model_source("allenai/OLMoE-1B-7B-0924") == "allenai/OLMoE-1B-7B-0924"
