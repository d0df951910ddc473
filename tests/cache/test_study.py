"""A study's folder: blocks that are whole or absent, whoever dies, fills the disk or meddles meanwhile."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gatescope.cache.block import Block
from gatescope.cache.schema import encode
from gatescope.cache.study import COUNTS, RECIPE, ROUTES, SCORES, StudyFolder, is_study
from gatescope.routing.errors import CaptureDamagedError, OptionError, StoreError

ROOT = Path(__file__).parents[2]
MADE = {"model": "tiny", "corpus": "a.jsonl", "batch_tokens": 64}
PATIENCE = 240
"""Seconds after which what should have ended never will, on a machine however busy."""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: mounts, limits and signals")


@pytest.fixture
def study(tmp_path, record) -> StudyFolder:
    """Three whole blocks, each with two parts."""
    folder = StudyFolder.create(tmp_path / "study", MADE)
    for number in range(3):
        folder.write(block(number), {COUNTS: b"c" * 500, ROUTES: encode(record)})
    return folder


def block(number: int, **more) -> Block:
    return Block(number=number, documents=1, tokens=50, digest=f"d{number}", read=1, **more)


def part(study: StudyFolder, name: str) -> Path:
    return study.folder / "blocks" / name


def flip(path: Path) -> None:
    """Turn one bit over in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_read_again(tmp_path, record, same):
    made = StudyFolder.create(tmp_path / "study", MADE)
    said = block(7, left_out=(("a.jsonl: 3", "is blank"),), was_cut=(("a.jsonl: 4", "in 2 parts"),))
    written = made.write(said, {COUNTS: b"counts", ROUTES: encode(record)})
    again = StudyFolder.open(tmp_path / "study")
    assert again.finished() == {7: written} and again.troubles() == [] and list(again.verify()) == []
    assert (written.left_out, written.was_cut, written.read) == (said.left_out, said.was_cut, 1)
    assert same(again.routes(written), record) and again.part(written, COUNTS) == b"counts"
    assert {name: again.recipe()[name] for name in MADE} == MADE and is_study(tmp_path / "study")


def test_a_part_that_is_not_kept_is_refused_with_those_that_are(study):
    with pytest.raises(OptionError, match=r"without scores") as caught:
        study.routes(study.finished()[0], SCORES)
    assert caught.value.expected == "one of counts, routes"


def test_a_block_is_there_only_when_its_last_file_is(study):
    part(study, "00000001.json").unlink()
    assert list(study.finished()) == [0, 2]


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("00000001.routes", lambda path: os.truncate(path, 9), "00000001.routes has 9 of "),
        ("00000001.counts", lambda path: os.truncate(path, 0), "00000001.counts has 0 of 500 bytes"),
        ("00000001.counts", lambda path: path.write_bytes(b"c" * 501), "00000001.counts has 501 of 500 bytes"),
        ("00000001.routes", Path.unlink, "00000001.routes is gone"),
        ("00000001.json", lambda path: os.truncate(path, 20), "00000001.json cannot be read"),
        ("00000001.json", lambda path: path.write_bytes(b"\xff\xfe"), "00000001.json cannot be read"),
        ("00000001.json", lambda path: path.write_text("[]"), "00000001.json cannot be read"),
        ("00000001.json", lambda path: path.write_text('{"number": 1}'), "00000001.json cannot be read"),
    ],
)
def test_what_is_torn_is_named_not_read_and_mended_by_writing_again(study, record, name, damage, said):
    damage(part(study, name))
    assert list(study.finished()) == [0, 2]
    (trouble,) = study.troubles()
    assert said in trouble
    ((torn, found),) = study.verify()
    assert torn.number == 1 and name in found
    study.write(block(1), {COUNTS: b"c" * 500, ROUTES: encode(record)})
    assert list(study.finished()) == [0, 1, 2] and study.troubles() == [] and list(study.verify()) == []


def test_a_block_under_the_number_of_another_is_neither(study):
    shutil.copy(part(study, "00000000.json"), part(study, "00000001.json"))
    assert list(study.finished()) == [0, 2] and "00000001.json cannot be read" in study.troubles()[0]


@pytest.mark.parametrize("kind", [COUNTS, ROUTES])
def test_one_bit_is_found_where_it_is_read_set_aside_and_mended(study, record, kind):
    bad = part(study, f"00000002.{kind}")
    flip(bad)
    torn, whole = bad.read_bytes(), study.finished()[2]
    with pytest.raises(CaptureDamagedError, match=f"block 2 of .*00000002.{kind} has .* checksum") as caught:
        study.part(whole, kind)
    assert "run the capture again" in caught.value.do
    assert (study.folder / "damaged" / bad.name).read_bytes() == torn and not bad.exists()
    assert list(study.finished()) == [0, 1]
    study.write(block(2), {COUNTS: b"c" * 500, ROUTES: encode(record)})
    assert list(study.finished()) == [0, 1, 2] and list(study.verify()) == []


