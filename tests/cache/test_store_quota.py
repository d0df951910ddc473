"""A store that is full makes room by what was used longest ago, and never by what somebody is looking at."""

import os
import time

import pytest

from gatescope.cache.eviction import removable, remove
from gatescope.cache.folder import mark_used
from gatescope.cache.store import Store
from gatescope.routing.errors import CaptureDamagedError, StorageFullError

A, B, C, D = ("abcd"[number] * 16 for number in range(4))
HOUR = 3600


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "captures")


@pytest.fixture
def size(tmp_path, record):
    """What one capture takes; those of one record differ in nothing but their seals."""
    Store(tmp_path / "measured").put(A, record)
    return (tmp_path / "measured" / f"{A}.gsr").stat().st_size


def age(store, id, seconds, *, read=None):
    """Let a capture have been written, and read if it was, so long ago."""
    now = time.time()
    os.utime(store.folder / f"{id}.gsr", (now - seconds, now - seconds))
    if read is not None:
        mark_used(store.folder, id)
        os.utime(store.folder / "used" / id, (now - read, now - read))


def filled(store, record, *ids):
    """Captures of whole hours of age, the first the oldest."""
    for number, id in enumerate(ids):
        store.put(id, record)
        age(store, id, (len(ids) - number) * HOUR)


def kept(store):
    return sorted(entry.id for entry in store.ids())


def test_the_capture_used_longest_ago_makes_room(store, record, size, same):
    filled(store, record, A, B, C)
    Store(store.folder, quota_bytes=3 * size).put(D, record)
    assert kept(store) == [B, C, D]
    assert same(store.get(D), record)


def test_reading_is_use_and_writing_again_is_use(store, record, size):
    filled(store, record, A, B, C)
    store.get(A)
    store.put(B, record)
    Store(store.folder, quota_bytes=3 * size).put(D, record)
    assert kept(store) == [A, B, D]


def test_opening_a_part_is_use_and_looking_around_is_not(store, record, size):
    filled(store, record, A, B, C)
    store.open(A).close()
    assert store.has(B) and all(error is None for _, error in store.verify())
    before = {entry.id: entry.used for entry in store.ids()}
    assert before[A] > before[C] > before[B]
    Store(store.folder, quota_bytes=3 * size).put(D, record)
    assert kept(store) == [A, C, D]


def test_when_a_capture_was_read_does_not_change_when_it_was_written(store, record):
    filled(store, record, A)
    written = store.ids()[0].written
    store.get(A)
    entry = store.ids()[0]
    assert entry.written == written
    assert abs(entry.used.timestamp() - time.time()) < 60


def test_a_reader_the_kernel_notes_is_not_taken_for_use(store, record, size):
    """What `cat`, a backup or a virus scanner does: the time of access moves, the order of removal does not."""
    filled(store, record, A, B)
    path = store.folder / f"{A}.gsr"
    os.utime(path, (time.time(), path.stat().st_mtime))
    Store(store.folder, quota_bytes=2 * size).put(C, record)
    assert kept(store) == [B, C]


