"""What comes into a workspace from elsewhere and goes out of it: opened, packed and unpacked, as the Library has it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gatescope.cache import archive
from gatescope.cache.archive import contents_of, write_archive
from gatescope.cache.lease import Lease
from gatescope.cache.store import Store
from gatescope.cache.workspace import STUDIES, Reference, write_reference
from gatescope.routing.errors import (
    CaptureDamagedError,
    CaptureNotFoundError,
    InUseError,
    OptionError,
    StoreError,
    TraceError,
)
from gatescope.server.entering import open_path, pack, unpack_archive
from gatescope.server.library import Library
from gatescope.server.places import find_named
from gatescope.server.presence import Presence, address_of, servers
from gatescope.server.server import Server
from gatescope.server.settings import load_settings
from gatescope.studies.manifest import StudyManifest, read_manifest, write_manifest
from tests.cache.test_study import LINUX, MOUNTS, disk
from tests.small_studies import analyze, captured

CAPTURE = "captureaaaaaaaaa"


@pytest.fixture
def served(tmp_path):
    """Makes a server on a workspace of that name."""
    made = []

    def serve(name: str = "mine") -> Server:
        made.append(Server(load_settings(workspace=tmp_path / name, cache_dir=tmp_path / "cache")))
        return made[-1]

    yield serve
    for each in made:
        each.close()


def listed(server: Server) -> dict[str, object]:
    return {entry.name: entry for entry in Library(server).entries("", ()) if entry.kind != "shipped"}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def packed(workspace: Path, what: str, out: Path) -> Path:
    contents, find = pack(workspace, what)
    write_archive(out, contents, find)
    return out


def test_a_study_elsewhere_is_opened_where_it_lies_and_deleting_it_here_leaves_it_there(served, tmp_path, make_record):
    study = captured(tmp_path / "routes", make_record)
    server, before = served(), tree(study.folder)
    id = open_path(server.settings.workspace, study.folder, name="rivers")
    assert open_path(server.settings.workspace, study.folder) == id
    entry = listed(server)["rivers"]
    assert (entry.kind, entry.tokens, entry.documents, entry.where) == ("study", 13, 6, str(study.folder))
    assert (entry.is_analysed, entry.problem, entry.lacks) == (False, "", "")
    source = server.find_source(id)
    assert (source.name, source.record.tokens) == ("rivers", 13)
    Library(server).rename(entry, "", name="Rivers", tags="water", notes="see run 7")
    entry = listed(server)["Rivers"]
    assert (entry.tags, entry.notes) == (("water",), "see run 7")
    assert tree(study.folder) == before
    Library(server).remove(entry)
    assert listed(server) == {} and tree(study.folder) == before
    with pytest.raises(CaptureNotFoundError):
        server.find_source(id)


def test_what_moved_is_said_in_the_list_and_when_it_is_looked_at(served, tmp_path, make_record):
    study, server = captured(tmp_path / "routes", make_record), served()
    id = open_path(server.settings.workspace, study.folder)
    assert server.find_source(id).record.tokens == 13
    study.folder.rename(tmp_path / "moved")
    assert "nothing is there any more" in listed(server)["routes"].problem
    with pytest.raises(StoreError, match="nothing is there any more"):
        server.find_source(id)


def test_results_are_opened_with_the_routes_they_are_of(served, tmp_path, make_record):
    study, server = captured(tmp_path / "routes", make_record), served()
    assert analyze(study, tmp_path / "results").exit_code == 0
    id = open_path(server.settings.workspace, tmp_path / "results")
    alone = listed(server)["results"]
    assert alone.is_analysed and f"gatescope open {tmp_path / 'results'} --routes" in alone.problem
    assert b"<html" in Library(server).report(id)
    assert open_path(server.settings.workspace, tmp_path / "results", routes=study.folder) == id
    assert listed(server)["results"].problem == ""
    assert server.find_source(id).analysis == tmp_path / "results"
    with pytest.raises(OptionError, match="as the routes of"):
        open_path(server.settings.workspace, study.folder, routes=study.folder)


def test_a_capture_under_whatever_name_is_opened(served, tmp_path, make_record):
    store, server = Store(tmp_path / "store"), served()
    store.put(CAPTURE, make_record(["a", "b", "c"]))
    renamed = tmp_path / "renamed.gsr"
    shutil.copy(store.path(CAPTURE), renamed)
    for path in (store.path(CAPTURE), renamed):
        id = open_path(server.settings.workspace, path)
        assert np.array_equal(server.find_source(id).record.ids_tlk, store.get(CAPTURE).ids_tlk)
    assert set(listed(server)) == {CAPTURE, "renamed"}
    damaged = bytearray(renamed.read_bytes())
    damaged[60] ^= 1
    renamed.write_bytes(damaged)
    with pytest.raises(StoreError):  # its first pages do not match their checksums
        server.find_source(id)


def test_nothing_and_what_is_unknown_cannot_be_opened(served, tmp_path):
    workspace = served().settings.workspace
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "none", "nothing is at"), (tmp_path / "empty", "holds nothing that is known")):
        with pytest.raises(OptionError, match=said) as refused:
            open_path(workspace, path)
        assert "a folder of a study or of results" in refused.value.expected
    with pytest.raises(OptionError, match="is this workspace"):
        open_path(workspace, workspace)
    (tmp_path / "text.gsr").write_text("no capture")
    with pytest.raises(StoreError, match="cannot be read as a capture"):
        open_path(workspace, tmp_path / "text.gsr")


def test_what_may_not_be_looked_at_is_said_and_leaves_the_list_as_it_is(served, make_record):
    server = served()
    server.capture_cache.store.put(CAPTURE, make_record(["a"]))
    unreadable = Path("/") / ("x" * 300)  # a name that no system lets anybody look for
    with pytest.raises(StoreError, match="cannot be read: File name too long"):
        open_path(server.settings.workspace, unreadable)
    for id, kind in (("referenceaaaaaaa", "study"), ("referencebbbbbbb", "workspace")):
        write_reference(server.studies_folder / id, Reference(kind=kind, path=str(unreadable)))
    entries = listed(server)
    assert set(entries) == {"a", "referenceaaaaaaa", "referencebbbbbbb"}
    assert all("cannot be read now" in entries[id].problem for id in entries if id.startswith("reference"))


def test_another_workspace_is_shown_as_it_goes_on_and_never_written(served, make_record):
    theirs, mine = served("theirs"), served()
    theirs.capture_cache.store.put(CAPTURE, make_record(["a", "b"]))
    place = theirs.settings.workspace
    open_path(mine.settings.workspace, place)
    captured(place / STUDIES / "studyaaaaaaaaaaa" / "capture", make_record)
    before = tree(place)
    assert set(listed(mine)) == {"workspace theirs", "ab", "studyaaaaaaaaaaa"}
    for id, tokens in ((CAPTURE, 2), ("studyaaaaaaaaaaa", 13)):
        entry = Library(mine).entry_of(id, "", ())
        assert (entry.is_own, entry.where.startswith(str(place))) == (False, True)
        assert mine.find_source(id).record.tokens == tokens
        Library(mine).rename(entry, "", name=f"my {id}", tags="")
        with pytest.raises(OptionError, match="somebody else's"):
            Library(mine).remove(Library(mine).entry_of(id, "", ()))
    assert tree(place) == before
    assert f"my {CAPTURE}" in listed(mine) and f"my {CAPTURE}" not in listed(theirs)
    Library(mine).remove(listed(mine)["workspace theirs"])
    assert listed(mine) == {} and tree(place) == before


def test_an_archive_takes_a_study_with_its_results_and_what_is_said_of_it_elsewhere(served, tmp_path, make_record):
    server, other = served(), served("other")
    folder = server.studies_folder / "studyaaaaaaaaaaa"
    study = captured(folder / "capture", make_record)
    assert analyze(study, folder / "analysis").exit_code == 0
    id = open_path(server.settings.workspace, folder)
    assert id == folder.name  # what lies in the workspace needs no reference
    out = packed(server.settings.workspace, id, tmp_path / "one.tar")
    taken = unpack_archive(other.settings.workspace, out, contents_of(out), name="rivers")
    assert taken.is_new and not unpack_archive(other.settings.workspace, out, contents_of(out)).is_new
    there = other.studies_folder / taken.id
    assert tree(there / "capture") == tree(folder / "capture")
    assert tree(there / "analysis") == tree(folder / "analysis")
    entry = listed(other)["rivers"]
    assert (entry.tokens, entry.is_analysed, entry.where, entry.problem) == (13, True, "", "")
    assert np.array_equal(other.find_source(taken.id).record.ids_tlk, server.find_source(id).record.ids_tlk)
    again, _ = pack(other.settings.workspace, "rivers")
    assert again.files == contents_of(out).files


def test_an_archive_of_a_capture_is_a_capture_elsewhere(served, tmp_path, make_record):
    server, other = served(), served("other")
    server.capture_cache.store.put(CAPTURE, make_record(["a", "b"]))
    out = packed(server.settings.workspace, CAPTURE, tmp_path / "one.tar")
    id = unpack_archive(other.settings.workspace, out, contents_of(out)).id
    assert other.find_source(id).record.tokens == 2
    assert (listed(other)[CAPTURE].kind, listed(other)[CAPTURE].problem) == ("text", "")


def test_an_import_is_seen_when_it_is_whole_and_goes_on_where_it_was(served, tmp_path, make_record, monkeypatch):
    server, other = served(), served("other")
    captured(server.studies_folder / "studyaaaaaaaaaaa" / "capture", make_record)
    out = packed(server.settings.workspace, "studyaaaaaaaaaaa", tmp_path / "one.tar")
    torn = tmp_path / "torn.tar"
    torn.write_bytes(out.read_bytes()[:-6000])
    with pytest.raises(TraceError, match="run the same command"):
        unpack_archive(other.settings.workspace, torn, contents_of(torn))
    assert listed(other) == {}
    written = []
    took = archive._take
    monkeypatch.setattr(archive, "_take", lambda *given: written.append(given[1].name) or took(*given))
    unpack_archive(other.settings.workspace, out, contents_of(out))
    assert 0 < len(written) < len(contents_of(out).files)
    assert listed(other)["studyaaaaaaaaaaa"].tokens == 13


def test_a_study_at_work_and_one_that_is_torn_are_not_packed(served, make_record):
    server = served()
    folder = server.studies_folder / "studyaaaaaaaaaaa"
    study = captured(folder / "capture", make_record)
    with Lease.take(folder, "gatescope capture"), pytest.raises(InUseError, match="gatescope capture"):
        pack(server.settings.workspace, folder.name)
    (study.blocks_folder / "00000001.routes").write_bytes(b"")
    with pytest.raises(StoreError, match=r"00000001.routes has 0 of"):
        pack(server.settings.workspace, folder.name)


def test_a_study_that_was_copied_in_part_says_what_is_missing(served, make_record):
    server = served()
    for id, gone in (
        ("studyaaaaaaaaaaa", "capture/blocks/00000001.routes"),
        ("studybbbbbbbbbbb", "capture/capture.json"),
    ):
        folder = server.studies_folder / id
        captured(folder / "capture", make_record)
        write_manifest(folder, StudyManifest(id=id, name=id, model="small", state="done"))
        (folder / gone).unlink()
    assert "00000001.routes is gone" in listed(server)["studyaaaaaaaaaaa"].lacks
    assert "copied in part" in listed(server)["studybbbbbbbbbbb"].problem


def test_two_studies_of_one_name_are_told_apart_by_their_ids(served, tmp_path, make_record):
    workspace = served().settings.workspace
    for where in ("one", "two"):
        captured(tmp_path / where / "routes", make_record)
    ids = [open_path(workspace, tmp_path / where / "routes") for where in ("one", "two")]
    assert [read_manifest(workspace / STUDIES / id).name for id in ids] == ["routes", "routes (2)"]
    Library(served()).rename(listed(served())["routes (2)"], "", name="routes", tags="")
    with pytest.raises(OptionError, match="2 studies are called 'routes'") as refused:
        find_named(workspace, "routes")
    assert all(id in refused.value.found for id in ids)
    assert find_named(workspace, ids[0]).name == ids[0]


def test_the_address_is_that_of_a_server_that_runs(tmp_path):
    assert "gatescope serve --workspace" in address_of(tmp_path, CAPTURE)
    presence = Presence(tmp_path, "http://localhost:8777/moe")
    assert address_of(tmp_path, CAPTURE) == f"http://localhost:8777/moe/?c={CAPTURE}"
    presence.close()
    assert servers(tmp_path) == [] and list((tmp_path / "servers").iterdir()) == []


def test_damage_elsewhere_is_said_and_left_where_it_is(served, tmp_path, make_record):
    study, server = captured(tmp_path / "routes", make_record), served()
    id = open_path(server.settings.workspace, study.folder)
    part = study.blocks_folder / "00000001.routes"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    before = tree(study.folder)
    with pytest.raises(CaptureDamagedError, match="checksum does not match") as refused:
        server.find_source(id)
    assert "ask whoever captured it" in refused.value.do
    assert tree(study.folder) == before


READ_ONLY = """
import sys
from pathlib import Path
from gatescope.routing.errors import GatescopeError
from gatescope.server.entering import open_path
from gatescope.server.library import Library
from gatescope.server.presence import Presence
from gatescope.server.server import Server
from gatescope.server.settings import load_settings
server = Server(load_settings(workspace=sys.argv[1], cache_dir=sys.argv[2]))
server.announce("http://localhost:1")
for entry in Library(server).entries("", ()):
    if entry.kind != "shipped":
        print(entry.name, entry.state, server.find_source(entry.id).record.tokens)
