"""A workspace on disk: its version, what this user may do with it, and what stands in it from elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gatescope.cache.checksum import with_checksum
from gatescope.cache.store import Store
from gatescope.cache.workspace import (
    ABOUT,
    Reference,
    begin_workspace,
    check_workspace,
    kind_of,
    read_reference,
    routes_in,
    seal_of,
    trouble_of,
    write_reference,
)
from gatescope.routing.errors import StoreError
from tests.cache.test_study import LINUX, MOUNTS, disk
from tests.small_studies import captured

ROOT = Path(__file__).parents[2]
ID = "referenceaaaaaaa"


def test_a_workspace_is_begun_once_and_an_old_folder_becomes_one_as_it_is(tmp_path):
    (tmp_path / "old" / "studies" / "studyaaaaaaaaaaa").mkdir(parents=True)
    begin_workspace(tmp_path / "old")
    begin_workspace(tmp_path / "old")
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == ["studies", ABOUT]
    assert (tmp_path / "old" / "studies" / "studyaaaaaaaaaaa").is_dir()
    check_workspace(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_newer_workspace_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / ABOUT).write_text(json.dumps(with_checksum({"version": 2})))
    before = (tmp_path / ABOUT).read_bytes()
    for use in (check_workspace, begin_workspace):
        with pytest.raises(StoreError, match="is of version 2") as refused:
            use(tmp_path)
        assert (refused.value.expected, "GATESCOPE_WORKSPACE" in refused.value.do) == ("version 1, or older", True)
    assert (tmp_path / ABOUT).read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"version": true}', b"\xff"])
def test_a_version_that_cannot_be_read_is_not_taken_for_ours(tmp_path, content):
    (tmp_path / ABOUT).write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot be read|is of version True"):
        check_workspace(tmp_path)


READ_ONLY = """
import sys
from pathlib import Path
from gatescope.cache.workspace import begin_workspace
from gatescope.routing.errors import GatescopeError
try:
    begin_workspace(Path(sys.argv[1]))
except GatescopeError as error:
    print(type(error).__name__, error.found, "|", error.expected, "|", error.do)
"""


@LINUX
@MOUNTS
@pytest.mark.parametrize(("options", "said"), [("ro", "Read-only file system"), ("size=4k,nr_inodes=2", "are free on")])
def test_a_workspace_that_is_read_only_or_full_is_said_with_what_to_do(tmp_path, options, said):
    ran = subprocess.run(
        [*disk(tmp_path / "disk", options), sys.executable, "-c", READ_ONLY, str(tmp_path / "disk")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found, expected, do = ran.stdout.split(" | ")
    assert said in found and str(tmp_path / "disk") in found, ran.stderr
    assert expected and do


def test_what_lies_at_a_path_is_told(tmp_path, make_record):
    study = captured(tmp_path / "library" / "capture", make_record).folder
    Store(tmp_path / "store").put("captureaaaaaaaaa", make_record(["a"]))
    begin_workspace(tmp_path / "workspace")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "SHA256SUMS").touch()
    (tmp_path / "empty").mkdir()
    paths = "library", "library/capture", "store/captureaaaaaaaaa.gsr", "workspace", "results", "empty", "nothing"
    kinds = "study", "study", "capture", "workspace", "analysis", None, None
    assert tuple(kind_of(tmp_path / path) for path in paths) == kinds
    assert routes_in(tmp_path / "library") == routes_in(study) == study


def test_a_reference_says_when_its_files_moved_or_changed(tmp_path, make_record):
    study = captured(tmp_path / "routes", make_record, blocks=2).folder
    folder = tmp_path / ID
    write_reference(folder, Reference(kind="study", path=str(study), seal=seal_of("study", study)))
    reference = read_reference(folder)
    assert trouble_of(folder, reference) == ""
    (study / "end.json").unlink()
    assert trouble_of(folder, reference) == ""  # it may go on being captured
    study.rename(tmp_path / "moved")
    assert "nothing is there any more" in trouble_of(folder, reference)
    captured(tmp_path / "routes", make_record, blocks=1)
    assert trouble_of(folder, reference) == ""  # the same recipe: the same study, captured again
    recipe = json.loads((tmp_path / "routes" / "capture.json").read_text())
    (tmp_path / "routes" / "capture.json").write_text(json.dumps(with_checksum(recipe | {"model": "other"})))
    assert "has changed" in trouble_of(folder, reference)
    (tmp_path / "routes" / "capture.json").write_text("torn")
    assert "cannot be read now" in trouble_of(folder, reference)


def test_a_capture_that_was_replaced_is_another_one(tmp_path, make_record):
    store = Store(tmp_path)
    store.put("captureaaaaaaaaa", make_record(["a", "b"]))
    path = store.path("captureaaaaaaaaa")
    reference = Reference(kind="capture", path=str(path), seal=seal_of("capture", path))
    assert trouble_of(tmp_path, reference) == ""
    store.remove("captureaaaaaaaaa")
    assert "nothing is there any more" in trouble_of(tmp_path, reference)
    store.put("captureaaaaaaaaa", make_record(["a", "c"]))
    assert "has changed" in trouble_of(tmp_path, reference)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"kind": "study", "path": "/"}', b"\xff", b"[" * 9999])
def test_a_reference_that_cannot_be_read_is_not_followed(tmp_path, content):
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "reference.json").write_bytes(content)
    with pytest.raises(StoreError, match="delete it in the Library"):
        read_reference(tmp_path / ID)


def test_a_reference_of_another_entry_is_none_of_this(tmp_path):
    write_reference(tmp_path / ID, Reference(kind="study", path="/data"))
    (tmp_path / ID).rename(tmp_path / "otheraaaaaaaaaaa")
    with pytest.raises(StoreError, match="checksum"):
        read_reference(tmp_path / "otheraaaaaaaaaaa")