def test_verifying_names_every_damaged_block_and_sets_it_aside(study):
    flip(part(study, "00000000.counts"))
    part(study, "00000001.json").write_text("no JSON")
    os.truncate(part(study, "00000002.routes"), 7)
    found = {torn.number: said for torn, said in study.verify()}
    assert list(found) == [0, 1, 2] and all("set aside in" in said for said in found.values())
    assert study.finished() == {} and list(study.verify()) == []
    assert set(contents(study.folder / "damaged")) == {
        *("00000000.counts", "00000000.json", "00000001.json", "00000002.routes", "00000002.json")
    }


def test_files_of_others_are_named_and_left_alone(study):
    for name in ("notes.txt", "12.json", "1x.json", "00000009.zip"):
        part(study, name).write_text("mine")
    assert list(study.finished()) == [0, 1, 2] and list(study.verify()) == []
    named = study.troubles()
    assert len(named) == 4 and all("is no file of a study, and is left alone" in said for said in named)
    StudyFolder.create(study.folder, MADE)
    assert part(study, "notes.txt").read_text() == "mine"


def test_a_block_that_is_being_written_anew_is_not_taken_for_damaged(study, records):
    """A reader that knows the block as it was comes while its parts are new and its last file is not there yet."""
    before = study.finished()[1]
    study.write(block(1), {COUNTS: b"new", ROUTES: encode(records(seed=1))})
    with pytest.raises(StoreError, match="being written anew") as caught:
        study.part(before, ROUTES)
    assert not isinstance(caught.value, CaptureDamagedError)
    assert list(study.finished()) == [0, 1, 2] and not (study.folder / "damaged").exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (json.dumps({"version": 3, **MADE}), "is of version 3"),
        (json.dumps({"version": 2, **MADE}), "its checksum does not match"),
        ('{"version": 1, "mod', "cannot be read"),
        ("[1]", "it holds no object"),
        ("", "cannot be read"),
    ],
)
def test_a_recipe_that_is_not_understood_is_refused_and_kept(study, content, found):
    (study.folder / RECIPE).write_text(content)
    for opening in (lambda: StudyFolder.create(study.folder, MADE), lambda: StudyFolder.open(study.folder)):
        with pytest.raises(StoreError, match=found):
            opening()
    assert (study.folder / RECIPE).read_text() == content


def test_a_study_of_another_recipe_is_refused_with_every_difference(study):
    before = contents(study.folder)
    with pytest.raises(OptionError) as caught:
        StudyFolder.create(study.folder, {**MADE, "model": "other", "detail": "ids"})
    assert "model was 'tiny' and is 'other'" in caught.value.found
    assert "detail was None and is 'ids'" in caught.value.found and "batch_tokens" not in caught.value.found
    assert contents(study.folder) == before


def test_a_folder_that_holds_something_else_is_left_as_it_was(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OptionError, match=r"thesis\.tex"):
        StudyFolder.create(tmp_path, MADE)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"} and not (tmp_path / "blocks").exists()


def test_blocks_without_a_recipe_are_refused(study):
    (study.folder / RECIPE).unlink()
    with pytest.raises(OptionError, match="and holds blocks"):
        StudyFolder.create(study.folder, MADE)
    with pytest.raises(OptionError, match="no study"):
        StudyFolder.open(study.folder)


def test_a_path_below_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        StudyFolder.create(tmp_path / "file" / "study", MADE)


def test_what_old_writers_left_is_swept_where_a_study_is_gone_on_with(study):
    old, new = part(study, ".00000005.counts.abc.tmp"), part(study, ".00000006.counts.abc.tmp")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    StudyFolder.create(study.folder, MADE)
    assert not old.exists() and new.exists()
    assert list(study.finished()) == [0, 1, 2] and study.troubles() == []


def test_one_block_is_found_where_it_is_whole(study):
    assert study.block(1) == study.finished()[1] and study.block(3) is None
    os.truncate(part(study, "00000001.counts"), 9)
    assert study.block(1) is None