for change in (
    lambda: Library(server).rename(Library(server).entry_of("captureaaaaaaaaa", "", ()), "", name="x", tags=""),
    lambda: open_path(Path(sys.argv[1]), Path(sys.argv[2])),
    lambda: server.studies.go_on("studyaaaaaaaaaaa"),
):
    try:
        change()
    except GatescopeError as error:
        print("refused:", error.found, "|", error.do)
server.close()
"""


@LINUX
@MOUNTS
def test_a_read_only_workspace_is_shown_and_what_would_change_it_is_refused(served, tmp_path, make_record):
    server = served("mine")
    server.capture_cache.store.put(CAPTURE, make_record(["a", "b"]))
    captured(server.studies_folder / "studyaaaaaaaaaaa" / "capture", make_record)
    write_manifest(
        server.studies_folder / "studyaaaaaaaaaaa",
        StudyManifest(id="studyaaaaaaaaaaa", name="rivers", model="small", state="done"),
    )
    filled = f'cp -r "{tmp_path}/mine/." "{tmp_path}/disk" && mount -o remount,ro "{tmp_path}/disk"'
    ran = subprocess.run(
        [
            *disk(tmp_path / "disk", "size=9m", filled),
            sys.executable,
            "-c",
            READ_ONLY,
            tmp_path / "disk",
            tmp_path / "c",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = ran.stdout.splitlines()
    assert sorted(lines[:2]) == ["ab ready 2", "rivers ready 13"], ran.stderr
    assert [line.startswith("refused: ") and "Read-only file system" in line for line in lines[2:]] == [True] * 3
