"""Several processes write, read, remove and clean in one full store at once: no bad read, no loss, no overflow."""

import random
import time

import pytest

from gatescope.cache.eviction import used_bytes
from gatescope.cache.store import Store

IDS = [letter * 15 + other for letter in "abcd" for other in "abcdefgh"]
ROOM = 10  # captures that the quota has room for

WRITE = """
import random
random.seed({seed})
store, written = Store(folder, quota_bytes={quota}, recent_seconds=0), 0
while not (folder / "stop").exists():
    try:
        store.put(random.choice({ids}), record)
        written += 1
    except StorageFullError:
        pass
    (folder.parent / "enough{seed}").touch() if written == 30 else None
"""

READ = """
import random
random.seed({seed})
store, read = Store(folder), 0
while not (folder / "stop").exists():
    try:
        assert store.get(random.choice({ids})).ids_tlk.tobytes() == record.ids_tlk.tobytes()
        with store.open(random.choice({ids})) as partial:
            assert partial.ids([1]).tobytes() == record.ids_tlk[:, [1]].tobytes()
        read += 1
    except CaptureNotFoundError:
        pass
    (folder.parent / "enough{seed}").touch() if read == 30 else None
"""

REMOVE = """
import random, time
from gatescope.cache.eviction import removable, remove
random.seed({seed})
removed = 0
while not (folder / "stop").exists():
    store = Store(folder)
    assert [error for _, error in store.verify() if error is not None] == []
    removed += len(remove(folder, removable(folder, quota_bytes={quota} // 2)))
    try:
        store.remove(random.choice({ids}))
        removed += 1
    except CaptureNotFoundError:
        pass
    (folder.parent / "enough{seed}").touch() if removed > 5 else None
    time.sleep(0.05)
"""


@pytest.fixture
def size(tmp_path, record):
    Store(tmp_path / "measured").put(IDS[0], record)
    return Store(tmp_path / "measured").ids()[0].size_bytes


def are_enough(folder, processes):
    """Whether each has done a fair share of its work; a process that ended before was in trouble."""
    assert all(each.poll() is None for each in processes), [each.communicate() for each in processes if each.poll()]
    return all((folder.parent / f"enough{seed}").exists() for seed in range(len(processes)))


def end(folder, processes):
    """Tell them to stop; none has complained."""
    (folder / "stop").touch()
    assert [process.communicate(timeout=60) for process in processes] == [("", "")] * len(processes)


def at_rest(folder):
    """The captures of one moment: those that two looks in a row agree on; None where they do not."""

    def look():
        seen = set()
        for path in folder.glob("*.gsr"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            seen.add((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
        return seen

    first = look()
    return first if look() == first else None


@pytest.mark.slow
def test_writers_readers_and_cleaners_share_a_full_store(process, tmp_path, record, size, same):
    folder, quota = tmp_path / "captures", ROOM * size + size // 2
    folder.mkdir()
    processes = [
        process(lines.format(seed=seed, quota=quota, ids=IDS), folder)
        for seed, lines in enumerate((WRITE, WRITE, WRITE, READ, READ, REMOVE))
    ]
    most, looks = 0, 0
    while not are_enough(folder, processes) or looks < 100:
        seen = at_rest(folder)
        if seen:
            most, looks = max(most, sum(size for *_, size in seen)), looks + 1
    end(folder, processes)
    assert 3 * size < most <= quota, "filled for a while, and never over"
    store = Store(folder)
    assert used_bytes(folder) <= quota
    assert list(folder.glob(".*")) == [] and not (folder / "damaged").exists()
    assert all(same(store.get(entry.id), record) for entry in store.ids())


@pytest.mark.slow
def test_writers_alone_fill_the_quota_and_stay_below(process, tmp_path, size):
    folder, quota = tmp_path / "captures", ROOM * size + size // 2
    folder.mkdir()
    writers = [process(WRITE.format(seed=seed, quota=quota, ids=IDS), folder) for seed in range(3)]
    while not are_enough(folder, writers):
        time.sleep(0.02)
    end(folder, writers)
    assert 0.5 * quota < used_bytes(folder) <= quota


def test_what_somebody_keeps_reading_is_never_removed(process, tmp_path, record, size):
    """The writers make every capture of theirs look a minute old, so that there is always something to remove."""
    folder, quota = tmp_path / "captures", 3 * size + size // 2
    Store(folder).put(IDS[0], record)
    writing = f"""
import os, time
store = Store(folder, quota_bytes={quota}, recent_seconds=20)
for turn in range(120):
    name = {IDS[1:]!r}[turn % 31]
    try:
        store.put(name, record)
        os.utime(store.path(name), (time.time() - 60, time.time() - 60))
        os.utime(folder / "used" / name, (time.time() - 60, time.time() - 60))
    except (FileNotFoundError, StorageFullError):
        pass
print(len(store.ids()))
"""
    reading = f"""
import time
store, read = Store(folder), 0
while not (folder / "stop").exists():
    assert store.get("{IDS[0]}").tokens == 50
    read += 1
    (folder / "reading").touch() if read > 10 else None
    time.sleep(0.005)
"""
    reader = process(reading, folder)
    while not (folder / "reading").exists() and reader.poll() is None:
        time.sleep(0.01)
    writers = [process(writing, folder) for _ in range(2)]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == ["", ""]
    end(folder, [reader])
    assert Store(folder).has(IDS[0])
    assert 1 < len(Store(folder).ids()) <= 3, "others came and went"


def test_a_writer_killed_while_it_makes_room_leaves_whole_captures(process, tmp_path, record, size, same):
    folder, quota = tmp_path / "captures", ROOM * size + size // 2
    folder.mkdir()
    generator = random.Random(0)
    for seed in range(8):
        writer = process(WRITE.format(seed=seed, quota=quota, ids=IDS), folder)
        while writer.poll() is None and len(Store(folder).ids()) < ROOM // 2:
            time.sleep(0.005)
        time.sleep(generator.random() * 0.1)
        writer.kill()
        assert writer.communicate(timeout=30)[1] == ""
        store = Store(folder)
        assert all(same(store.get(entry.id), record) for entry in store.ids())
        assert sum(entry.size_bytes for entry in store.ids()) <= quota
        for path in folder.glob(".*.tmp"):  # they count until they are old enough to be swept
            path.unlink()
