"""Ids depend on the whole recipe and on the secret, and nothing else passes as an id."""

import base64
import hashlib
import hmac
import multiprocessing
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.cache import keys
from gatescope.cache.keys import capture_id, check_capture_id, server_secret
from gatescope.routing.errors import CaptureNotFoundError, OptionError, StoreError

RECIPE = {"fingerprint": "ab12", "text": "Hello", "options": {"logits": True, "limit": 64}, "secret": b"s" * 32}


def test_an_id_is_the_hmac_of_the_canonical_recipe():
    """Computed once with Python's hmac over the JSON spelt out by hand, then base32 of its first 80 bits."""
    spelt = b'{"fingerprint":"ab12","options":{"limit":64,"logits":true},"schema":1,"text":"Hello"}'
    digest = hmac.new(b"s" * 32, spelt, hashlib.sha256).digest()
    assert capture_id(**RECIPE) == base64.b32encode(digest)[:16].decode().lower()


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "ab13"},
        {"text": "Hello "},
        {"options": {"logits": False, "limit": 64}},
        {"options": {"logits": 1, "limit": 64}},
        {"options": {"logits": True}},
        {"secret": b"t" * 32},
    ],
)
def test_any_part_of_the_recipe_changes_the_id(change):
    assert capture_id(**RECIPE | change) != capture_id(**RECIPE)


def test_another_version_of_what_is_recorded_is_another_capture(monkeypatch):
    before = capture_id(**RECIPE)
    monkeypatch.setattr(keys, "RECIPE_VERSION", 2)
    assert capture_id(**RECIPE) != before


def test_another_layout_of_files_is_the_same_capture(monkeypatch):
    """Older files are migrated as they are read, so what was captured before is found again."""
    before = capture_id(**RECIPE)
    monkeypatch.setattr("gatescope.cache.schema.SCHEMA_VERSION", 99)
    assert capture_id(**RECIPE) == before


@given(st.text(st.characters()), st.text())
def test_every_text_has_a_valid_id_and_texts_do_not_run_into_each_other(text, name):
    plain = capture_id(**RECIPE | {"text": text, "options": {}})
    assert check_capture_id(plain) == plain
    assert plain != capture_id(**RECIPE | {"text": text + name, "options": {name: name}})


@pytest.mark.parametrize("options", [{"path": object()}, {"x": float("nan")}, {1: 2}])
def test_options_that_have_no_one_spelling_are_refused(options):
    with pytest.raises(OptionError):
        capture_id(**RECIPE | {"options": options})


@pytest.mark.parametrize(
    "text",
    ["", "abc", "a" * 17, "A" * 16, "a" * 15 + "1", "a" * 16 + "\n", "../../etc/passwd", "a" * 15 + "\0", None],
)
def test_nothing_but_an_id_is_an_id(text):
    with pytest.raises(CaptureNotFoundError, match="not the id"):
        check_capture_id(text)


def test_the_secret_is_made_once_for_its_owner_only(tmp_path):
    folder = tmp_path / "new"
    secret = server_secret(folder)
    assert len(secret) == 32
    assert server_secret(folder) == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret"]


def test_two_folders_have_two_secrets(tmp_path):
    assert server_secret(tmp_path / "a") != server_secret(tmp_path / "b")


@pytest.mark.slow
def test_processes_that_start_at_once_agree_on_one_secret(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for round_number in range(5):
            folder = tmp_path / str(round_number)
            assert len(set(pool.map(server_secret, [folder] * 8, chunksize=1))) == 1
            assert [path.name for path in folder.iterdir()] == ["secret"]


def test_a_torn_secret_is_named(tmp_path):
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(StoreError, match="5 bytes"):
        server_secret(tmp_path)


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        server_secret(tmp_path / "file" / "inside")