def test_as_many_go_as_are_needed_and_no_more(store, record, size):
    filled(store, record, A, B, C)
    Store(store.folder, quota_bytes=2 * size + size // 2).put(D, record)
    assert kept(store) == [C, D]


def test_a_capture_that_fits_removes_nothing(store, record, size):
    filled(store, record, A, B, C)
    Store(store.folder, quota_bytes=4 * size).put(D, record)
    assert kept(store) == [A, B, C, D]


def test_what_was_used_in_the_last_minutes_stays_and_the_write_is_refused(store, record, size):
    filled(store, record, A, B)
    store.get(A)
    age(store, B, 9 * 60)
    with pytest.raises(StorageFullError, match=r"the last 10 minutes") as caught:
        Store(store.folder, quota_bytes=2 * size).put(C, record)
    assert f"{size:,} bytes are needed and 0 are free" in caught.value.found
    assert kept(store) == [A, B]
    assert list(store.folder.glob(".*")) == []
    age(store, B, 11 * 60)
    Store(store.folder, quota_bytes=2 * size).put(C, record)
    assert kept(store) == [A, C]


def test_nothing_is_removed_for_a_capture_that_would_not_fit_all_the_same(store, record, size):
    filled(store, record, A, B, C)
    store.get(A)
    with pytest.raises(StorageFullError, match="nothing was written"):
        Store(store.folder, quota_bytes=size + size // 2).put(D, record)
    assert kept(store) == [A, B, C]


def test_a_store_may_refuse_instead(store, record, size):
    filled(store, record, A, B)
    with pytest.raises(StorageFullError, match=rf"{size:,} bytes are needed and 7 are free on the quota"):
        Store(store.folder, quota_bytes=2 * size + 7, when_full="refuse").put(C, record)
    assert kept(store) == [A, B]


def test_what_was_set_aside_counts_and_goes_first(store, record, size):
    filled(store, record, A, B)
    (store.folder / f"{B}.gsr").write_bytes(bytes(size))
    with pytest.raises(CaptureDamagedError):
        store.get(B)
    with pytest.raises(StorageFullError):
        Store(store.folder, quota_bytes=2 * size, when_full="refuse").put(C, record)
    Store(store.folder, quota_bytes=2 * size).put(C, record)
    assert kept(store) == [A, C]
    assert list((store.folder / "damaged").iterdir()) == []


def test_a_damaged_capture_is_replaced_without_room_for_both(store, record, size, same):
    filled(store, record, A, B)
    (store.folder / f"{A}.gsr").write_bytes(bytes(size))
    Store(store.folder, quota_bytes=2 * size).put(A, record)
    assert kept(store) == [A, B]
    assert same(store.get(A), record)


def test_what_others_are_writing_counts_at_its_full_size(store, record, size):
    (store.folder / f".{B}.other.tmp").write_bytes(bytes(size))
    with pytest.raises(StorageFullError, match="and 5 are free"):
        Store(store.folder, quota_bytes=size + 5).put(C, record)


def test_what_a_writer_left_behind_goes_before_everything_else(store, record, size):
    filled(store, record, A)
    left = store.folder / f".{B}.dead.tmp"
    bounded = Store(store.folder, quota_bytes=2 * size)  # opened before, as a server is
    left.write_bytes(bytes(size))
    old = time.time() - 2 * HOUR
    os.utime(left, (old, old))
    bounded.put(C, record)
    assert kept(store) == [A, C] and not left.exists()


def test_a_capture_written_in_the_future_is_no_hindrance(store, record, size):
    """A clock that was wrong once must not keep a capture for ever; it goes after those of the past."""
    filled(store, record, A, B)
    age(store, A, -365 * 24 * HOUR)
    Store(store.folder, quota_bytes=2 * size).put(C, record)
    assert kept(store) == [A, C]
    age(store, C, HOUR)
    Store(store.folder, quota_bytes=size).put(D, record)
    assert kept(store) == [D]


def test_a_store_that_may_not_be_written_is_still_read(store, record, same):
    """Marks of use cannot be made: a file stands where their folder would be."""
    store.put(A, record)
    (store.folder / "used").write_text("")
    assert same(store.get(A), record)


def test_a_removed_capture_leaves_no_mark(store, record):
    store.put(A, record)
    store.get(A)
    assert [path.name for path in (store.folder / "used").iterdir()] == [A]
    store.remove(A)
    assert list((store.folder / "used").iterdir()) == []


def test_a_cleaning_takes_leftovers_old_damage_and_what_is_over_the_quota(store, record, size):
    filled(store, record, A, B, C)
    old = time.time() - 25 * HOUR
    (store.folder / "damaged").mkdir()
    young_aside = store.folder / "damaged" / f"{D}.{time.time_ns()}.gsr"
    old_aside = store.folder / "damaged" / f"{D}.{int(old * 1e9)}.gsr"
    orphan, temporary = store.folder / "used" / D, store.folder / f".{D}.x.tmp"
    orphan.parent.mkdir(exist_ok=True)
    for path in (young_aside, old_aside, orphan, temporary):
        path.write_bytes(b"x")
    os.utime(young_aside, (old, old))  # when it was written, not when it was set aside
    for path in (orphan, temporary):
        os.utime(path, (old, old))
    assert {removal.found.path for removal in removable(store.folder)} == {old_aside, orphan, temporary}
    found = removable(store.folder, quota_bytes=2 * size)
    assert {removal.found.path for removal in found} == {
        old_aside, orphan, temporary, young_aside, store.folder / f"{A}.gsr"
    }  # fmt: skip
    assert kept(store) == [A, B, C], "looking removes nothing"
    assert remove(store.folder, found) == found
    assert kept(store) == [B, C]
    assert remove(store.folder, found) == [], "they are gone"


def test_a_cleaning_spares_what_was_used_since_it_looked(store, record, size):
    filled(store, record, A, B)
    found = removable(store.folder, quota_bytes=size)
    assert [removal.found.id for removal in found] == [A]
    store.get(A)
    assert remove(store.folder, found) == []
    assert kept(store) == [A, B]
