"""What is being written is left alone; what a dead writer left is removed, at once where it is known that it died."""

import os
import subprocess
import sys
import time
from pathlib import Path
from socket import gethostname

import pytest

from gatescope.cache import temporary
from gatescope.cache.temporary import sweep, whole_file, write_whole

ROOT = Path(__file__).parents[2]
LOCKS = pytest.mark.skipif(os.name == "nt", reason="Windows has no locks of this kind")

WRITER = """
import sys, time
from pathlib import Path
from gatescope.cache import temporary
temporary.os.fsync = lambda descriptor: (print("writing", flush=True), time.sleep(600))
temporary.write_whole(Path(sys.argv[1]), b"x")
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing a file, and its temporary one."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "name")]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
        (made,) = tmp_path.iterdir()
        yield process, made
    finally:
        process.kill()
        process.communicate()


@LOCKS
def test_what_a_living_writer_is_at_stays_and_goes_as_soon_as_it_died(writer, tmp_path):
    process, made = writer
    sweep(tmp_path)
    assert made.exists()
    process.kill()
    process.wait()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_there_whole_with_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "name", b"first")
    write_whole(tmp_path / "name", memoryview(b"second"))
    write_whole(tmp_path / "name", b"third", is_first=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": b"second"}


@pytest.mark.parametrize("has_links", [True, False])
def test_who_has_a_name_first_keeps_it_where_the_disk_knows_links(tmp_path, monkeypatch, has_links):
    def refuse(*_arguments):
        raise PermissionError("no links here")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
        with pytest.raises(PermissionError):
            write_whole(tmp_path / "name", b"first", is_first=True)
        assert list(tmp_path.iterdir()) == []
    for content in (b"first", b"second"):
        write_whole(tmp_path / "name", content, is_first=True, or_last=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first" if has_links else b"second"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_what_is_written_is_its_owner_s_alone(tmp_path):
    write_whole(tmp_path / "name", b"content")
    assert (tmp_path / "name").stat().st_mode & 0o777 == 0o600


def test_a_writer_that_gives_up_half_way_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "name", b"old")
    with pytest.raises(ValueError, match="enough"), whole_file(tmp_path / "name") as stream:
        stream.write(b"half")
        raise ValueError("enough")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": b"old"}


def test_where_nothing_can_be_written_nothing_is_left(tmp_path, monkeypatch):
    def fail(_descriptor):
        raise OSError("no room")

    monkeypatch.setattr(temporary.os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        write_whole(tmp_path / "name", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".name.@elsewhere.abc.tmp", ".name.abc.tmp"])
def test_of_what_others_wrote_only_what_is_old_is_removed(tmp_path, name):
    """Their locks need not be seen here."""
    (tmp_path / name).write_bytes(b"half")
    sweep(tmp_path)
    assert (tmp_path / name).exists()
    os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert not (tmp_path / name).exists()


def test_without_locks_only_what_is_old_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(temporary, "lock", lambda _descriptor, **_options: False)
    ours = tmp_path / f".name.@{gethostname()}.abc.tmp"
    ours.write_bytes(b"half")
    sweep(tmp_path)
    assert ours.exists()
    write_whole(tmp_path / "name", b"content")
    assert (tmp_path / "name").read_bytes() == b"content"


def test_a_file_that_was_taken_for_left_behind_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    lock, taken = temporary.lock, []

    def late(descriptor, **options):
        if not taken:
            (made,) = tmp_path.iterdir()
            taken.append(made)
            made.unlink()
        return lock(descriptor, **options)

    monkeypatch.setattr(temporary, "lock", late)
    write_whole(tmp_path / "name", b"content")
    assert taken
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": b"content"}


def test_files_of_other_names_are_left_alone(tmp_path):
    for name in ("name", "name.tmp", f"name.@{gethostname()}.abc.tmp"):
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
