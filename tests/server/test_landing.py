"""Where what commands make comes to lie: under a name, leased while it is made, and seen by every server meanwhile."""

import json
import os
import time
from pathlib import Path

import pytest

from gatescope.cache.lease import STALE_SECONDS, Lease, current
from gatescope.cache.workspace import STUDIES
from gatescope.routing.errors import InUseError, OptionError, StoreError, TraceError
from gatescope.server.landing import Asked, landing, working_on
from gatescope.server.library import Library
from gatescope.server.quota import Quota
from gatescope.server.server import Server
from gatescope.server.settings import load_settings
from gatescope.studies.manifest import read_manifest
from tests.small_studies import captured, write


@pytest.fixture
def chosen(tmp_path):
    return load_settings(workspace=tmp_path / "workspace", cache_dir=tmp_path / "cache")


@pytest.fixture
def library(chosen):
    server = Server(chosen)
    yield Library(server)
    server.close()


def place_for(chosen, name="rivers", out: Path | None = None, **more):
    return landing(
        chosen,
        Asked(out=out, name=name, suggested="suggested"),
        what="gatescope capture",
        command="gatescope capture texts",
        model="small",
        **more,
    )


def test_it_is_seen_while_it_runs_and_when_it_is_done(chosen, library, make_record):
    with place_for(chosen) as place:
        study = captured(place.captured, make_record, blocks=1)
        place.doing.begin("capturing")
        entry = library.entry_of(place.id, "", ())
        assert (entry.name, entry.state, entry.tokens, entry.model) == ("rivers", "running", 4, "small")
        assert library.holder_of(place.id).pid == os.getpid()
        write(study, 1, make_record)
        study.end(2)
        with pytest.raises(OptionError, match="is under way"):
            library.remove(entry)
    entry = library.entry_of(place.id, "", ())
    assert (entry.state, entry.tokens, entry.documents, entry.is_analysed, entry.lacks) == ("ready", 9, 4, False, "")


def test_without_a_name_it_is_called_as_suggested_and_beside_out_it_stands_nowhere(chosen, tmp_path):
    with place_for(chosen, name="") as place:
        assert read_manifest(chosen.workspace / STUDIES / place.id).name == "suggested"
    with place_for(load_settings(workspace=tmp_path / "untouched"), name="", out=tmp_path / "out") as place:
        assert (place.id, place.captured) == ("", tmp_path / "out")
    assert not (tmp_path / "untouched").exists()


def test_a_name_beside_out_is_a_reference_to_it(chosen, library, tmp_path, make_record):
    with place_for(chosen, out=tmp_path / "out") as place:
        assert library.entry_of(place.id, "", ()).state == "running"
        captured(place.captured, make_record)
    entry = library.entry_of(place.id, "", ())
    assert (entry.where, entry.tokens, entry.problem) == (str(tmp_path / "out"), 13, "")
    assert not (chosen.workspace / STUDIES / place.id / "capture").exists()
    with place_for(chosen) as again:  # by its name it is gone on with where it lies
        assert again.captured == tmp_path / "out"


def test_two_commands_that_name_one_study_are_one_after_the_other(chosen):
    with place_for(chosen) as first:
        said = r"rivers is in use: process \d+ on .* \(gatescope capture\)"
        with pytest.raises(InUseError, match=said), place_for(chosen):
            pass
        with place_for(chosen, name="lakes") as other:
            assert other.id != first.id
    with place_for(chosen) as again:
        assert again.id == first.id


def test_shares_of_one_study_are_made_at_once(chosen):
    with place_for(chosen, share="1of2") as one, place_for(chosen, share="2of2") as two:
        assert one.id == two.id
        with pytest.raises(InUseError), place_for(chosen, share="1of2"):
            pass