def run(lines: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
    """Python on a few lines that know `StudyFolder`, `Block`, `folder` and whatever else is passed as `given`."""
    head = "import sys\nfrom pathlib import Path\n"
    head += "from gatescope.cache.block import Block\nfrom gatescope.cache.study import StudyFolder\n"
    head += "from gatescope.routing.errors import *\nfolder, given = Path(sys.argv[1]), sys.argv[2:]\n"
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", head + lines, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


BEGIN = """
import time
for n in range(40):
    while time.time() < float(given[1]) + n * 0.02:
        pass
    try:
        StudyFolder.create(folder / str(n), {"who": given[0]})
        print(n)
    except OptionError as error:
        assert "who was" in error.found
"""


@pytest.mark.slow
def test_of_two_that_begin_a_study_at_once_one_begins_it(tmp_path):
    start = time.time() + 2
    both = {who: run(BEGIN, tmp_path, who, start) for who in ("one", "other")}
    won = {}
    for who, process in both.items():
        out, err = process.communicate(timeout=PATIENCE)
        assert err == ""
        won[who] = {int(line) for line in out.split()}
    assert won["one"] | won["other"] == set(range(40)) and not won["one"] & won["other"]
    for who, numbers in won.items():
        assert {StudyFolder.open(tmp_path / str(n)).recipe()["who"] for n in numbers} <= {who}


WRITE = """
study = StudyFolder.create(folder, {})
for number in range(10_000):
    study.write(Block(number=number, documents=1, tokens=1, digest=""), {"counts": bytes(3_000_000), "routes": b"r"})
"""


@LINUX
def test_a_writer_killed_in_mid_write_leaves_whole_blocks_and_what_a_study_that_goes_on_sweeps(
    tmp_path, kill_in_mid_write
):
    folder, before = tmp_path / "study", set()

    def writes():
        return set(folder.glob("blocks/.*.counts.*.tmp")) - before

    for _ in range(6):
        writer = run(WRITE, folder)
        kill_in_mid_write(writer, writes)
        assert writer.communicate(timeout=PATIENCE) == ("", "")
        assert writes(), "the kill fell into no write: the test proved nothing"
        before |= writes()
        assert list(StudyFolder.open(folder).verify()) == [] and StudyFolder.open(folder).troubles() == []
    StudyFolder.create(folder, {})
    assert not list(folder.rglob(".*.tmp"))


FILL = """
study = StudyFolder.create(folder, {})
def fill():
    for number in range(len(study.finished()), 100):
        block = Block(number=number, documents=1, tokens=1, digest="")
        study.write(block, {"counts": bytes(9_000), "routes": bytes(30_000)})
try:
    fill()
except StorageFullError as error:
    print(error.found, "|", error.do)
assert [block for block, _ in study.verify()] == [] and study.troubles() == []
kept = len(study.finished())
assert not list(folder.rglob(".*.tmp"))
if "room" in given:
    (folder.parent / "ballast").unlink()
    study = StudyFolder.create(folder, {})
    fill()
    assert list(study.verify()) == []
print(kept, len(study.finished()))
"""


def disk(folder: Path, options: str, then: str = "true") -> tuple[str, ...]:
    """A prefix that runs a command with a disk of its own mounted on a folder, seen by no other process."""
    folder.mkdir()
    script = f'mount -t tmpfs -o {options} tmpfs "{folder}" && {then} && exec "$0" "$@"'
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script)


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True).returncode == 0


MOUNTS = pytest.mark.skipif(
    not _may_mount(), reason="needs leave to mount in a user namespace (unshare --user --mount)"
)


@LINUX
@MOUNTS
def test_a_full_disk_is_said_leaves_whole_blocks_and_is_gone_on_with_when_there_is_room(tmp_path):
    small = disk(tmp_path / "disk", "size=6m", f'head -c 5m /dev/zero > "{tmp_path}/disk/ballast"')
    out, err = run(FILL, tmp_path / "disk" / "study", "room", prefix=small).communicate(timeout=PATIENCE)
    assert err == ""
    said, counts = out.splitlines()
    assert "No space left on device" in said and "run the same command again" in said, err
    kept, whole = map(int, counts.split())
    assert 3 <= kept < 100 and whole == 100


@LINUX
def test_a_file_over_the_size_limit_of_the_process_leaves_nothing(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    out, err = run(limit + FILL, tmp_path / "study").communicate(timeout=PATIENCE)
    assert "File too large" in out and out.endswith("\n0 0\n"), err


@LINUX
@MOUNTS
def test_a_read_only_folder_is_named_and_can_be_read(study):
    lines = """
try:
    study = StudyFolder.open(folder)
    print(len(study.finished()), len(study.part(study.finished()[0], "counts")))
    study.write(Block(number=9, documents=1, tokens=1, digest=""), {"counts": b""})
except StoreError as error:
    print(type(error).__name__, error)
"""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(study.folder))
    out, err = run(lines, study.folder, prefix=prefix).communicate(timeout=PATIENCE)
    read, refused = out.splitlines()[0], out.splitlines()[1]
    assert read == "3 500", err
    assert refused.startswith("StoreError") and "Read-only file system" in refused and str(study.folder) in refused
    assert list(study.finished()) == [0, 1, 2]
