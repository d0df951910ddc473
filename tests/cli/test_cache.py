"""`gatescope cache`: what it lists, verifies, cleans, removes and exports, against a store of known captures."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gatescope.cache.block import Block
from gatescope.cache.schema import encode
from gatescope.cache.store import Store
from gatescope.cache.study import StudyFolder
from gatescope.cli.main import app
from gatescope.routing import Document

A, B, C = "a" * 16, "b" * 16, "c" * 16
HOUR = 3600


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    return Store(tmp_path / "captures")


@pytest.fixture
def named(make_record):
    """A maker of captures of a text of its own."""

    def make(text):
        return dataclasses.replace(make_record(), documents=(Document(text),))

    return make


def run(*arguments: object):
    return CliRunner().invoke(app, ["cache", *map(str, arguments)])


def age(store, id, seconds):
    now = time.time()
    os.utime(store.path(id), (now - seconds, now - seconds))


def damage(store, id):
    data = bytearray(store.path(id).read_bytes())
    data[-9] ^= 1
    store.path(id).write_bytes(data)


def kept(store):
    return sorted(entry.id for entry in store.ids())


def test_the_list_has_the_capture_used_last_first(store, named):
    for id, text, hours in ((A, "one", 5), (B, "two", 3), (C, "three", 1)):
        store.put(id, named(text))
        age(store, id, hours * HOUR)
    store.get(B)
    done = run("ls")
    assert done.exit_code == 0, done.output
    assert [line[:16] for line in done.stdout.splitlines()[1:4]] == [B, C, A]
    assert "small  two" in done.stdout.splitlines()[1]
    assert done.stdout.splitlines()[4].startswith("3 captures, ")


def test_the_list_as_json_says_everything_of_each(store, named):
    store.put(A, named("  first\n words "))
    age(store, A, HOUR)
    (row,) = json.loads(run("ls", "--json").stdout)
    assert (row["id"], row["size_bytes"]) == (A, store.path(A).stat().st_size)
    assert (row["model"], row["tokens"], row["documents"]) == ("small", 3, 1)
    assert (row["text"], row["problem"]) == ("first words", "")
    assert row["written"] == row["used"] == store.ids()[0].written.isoformat()


def test_looking_is_no_use_and_makes_no_folder(store, named, tmp_path):
    store.put(A, named("one"))
    age(store, A, HOUR)
    before = store.ids()
    assert run("ls").exit_code == run("verify").exit_code == run("gc", "--dry-run").exit_code == 0
    assert store.ids() == before
    for command in (["ls"], ["verify"], ["gc"], ["rm", A], ["export", A, tmp_path / "out.csv"]):
        done = run(*command, "--dir", tmp_path / "nowhere")
        assert done.exit_code == 1 and "no folder" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_text_cannot_command_the_terminal(store, named):
    store.put(A, named("\x1b[31mred\x07 [bold]text[/bold] " + "x" * 200))
    line = run("ls").stdout.splitlines()[1]
    assert "\x1b" not in line and "\x07" not in line
    assert "[bold]text[/bold]" in line and line.endswith("…")


def test_a_damaged_capture_is_listed_as_such(store, named):
    store.put(A, named("one"))
    store.path(A).write_bytes(b"GSROUTE\ntorn")
    done = run("ls")
    assert done.exit_code == 0 and "unreadable" in done.stdout.splitlines()[1]


def test_intact_captures_pass(store, named):
    store.put(A, named("one"))
    store.put(B, named("two"))
    done = run("verify")
    assert (done.exit_code, done.stdout) == (0, "2 checked, 0 not intact\n")


def test_damaged_captures_are_named_and_set_aside(store, named):
    for id in (A, B):
        store.put(id, named("one"))
    damage(store, B)
    done = run("verify")
    assert done.exit_code == 1
    first, last = done.stdout.splitlines()
    assert B in first and "checksum does not match" in first and "set aside" in first
    assert last == "2 checked, 1 not intact"
    assert kept(store) == [A]
    assert run("verify").exit_code == 0


def test_a_capture_of_a_newer_version_is_not_intact_here_and_left_alone(store, named, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr("gatescope.cache.schema.PLAIN_VERSION", 99)
        store.put(A, named("one"))
    done = run("verify")
    assert done.exit_code == 1 and "schema version 99" in done.stdout
    assert kept(store) == [A]


def test_one_file_is_verified_and_left_where_it_is(tmp_path, named):
    path = tmp_path / "00000000.routes"
    path.write_bytes(encode(named("one")))
    assert run("verify", path).exit_code == 0
    place = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[place.data_page_offset + place.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    done = run("verify", path)
    assert done.exit_code == 1 and str(path) in done.stdout
    assert path.exists()


def test_a_study_is_verified_block_by_block(tmp_path, make_record):
    study = StudyFolder.create(tmp_path / "study", {"model": "small"})
    record = make_record()
    for number in range(3):
        block = Block(number=number, documents=1, tokens=record.tokens, digest=f"{number}")
        study.write(block, {"routes": encode(record)})
    study.end(3)
    assert run("verify", tmp_path / "study").stdout == "3 checked, 0 not intact\n"
    path = study.blocks_folder / "00000001.routes"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    done = run("verify", tmp_path / "study")
    assert done.exit_code == 1
    assert "block 1" in done.stdout and "3 checked, 1 not intact" in done.stdout


def test_a_part_that_was_written_wrong_is_found_too(tmp_path):
    """Its checksum is right: only decoding tells."""
    study = StudyFolder.create(tmp_path / "study", {"model": "small"})
    study.write(Block(number=0, documents=1, tokens=3, digest="0"), {"routes": b"not Parquet"})
    done = run("verify", tmp_path / "study")
    assert done.exit_code == 1 and "do not decode" in done.stdout


def test_a_path_with_nothing_at_it_is_named(tmp_path):
    done = run("verify", tmp_path / "none")
    assert done.exit_code == 2 and "nothing at" in done.stderr


def littered(store, named):
    """Three captures, a dead writer's file, something damaged long ago and something damaged just now."""
    for id, hours in ((A, 5), (B, 3), (C, 1)):
        store.put(id, named("one"))
        age(store, id, hours * HOUR)
    old = time.time() - 30 * HOUR
    (store.folder / "damaged").mkdir()
    paths = [store.folder / f".{A}.x.tmp", store.folder / "damaged" / f"{A}.{int(old * 1e9)}.gsr"]
    for path in paths:
        path.write_bytes(b"x" * 10)
        os.utime(path, (old, old))
    (store.folder / "damaged" / f"{B}.{time.time_ns()}.gsr").write_bytes(b"x")
    (store.folder / ".notes.tmp").write_bytes(b"somebody else's")
    os.utime(store.folder / ".notes.tmp", (old, old))
    return paths


