"""A store gives back what was put, or says why not: it never reads a damaged file as data."""

import os
import stat
from datetime import UTC, datetime

import numpy as np
import pytest

from gatescope.cache.file_checksum import checksum
from gatescope.cache.store import Store
from gatescope.routing.errors import CaptureDamagedError, CaptureNotFoundError, StorageFullError, StoreError

ID, OTHER = "abcdefghij234567", "zzzzzzzzzzzzzzzz"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "captures")


def test_what_was_put_is_got(store, record, same):
    assert not store.has(ID)
    store.put(ID, record)
    assert store.has(ID)
    assert same(store.get(ID), record)


def test_the_folder_and_its_files_belong_to_their_owner_only(store, record):
    store.put(ID, record)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.folder / f"{ID}.gsr").stat().st_mode) == 0o600
    assert [path.name for path in store.folder.iterdir()] == [f"{ID}.gsr"]


def test_a_second_put_leaves_the_first_file_alone(store, record, records, same):
    store.put(ID, record)
    before = (store.folder / f"{ID}.gsr").stat()
    store.put(ID, records(seed=1))
    assert os.path.samestat((store.folder / f"{ID}.gsr").stat(), before)
    assert same(store.get(ID), record)


def test_an_unknown_id_is_not_found(store):
    with pytest.raises(CaptureNotFoundError, match=ID):
        store.get(ID)
    with pytest.raises(CaptureNotFoundError, match=ID):
        store.remove(ID)


def test_a_removed_capture_is_gone(store, record):
    store.put(ID, record)
    store.remove(ID)
    assert not store.has(ID) and store.ids() == []


def test_captures_are_listed_newest_first_with_size_and_time(store, record):
    store.put(ID, record)
    store.put(OTHER, record)
    os.utime(store.folder / f"{ID}.gsr", (2_000_000_000, 2_000_000_000))
    os.utime(store.folder / f"{OTHER}.gsr", (1_000_000_000, 1_000_000_000))
    (store.folder / "notes.gsr").write_text("not a capture")
    newest, oldest = store.ids()
    assert (newest.id, oldest.id) == (ID, OTHER)
    assert newest.written == datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
    assert newest.size_bytes == (store.folder / f"{ID}.gsr").stat().st_size


@pytest.mark.parametrize("id", ["../outside", "/etc/passwd", "..", "", "damaged/abcdefgh", "A" * 16])
@pytest.mark.parametrize("act", ["get", "has", "remove", "put"])
def test_an_id_that_is_a_path_touches_nothing(store, record, id, act):
    before = sorted(store.folder.parent.rglob("*"))
    with pytest.raises(CaptureNotFoundError, match="not the id"):
        getattr(store, act)(id, *([record] if act == "put" else []))
    assert sorted(store.folder.parent.rglob("*")) == before


def test_a_flipped_bit_anywhere_is_found(store, record):
    """Every byte of the header and a sample of the rest, each with one random bit flipped."""
    store.put(ID, record)
    path = store.folder / f"{ID}.gsr"
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    places = [*range(48), *generator.integers(48, len(whole), 100), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CaptureDamagedError):
            store.get(ID)
        assert not path.exists()
    assert len(list((store.folder / "damaged").iterdir())) == len(places)


def test_a_file_cut_short_or_longer_is_found(store, record):
    store.put(ID, record)
    path = store.folder / f"{ID}.gsr"
    whole = path.read_bytes()
    for data in [
        b"",
        *(whole[:length] for length in (1, 7, 8, 39, 40, 41, len(whole) // 2, len(whole) - 1)),
        whole + b"x",
    ]:
        path.write_bytes(data)
        with pytest.raises(CaptureDamagedError, match="set aside"):
            store.get(ID)


def test_a_damaged_file_is_kept_as_it_was_found(store, record):
    store.put(ID, record)
    (store.folder / f"{ID}.gsr").write_bytes(b"GSROUTE\ntorn")
    with pytest.raises(CaptureDamagedError):
        store.get(ID)
    with pytest.raises(CaptureNotFoundError):
        store.get(ID)
    (aside,) = (store.folder / "damaged").iterdir()
    assert aside.name.startswith(ID) and aside.read_bytes() == b"GSROUTE\ntorn"


def test_a_capture_under_the_name_of_another_is_found(store, record):
    store.put(ID, record)
    (store.folder / f"{ID}.gsr").rename(store.folder / f"{OTHER}.gsr")
    with pytest.raises(CaptureDamagedError, match="checksum"):
        store.get(OTHER)


def test_bytes_with_a_right_checksum_that_are_no_record_are_damaged(store):
    body = memoryview(b"PAR1 but not really PAR1")
    (store.folder / f"{ID}.gsr").write_bytes(checksum(ID, body) + body)
    with pytest.raises(CaptureDamagedError, match="not a record"):
        store.get(ID)


def test_a_capture_of_a_newer_version_is_not_called_damaged(store, record, monkeypatch):
    monkeypatch.setattr("gatescope.cache.schema.PLAIN_VERSION", 7)
    store.put(ID, record)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="version 7") as caught:
        store.get(ID)
    assert not isinstance(caught.value, CaptureDamagedError)
    assert store.has(ID)


def test_putting_over_a_damaged_file_repairs_it(store, record, same):
    (store.folder / f"{ID}.gsr").write_bytes(b"torn")
    store.put(ID, record)
    assert same(store.get(ID), record)


def test_old_leftovers_are_swept_and_young_ones_are_not(store):
    old, young = store.folder / f".{ID}.old.tmp", store.folder / f".{ID}.young.tmp"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    Store(store.folder)
    assert not old.exists() and young.exists()


def test_a_full_quota_says_what_is_needed_and_what_is_free(store, record, same):
    store.put(ID, record)
    size = store.ids()[0].size_bytes
    bounded = Store(store.folder, quota_bytes=size + 100)
    with pytest.raises(StorageFullError, match=r"needed and 100 are free on the quota") as caught:
        bounded.put(OTHER, record)
    assert f"{size:,} bytes" in caught.value.found
    assert [path.name for path in store.folder.iterdir()] == [f"{ID}.gsr"]
    bounded.put(ID, record)
    bounded.remove(ID)
    bounded.put(OTHER, record)
    assert same(bounded.get(OTHER), record)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file" / "inside")


def test_a_folder_that_vanished_is_named(store, record):
    store.folder.rmdir()
    with pytest.raises(StoreError, match="does not exist"):
        store.put(ID, record)
    assert store.ids() == []