@pytest.mark.parametrize(
    ("raised", "state"),
    [(KeyboardInterrupt(), "stopped"), (SystemExit(130), "stopped"), (TraceError("f", expected="e", do="d"), "failed")],
)
def test_what_ends_it_is_written_down_and_it_goes_on_under_its_name(chosen, library, make_record, raised, state):
    with pytest.raises(type(raised)), place_for(chosen) as place:
        study = captured(place.captured, make_record, blocks=1)
        (study.folder / "end.json").unlink()
        raise raised
    entry = library.entry_of(place.id, "", ())
    assert (entry.state, entry.order.command, entry.tokens) == (state, "gatescope capture texts", 4)
    assert "its capture has not come to its end" in entry.lacks
    with place_for(chosen) as again:
        assert again.id == place.id


def test_a_study_that_was_renamed_keeps_its_folder_and_the_old_name_begins_another(chosen, library):
    with place_for(chosen) as first:
        pass
    library.rename(library.entry_of(first.id, "", ()), "", name="lakes", tags="")
    with place_for(chosen, name="lakes") as same, place_for(chosen) as other:
        assert same.id == first.id != other.id


def test_what_another_machine_runs_is_running_until_it_stops_beating(chosen, library):
    with place_for(chosen) as place:
        pass
    folder = chosen.workspace / STUDIES / place.id
    path = max(folder.glob("lease.*"))
    said = json.loads(path.read_text()) | {"host": "gpu7", "place": "gpu7", "is_over": False}
    path.write_text(json.dumps(said | {"progress": {"what": "capturing", "documents": 5, "of_documents": 9}}))
    order = json.loads((folder / "order.json").read_text()) | {"state": "running"}
    del order["checksum"]
    (folder / "order.json").write_text(json.dumps(order))
    assert library.entry_of(place.id, "", ()).state == "running"
    assert (library.doing(place.id).documents, library.doing(place.id).of_documents) == (5, 9)
    with pytest.raises(InUseError, match="on gpu7"), working_on(folder, what="gatescope analyze"):
        pass
    os.utime(path, (time.time() - STALE_SECONDS - 1,) * 2)
    assert library.entry_of(place.id, "", ()).state == "stopped"
    with place_for(chosen):
        assert library.entry_of(place.id, "", ()).state == "running"


def test_what_commands_make_is_counted_apart(chosen, make_record):
    with place_for(chosen) as place:
        captured(place.captured, make_record)
    quota = Quota(chosen.workspace, 1_000_000)
    size = sum(path.stat().st_size for path in (chosen.workspace / STUDIES).rglob("*") if path.is_file())
    assert (quota.studies(), quota.by_maker()) == (0, (0, size))


def test_a_name_that_shows_nothing_is_refused(chosen):
    with pytest.raises(OptionError, match="--name"), place_for(chosen, name="\x00 \u200b"):
        pass


def test_two_servers_on_one_workspace_do_not_take_each_other_s_study(chosen, library, make_record):
    """The second sees that it runs, and can neither go on with it nor remove it."""
    with place_for(chosen) as place:
        captured(place.captured, make_record)
    folder = chosen.workspace / STUDIES / place.id
    other = Server(chosen)
    with Lease.take(folder, "in a dashboard"):
        assert Library(other).state_of(place.id, read_manifest(folder)) == "running"
        with pytest.raises(InUseError, match="in a dashboard"):
            other.studies.go_on(place.id)
        assert read_manifest(folder).state == "done"
        stale = Library(other).entry_of(place.id, "", ())
    job = other.studies.go_on(place.id)
    try:
        assert library.entry_of(place.id, "", ()).state in ("waiting", "running")
        with pytest.raises(InUseError):
            library._server.studies.go_on(place.id)
        with pytest.raises(OptionError, match="under way"):
            library.remove(stale)
        other.studies.cancel(place.id)
        assert job.wait(120)
    finally:
        other.close()
    assert current(folder) is None


def test_a_newer_workspace_is_refused_by_commands_and_by_servers(chosen):
    chosen.workspace.mkdir()
    (chosen.workspace / "workspace.json").write_text('{"version": 9}')
    with pytest.raises(StoreError, match="of version 9"), place_for(chosen):
        pass
    with pytest.raises(StoreError, match="of version 9"):
        Server(chosen)