def test_a_cleaning_takes_leftovers_and_old_damage_alone(store, named):
    gone = littered(store, named)
    before = sorted(store.folder.rglob("*"))
    dry = run("gc", "--dry-run")
    assert "2 files would be removed, 20 B" in dry.stdout
    assert sorted(store.folder.rglob("*")) == before
    done = run("gc")
    assert done.exit_code == 0, done.output
    assert "2 files removed, 20 B" in done.stdout
    assert done.stdout.splitlines()[:-1] == dry.stdout.splitlines()[:-1]
    assert sorted(store.folder.rglob("*")) == [path for path in before if path not in gone]


def test_a_cleaning_goes_down_to_a_quota(store, named):
    littered(store, named)
    size = store.ids()[0].size_bytes
    dry = run("gc", "--quota-bytes", 2 * size, "--dry-run")
    assert f"{A}.gsr" in dry.stdout and f"{B}.gsr" not in dry.stdout
    assert kept(store) == [A, B, C]
    done = run("gc", "--quota-bytes", 2 * size)
    assert "used longest ago" in done.stdout
    assert kept(store) == [B, C]


def test_a_cleaning_says_what_it_had_to_leave(store, named):
    store.put(A, named("one"))
    done = run("gc", "--quota-bytes", 0)
    assert done.exit_code == 0
    assert "too much stay: used in the last 10 minutes" in done.stdout
    assert kept(store) == [A]


def test_captures_are_removed_by_their_ids(store, named):
    for id in (A, B, C):
        store.put(id, named("one"))
    assert run("rm", A, C, A).exit_code == 0
    assert kept(store) == [B]


@pytest.mark.parametrize("wrong", [B, "aaaa", "../captures", "a" * 15 + "*"])
def test_an_unknown_id_removes_nothing(store, named, wrong):
    store.put(A, named("one"))
    done = run("rm", A, wrong)
    assert done.exit_code == 1 and wrong in done.stderr
    assert kept(store) == [A]


def test_a_stored_capture_and_a_file_give_the_same_table(store, named, tmp_path):
    record = named("one")
    store.put(A, record)
    (tmp_path / "shard").write_bytes(encode(record))
    assert run("export", A, tmp_path / "stored.parquet").exit_code == 0
    assert run("export", tmp_path / "shard", tmp_path / "shard.parquet").exit_code == 0
    stored, shard = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("stored", "shard"))
    assert stored.equals(shard)
    assert stored.num_rows == record.tokens * 2 * 2
    assert stored.column("expert").to_pylist() == record.ids_tlk.ravel().tolist()


@pytest.mark.parametrize(
    ("source", "out", "code"), [(B, "out.csv", 1), ("no/such/file", "out.csv", 1), (A, "out.xlsx", 2)]
)
def test_what_cannot_be_exported_is_explained(store, named, tmp_path, source, out, code):
    store.put(A, named("one"))
    done = run("export", source, tmp_path / out)
    assert done.exit_code == code, done.output
    assert "expected" in done.stderr and "Traceback" not in done.output
    assert not (tmp_path / out).exists()


def test_help_does_not_wait_for_torch_or_arrow():
    code = "import sys\nfrom typer.testing import CliRunner\nfrom gatescope.cli.main import app\n"
    code += "assert CliRunner().invoke(app, ['cache', 'gc', '--help']).exit_code == 0\n"
    code += "assert not {'torch', 'streamlit', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
