"""Who works on a folder: one at a time, seen by other processes, and never taken for dead while it lives."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from socket import gethostname

import pytest

from gatescope.cache import lease as leases
from gatescope.cache.lease import STALE_SECONDS, Lease, current, holders
from gatescope.routing.errors import InUseError

ROOT = Path(__file__).parents[2]
PATIENCE = 120
TAKE = """
import sys, time
from pathlib import Path
from gatescope.cache.lease import Lease
lease = Lease.take(Path(sys.argv[1]), "a test", called="rivers")
print("taken", flush=True)
if sys.argv[2] == "stay":
    time.sleep(600)
import os
os._exit(1)
"""


def other_process(folder: Path, how: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", TAKE, str(folder), how], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def written(folder: Path, *, number: int = 1, name: str = "whole", age: float = 0.0, **said) -> Path:
    """A lease as a holder elsewhere would have written it, so many seconds ago."""
    path = folder / f"lease.{name}.{number:06}.json"
    holder = {"host": "gpu7", "place": "gpu7 boot", "pid": os.getpid(), "started": "1", "token": "t", "what": "capture"}
    path.write_text(json.dumps(holder | {"since": 0.0, "is_over": False, "progress": {}} | said))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def _quick(monkeypatch):
    """Beats that follow each other at once."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)


def until(is_so) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_living_process_holds_is_refused_with_its_name_and_free_once_it_is_killed(tmp_path):
    process = other_process(tmp_path, "stay")
    assert process.stdout.readline() == "taken\n"
    try:
        holder = current(tmp_path)
        assert (holder.pid, holder.host, holder.what) == (process.pid, gethostname(), "a test")
        with pytest.raises(InUseError, match=f"rivers is in use: process {process.pid} on {gethostname()}"):
            Lease.take(tmp_path, "another", called="rivers")
    finally:
        process.kill()
        process.communicate()
    assert current(tmp_path) is None  # at once, however fresh its file is
    with Lease.take(tmp_path, "another") as mine:
        assert (mine.number, current(tmp_path).pid) == (2, os.getpid())
    assert [path.name for path in tmp_path.glob("lease.*")] == ["lease.whole.000002.json"]


def test_a_process_that_ended_without_a_word_holds_nothing(tmp_path):
    process = other_process(tmp_path, "die")
    process.communicate(timeout=PATIENCE)
    assert current(tmp_path) is None
    Lease.take(tmp_path, "another").release()


def test_a_process_of_the_same_id_that_began_at_another_time_is_another_one(tmp_path):
    with Lease.take(tmp_path, "first") as mine:
        said = json.loads(mine._path.read_text())
        assert current(tmp_path) is not None
        mine._path.write_text(json.dumps(said | {"started": str(int(said["started"]) - 1)}))
        assert current(tmp_path) is None


def test_another_machine_holds_it_as_long_as_it_beats(tmp_path):
    written(tmp_path, age=STALE_SECONDS - 10)
    assert current(tmp_path).host == "gpu7"
    with pytest.raises(InUseError, match="on gpu7"):
        Lease.take(tmp_path, "here")
    written(tmp_path, age=STALE_SECONDS + 1)
    assert current(tmp_path) is None
    with Lease.take(tmp_path, "here") as mine:
        assert mine.number == 2


def test_the_age_of_a_beat_is_told_by_the_clock_of_the_disk(tmp_path, monkeypatch):
    written(tmp_path, age=0)
    monkeypatch.setattr(leases, "_offsets", {})
    clock = time.time
    monkeypatch.setattr(leases.time, "time", lambda: clock() + 3600)  # this machine's clock is an hour ahead
    assert current(tmp_path) is not None


def test_a_file_that_cannot_be_read_is_being_written_until_it_is_old(tmp_path):
    path = written(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(InUseError, match="an unknown machine"):
        Lease.take(tmp_path, "here")
    os.utime(path, (time.time() - STALE_SECONDS - 1,) * 2)
    Lease.take(tmp_path, "here").release()


@pytest.mark.usefixtures("_quick")
def test_a_holder_says_how_far_it_is(tmp_path):
    done = {"documents": 3}
    with Lease.take(tmp_path, "counting", progress=lambda: done):
        until(lambda: current(tmp_path).progress == {"documents": 3})
        done["documents"] = 4
        until(lambda: current(tmp_path).progress == {"documents": 4})


@pytest.mark.usefixtures("_quick")
def test_a_holder_that_was_taken_for_dead_is_told(tmp_path):
    mine = Lease.take(tmp_path, "slow")
    mine.check()
    written(tmp_path, number=2)
    until(lambda: not (tmp_path / "lease.whole.000001.json").exists())
    with pytest.raises(InUseError, match="on gpu7"):
        mine.check()
    mine.release()
    assert current(tmp_path).host == "gpu7"  # what the other holds is left alone


def test_shares_are_held_beside_each_other_and_never_beside_the_whole(tmp_path):
    with Lease.take(tmp_path, "one", name="1of2"), Lease.take(tmp_path, "two", name="2of2"):
        assert {holder.what for holder in holders(tmp_path)} == {"one", "two"}
        for name in ("1of2", "whole"):
            with pytest.raises(InUseError):
                Lease.take(tmp_path, "third", name=name)
    with Lease.take(tmp_path, "all"), pytest.raises(InUseError, match="all"):
        Lease.take(tmp_path, "third", name="1of2")


def test_of_many_who_want_it_at_once_one_has_it_at_a_time(tmp_path):
    inside, most, took = [], [], []

    def work() -> None:
        while len(took) < 12:
            try:
                held = Lease.take(tmp_path, "work")
            except InUseError:
                continue
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            took.append(held.number)
            held.release()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert set(most) == {1} and len(took) >= 12
    assert took == sorted(set(took))
