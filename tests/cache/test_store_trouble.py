"""The store under real trouble: full and read-only disks, competing processes, writers killed in mid-write."""

import shutil
import subprocess
import sys
from functools import partial

import pytest

from gatescope.cache.schema import encode
from gatescope.cache.store import Store

PATIENCE = 240
"""Seconds after which what should have ended never will, on a machine however busy."""
ID = "abcdefghij234567"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk: runs on Linux only")


def _may_mount() -> bool:
    """Whether a mount of our own is allowed, seen by no other process."""
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True).returncode == 0


def _disk(folder, options: str) -> list[str]:
    """A prefix that runs a command with a disk of its own mounted on a folder."""
    folder.mkdir()
    script = f'mount -t tmpfs -o {options} tmpfs "{folder}" && exec "$0" "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]


FILL = """
store = Store(folder)
kept = []
try:
    for n in range(2000):
        name = "a" * 12 + "".join("abcdefghij"[int(digit)] for digit in f"{n:04}")
        store.put(name, record)
        kept.append(name)
except StorageFullError as error:
    print(error.found)
assert sorted(kept) == sorted(entry.id for entry in store.ids())
assert not list(folder.glob(".*"))
assert all(store.get(name).tokens == 50 for name in kept)
store.remove(kept.pop()) if kept else None
print(len(kept))
"""


@LINUX
@pytest.mark.skipif(not _may_mount(), reason="needs leave to mount in a user namespace (unshare --user --mount)")
def test_a_full_disk_leaves_whole_captures_only(process, tmp_path):
    out, err = process(FILL, tmp_path / "disk", *_disk(tmp_path / "disk", "size=256k")).communicate(timeout=PATIENCE)
    found, kept = out.splitlines()
    assert "bytes are needed and" in found and "nothing was written" in found, err
    assert int(kept) >= 3


@LINUX
@pytest.mark.skipif(not _may_mount(), reason="needs leave to mount in a user namespace (unshare --user --mount)")
def test_a_read_only_disk_is_named(process, tmp_path):
    lines = "try:\n    Store(folder).put('a' * 16, record)\nexcept StoreError as error:\n    print(error)"
    out, err = process(lines, tmp_path / "disk", *_disk(tmp_path / "disk", "ro")).communicate(timeout=PATIENCE)
    assert "Read-only file system" in out and str(tmp_path / "disk") in out, err


@LINUX
def test_a_file_over_the_size_limit_of_the_process_leaves_nothing(process, tmp_path, record):
    limit = len(encode(record)) // 2
    lines = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + FILL
    out, err = process(lines, tmp_path / "captures").communicate(timeout=PATIENCE)
    assert "one file may not be that large" in out and out.endswith("\n0\n"), err


def test_two_writers_and_a_reader_of_one_capture_never_meet_a_bad_read(process, tmp_path, same, record):
    """Each writer puts the capture 50 times and takes it away before each but the first, so that puts really write.

    They begin when the reader is there, which ends when it has read often enough after they are done.
    """
    writing = f"""
import time
store = Store(folder)
while not (folder.parent / "reading").exists():
    time.sleep(0.01)
for turn in range(50):
    (folder / "{ID}.gsr").unlink(missing_ok=True)
    store.put("{ID}", record)
"""
    reading = f"""
store, good = Store(folder), 0
(folder.parent / "reading").touch()
while good < 11 or not (folder / "stop").exists():
    try:
        assert store.get("{ID}").ids_tlk.tobytes() == record.ids_tlk.tobytes()
        good += 1
    except CaptureNotFoundError:
        pass
print(good)
"""
    folder = tmp_path / "captures"
    reader = process(reading, folder)
    writers = [process(writing, folder) for _ in range(2)]
    assert [writer.communicate(timeout=PATIENCE)[1] for writer in writers] == ["", ""]
    (folder / "stop").touch()
    good, complaints = reader.communicate(timeout=PATIENCE)
    assert complaints == "" and int(good) > 10
    assert same(Store(folder).get(ID), record)
    assert sorted(path.name for path in folder.iterdir()) == [f"{ID}.gsr", "stop", "used"]


@pytest.mark.slow
@LINUX
def test_writers_killed_in_mid_write_leave_a_valid_store(process, kill_in_mid_write, tmp_path, records):
    """Each writer is killed when its temporary file is seen; a capture of some megabytes gives time for that."""
    large = records(tokens=20_000, layers=8, experts=32, k=4)
    (tmp_path / "large.parquet").write_bytes(encode(large))
    lines = """
store = Store(folder)
for n in range(10_000):
    store.put("a" * 12 + "".join("abcdefghij"[int(digit)] for digit in f"{n:04}"), record)
"""
    folder, before = tmp_path / "captures", set()

    def writes(captures):
        return set(folder.glob(".*.tmp")) - before and len(Store(folder).ids()) >= captures

    for turn in range(6):
        writer = process(lines, folder, saved=tmp_path / "large.parquet")
        kill_in_mid_write(writer, partial(writes, turn))
        assert writer.communicate(timeout=PATIENCE) == ("", "")
        assert writes(turn), "the kill fell into no write: the test proved nothing"
        before |= set(folder.glob(".*.tmp"))
        store = Store(folder)
        assert all(store.get(id).ids_tlk.tobytes() == large.ids_tlk.tobytes() for id, *_ in store.ids()[:3])
    assert not (folder / "damaged").exists()
