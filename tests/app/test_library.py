"""The list of captures: what is listed for whom, names and tags, removal, files out and in."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from gatescope.app.shell.session import library, server, visitor
from gatescope.cache.file_checksum import checksum
from gatescope.cache.importers import Given
from gatescope.cache.schema import encode
from gatescope.cache.study import StudyFolder
from gatescope.routing import Document
from gatescope.routing.errors import CaptureNotFoundError, OptionError, StorageFullError, StoreError, TraceError
from gatescope.server import import_export
from gatescope.server.library import Entry, is_listed
from gatescope.server.metadata import MetadataStore, tags_of
from gatescope.server.settings import load_settings, settings
from gatescope.server.sources import CAPTURED
from gatescope.server.visitor import check_visitors, key_of
from gatescope.studies.compute import Chosen
from gatescope.studies.importing import write_records
from gatescope.studies.manifest import StudyManifest, write_manifest
from tests.records import build_record

FIRST, SECOND, THIRD = "firstcaptureaaaa", "secondcaptureaaa", "thirdstudyaaaaaa"
HOSTILE = "<img src=x onerror=alert(1)>\n=cmd|' /C calc'!A0 **x** \u202e\x00"


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A server with two captured texts; `shared=True` lists to each visitor what is shared or their own."""

    def start(*, shared: bool = False, **values: str):
        monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
        monkeypatch.setattr("gatescope.server.server.CHOSEN", Chosen(metrics=("relative_load",), by=(), resamples=20))
        monkeypatch.setenv("GATESCOPE_LIBRARY_LISTS", "shared" if shared else "all")
        for name, value in values.items():
            monkeypatch.setenv(f"GATESCOPE_{name.upper()}", value)
        _forget()
        store = server().capture_cache.store
        store.put(FIRST, build_record(["a", " secret", " text"]))
        store.put(SECOND, replace(build_record(["b"] * 6), documents=(Document(HOSTILE),)))
        return store

    yield start
    monkeypatch.undo()
    _forget()


def _forget():
    settings.cache_clear()
    st.cache_resource.clear()


def ids(visitor: str = "", opened=()) -> list[str]:
    return [entry.id for entry in library().entries(visitor, opened) if entry.kind != "shipped"]


def test_captures_are_listed_with_what_they_are(place):
    place()
    entry = library().entry_of(FIRST, "", ())
    assert (entry.name, entry.kind, entry.model, entry.tokens, entry.documents) == (
        "a secret text",
        "text",
        "small",
        3,
        1,
    )
    assert (entry.recorded, entry.state, entry.is_own) == ("experts, weights, margins", "ready", True)
    assert entry.size_bytes == server().capture_cache.store.path(FIRST).stat().st_size
    shipped = library().entry_of("probe.sift-softmax", "", ())
    assert (shipped.kind, shipped.tokens, shipped.documents, shipped.is_own) == ("shipped", 111_104, 552, False)


def test_to_list_captures_is_no_use_of_them(place):
    store = place()
    before = {entry.id: entry.used for entry in store.ids()}
    library().entries("", ())
    assert {entry.id: entry.used for entry in store.ids()} == before


def test_a_damaged_capture_is_listed_with_what_is_wrong(place):
    path = place().path(FIRST)
    path.write_bytes(path.read_bytes()[:100])
    assert library().entry_of(FIRST, "", ()).problem
    assert library().entry_of(SECOND, "", ()).problem == ""


def test_a_hostile_text_is_a_name_on_one_line(place):
    place()
    name = library().entry_of(SECOND, "", ()).name
    assert name.isprintable()
    assert "\u202e" not in name


def test_the_filter_wants_every_word_wherever_it_stands(place):
    place()
    library().rename(library().entry_of(FIRST, "", ()), "", name="Rivers", tags="water, German")
    entry = library().entry_of(FIRST, "", ())
    assert all(entry.matches(words) for words in ("", "riv", "GERMAN small", FIRST[:6], "weights text"))
    assert not entry.matches("rivers french")


def test_on_a_server_of_one_person_everything_is_listed(place):
    place()
    assert set(ids()) == {FIRST, SECOND}


def test_a_text_is_listed_to_nobody_who_has_not_opened_it(place):
    place(shared=True)
    assert ids("ann") == []
    assert ids("ann", [FIRST]) == [FIRST]
    assert [entry.kind for entry in library().entries("ann", ())] == ["shipped"] * len(library().entries("ann", ()))
    with pytest.raises(CaptureNotFoundError):
        library().entry_of(SECOND, "ann", [FIRST])


def test_what_is_shared_is_listed_to_all_and_changed_by_its_owner_alone(place):
    place(shared=True)
    ann = library().entry_of(FIRST, "ann", [FIRST])
    library().rename(ann, "ann", name="Ann's", tags="")
    server().labels.share(FIRST, "ann", is_shared=True)
    bob = library().entry_of(FIRST, "bob", ())
    assert (bob.name, bob.is_own, bob.is_shared) == ("Ann's", False, True)
    with pytest.raises(OptionError, match="somebody else's"):
        library().remove(bob)
    server().labels.share(FIRST, "ann", is_shared=False)
    assert ids("bob") == []
    assert ids("ann") == [FIRST]


def test_nobody_reads_what_another_calls_a_text_that_both_have(place):
    place(shared=True)
    library().rename(library().entry_of(FIRST, "ann", [FIRST]), "ann", name="Ann's secret plan", tags="plan")
    bob = library().entry_of(FIRST, "bob", [FIRST])
    assert (bob.name, bob.tags) == ("a secret text", ())


def begin_study(id: str, owner: str, **more) -> None:
    write_manifest(
        server().studies_folder / id, StudyManifest(id=id, name="mine", model="sift-softmax", owner=owner, **more)
    )


def test_a_study_is_listed_to_who_began_it(place):
    place(shared=True)
    begin_study(FIRST, "ann", state="stopped")
    assert library().entry_of(FIRST, "ann", ()).state == "stopped"
    assert FIRST not in ids("bob")
    server().labels.share(FIRST, "ann", is_shared=True)
    bob = library().entry_of(FIRST, "bob", ())
    assert (bob.kind, bob.is_own) == ("study", False)


@pytest.mark.parametrize(
    ("written", "shown"),
    [("running", "stopped"), ("waiting", "stopped"), ("stopped", "stopped"), ("failed", "failed"), ("done", "ready")],
)
def test_a_study_that_nobody_runs_any_more_was_stopped(place, written, shown):
    place()
    begin_study("studyaaaaaaaaaaa", "", state=written)
    assert library().entry_of("studyaaaaaaaaaaa", "", ()).state == shown


def test_a_name_is_clean_and_tags_are_few(place):
    place()
    library().rename(
        library().entry_of(FIRST, "", ()), "", name=HOSTILE + "x" * 500, tags="a,, a ," + "t" * 90 + ",\x00"
    )
    entry = library().entry_of(FIRST, "", ())
    assert entry.name.isprintable()
    assert len(entry.name) <= 80
    assert entry.tags == ("a", "t" * 30)
    assert len(tags_of(",".join(map(str, range(99))))) == 12


def test_a_study_that_is_renamed_is_called_so_everywhere(place):
    place()
    id = "studyaaaaaaaaaaa"
    begin_study(id, "", state="done")
    folder = StudyFolder.create(server().studies_folder / id / CAPTURED, {"corpus": "mine", "model": "small"})
    write_records(iter([build_record(["a", "b", "c"])]), folder)
    assert server().find_source(id).name == "mine"
    library().rename(library().entry_of(id, "", ()), "", name="Three tokens", tags="")
    assert server().find_source(id).name == "Three tokens"
    assert (library().entry_of(id, "", ()).name, library().entry_of(id, "", ()).tokens) == ("Three tokens", 3)


def test_what_ships_cannot_be_changed(place):
    place()
    shipped = library().entry_of("welcome.sift-softmax", "", ())
    for change in (library().remove, lambda entry: library().rename(entry, "", name="x", tags="")):
        with pytest.raises(OptionError, match="ships with"):
            change(shipped)


def test_what_is_removed_is_gone_from_disk_and_memory(place):
    store = place()
    server().find_source(FIRST)
    library().rename(library().entry_of(FIRST, "", ()), "", name="x", tags="")
    library().remove(library().entry_of(FIRST, "", ()))
    assert not store.has(FIRST)
    assert not (settings().cache_dir / "library" / f"{FIRST}.json").exists()
    with pytest.raises(CaptureNotFoundError):
        server().find_source(FIRST)
    begin_study("studyaaaaaaaaaaa", "", state="stopped")
    library().remove(library().entry_of("studyaaaaaaaaaaa", "", ()))
    assert not (server().studies_folder / "studyaaaaaaaaaaa").exists()


def test_a_study_that_cannot_be_deleted_is_said_and_keeps_its_labels(place, tmp_path):
    place()
    begin_study("studyaaaaaaaaaaa", "", state="stopped")
    folder = server().studies_folder / "studyaaaaaaaaaaa"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")  # what a link points to is not removed
    entry = library().entry_of("studyaaaaaaaaaaa", "", ())
    library().rename(entry, "", name="mine", tags="")
    with pytest.raises(StoreError, match="the study cannot be deleted"):
        library().remove(entry)
    assert library().entry_of("studyaaaaaaaaaaa", "", ()).name == "mine" and (tmp_path / "elsewhere").is_dir()


def test_usage_is_what_lies_on_the_disk(place):
    store = place(quota_bytes="5000000")
    begin_study("studyaaaaaaaaaaa", "", state="stopped")
    found = library().usage()
    assert found.captures == sum(store.path(id).stat().st_size for id in (FIRST, SECOND))
    assert found.studies == (server().studies_folder / "studyaaaaaaaaaaa" / "order.json").stat().st_size
    assert (found.total, found.most) == (found.captures + found.studies, 5_000_000)


def test_labels_that_cannot_be_read_are_none(tmp_path):
    book = MetadataStore(tmp_path)
    book.call(FIRST, "ann", name="x", tags="y")
    for damage in ("", "[]", '{"called": 1}', '{"owner": "a", "is_shared": true, "called": {"ann": {}}}'):
        (tmp_path / "library" / f"{FIRST}.json").write_text(damage)
        assert book.of(FIRST).seen_by("ann").name == ""
    with pytest.raises(CaptureNotFoundError):
        book.share("../../etc/passwd", "ann", is_shared=True)


DAMAGE = {
    "emptied": lambda path: path.write_text(""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "altered": lambda path: path.write_text(path.read_text().replace('"ann"', '"bob"')),
    "another's": lambda path: path.write_text(path.with_name(f"{SECOND}.json").read_text()),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_capture_whose_labels_are_damaged_is_private_and_nobody_s(place, tmp_path, damage):
    """Before, whoever had opened it became its owner, and could delete it."""
    place(shared=True)
    for id, who in ((FIRST, "ann"), (SECOND, "bob")):
        server().labels.own(id, who)
        server().labels.share(id, who, is_shared=True)
    damage(tmp_path / "captures" / "library" / f"{FIRST}.json")
    assert FIRST not in ids("carol"), "what was shared is no longer listed to all"
    for who in ("ann", "bob"):
        entry = library().entry_of(FIRST, who, [FIRST])
        assert (entry.is_own, entry.is_shared) == (False, False)
        assert "Whose this is cannot be read any more" in entry.note
        with pytest.raises(OptionError, match="somebody else's"):
            library().remove(entry)
        for change in (
            lambda entry=entry, who=who: library().rename(entry, who, name="mine", tags=""),
            lambda entry=entry, who=who: library().share(entry, who, is_shared=True),
        ):
            with pytest.raises(StoreError, match="nobody knows whose it is"):
                change()
    assert server().labels.of(FIRST).is_damaged, "nothing was written over it"
    assert library().entry_of(SECOND, "bob", ()).note == ""


def test_the_owner_who_is_known_otherwise_begins_anew_and_the_damaged_file_is_kept(place, tmp_path):
    place(shared=True)
    begin_study(THIRD, "ann", state="stopped")
    library().share(library().entry_of(THIRD, "ann", ()), "ann", is_shared=True)
    path = tmp_path / "captures" / "library" / f"{THIRD}.json"
    path.write_text("half")
    assert THIRD not in ids("bob")
    ann = library().entry_of(THIRD, "ann", ())
    assert ann.is_own and "name it anew" in ann.note
    library().rename(ann, "ann", name="again", tags="")
    assert (library().entry_of(THIRD, "ann", ()).name, library().entry_of(THIRD, "ann", ()).note) == ("again", "")
    assert path.with_suffix(".damaged").read_text() == "half"
    assert server().labels.of(THIRD).owner == "ann"


def test_where_everything_is_everybody_s_damaged_labels_are_begun_anew(place, tmp_path):
    place()
    server().labels.call(FIRST, "", name="x", tags="")
    (tmp_path / "captures" / "library" / f"{FIRST}.json").write_text("{")
    assert "name it anew" in library().entry_of(FIRST, "", ()).note
    library().rename(library().entry_of(FIRST, "", ()), "", name="y", tags="")
    assert (library().entry_of(FIRST, "", ()).name, library().entry_of(FIRST, "", ()).note) == ("y", "")
    library().remove(library().entry_of(FIRST, "", ()))
    assert [each.name for each in (tmp_path / "captures" / "library").iterdir() if FIRST in each.name] == []


def test_an_import_again_gives_its_owner_back_what_was_damaged(place, tmp_path):
    place(shared=True)
    record = build_record(["a", " c"])
    content = checksum(FIRST, encode(record)) + bytes(encode(record))
    (taken,) = import_export.take_in(server(), [(f"{FIRST}.gsr", content)], Given(), visitor="ann")
    (tmp_path / "captures" / "library" / f"{taken.id}.json").write_text("")
    assert not library().entry_of(taken.id, "ann", [taken.id]).is_own
    import_export.take_in(server(), [(f"{FIRST}.gsr", content)], Given(), visitor="ann")
    assert library().entry_of(taken.id, "ann", ()).is_own


def test_a_browser_is_known_by_its_token_whatever_its_mask():
    token, secret = bytes(range(16)), b"s" * 32

    def cookie(mask: bytes) -> str:
        return f"2|{mask.hex()}|{bytes(byte ^ mask[n % 4] for n, byte in enumerate(token)).hex()}|1700000000"

    keys = {key_of(cookie(mask), secret) for mask in (b"\0\0\0\0", b"\x01\x02\x03\x04", b"abcd")}
    assert len(keys) == 1
    assert key_of(cookie(b"abcd"), b"t" * 32) not in keys
    assert token.hex()[:16] not in keys
    assert len({key_of(text, secret) for text in ("", "2|zz|1", "x" * 9999)}) == 3


def test_two_who_name_one_thing_at_once_are_both_heard(tmp_path):
    """Each of eight threads and a second process names the same capture many times, and gives it tags of its own."""
    names = [f"visitor{number}" for number in range(8)]

    def name_it(who: str) -> None:
        for count in range(10):
            MetadataStore(tmp_path).call(FIRST, who, name=f"{who} {count}", tags=who)

    other = "from pathlib import Path; from gatescope.server.metadata import MetadataStore\n"
    other += f"store = MetadataStore(Path({str(tmp_path)!r}))\n"
    other += f"for n in range(30): store.call({FIRST!r}, 'process', name=f'x{{n}}', tags='')"
    process = subprocess.Popen([sys.executable, "-c", other], cwd=Path(__file__).parents[2])
    threads = [threading.Thread(target=name_it, args=(who,)) for who in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process.wait(60) == 0
    called = MetadataStore(tmp_path).of(FIRST).called
    assert {who: called[who].name for who in called} == {who: f"{who} 9" for who in names} | {"process": "x29"}


def test_what_is_owned_stays_with_its_first_owner(tmp_path):
    book = MetadataStore(tmp_path)
    book.own(FIRST, "ann")
    book.own(FIRST, "bob")
    assert book.of(FIRST).owner == "ann"
    book.share(FIRST, "bob", is_shared=True)
    assert (book.of(FIRST).owner, book.of(FIRST).is_shared) == ("ann", True)


def test_many_visitors_who_cannot_be_told_apart_are_not_served():
    shared, alone = (load_settings(library_lists=lists) for lists in ("shared", "all"))
    with pytest.raises(OptionError, match="enableXsrfProtection is false"):
        check_visitors(shared, has_tokens=False)
    check_visitors(shared, has_tokens=True)
    check_visitors(alone, has_tokens=False)


def test_a_browser_without_cookies_is_known_by_its_page_alone(place, monkeypatch):
    place(shared=True)
    keys = []
    for session in ("one", "two", "one"):
        monkeypatch.setattr("gatescope.app.shell.session.watcher", lambda session=session: session)
        keys.append(visitor())
    assert keys[0] == keys[2] != keys[1]


# -- files out and in ---------------------------------------------------------------------------------------------


def test_a_capture_goes_out_and_comes_in_the_same_under_an_id_of_its_own(place):
    place()
    source = server().find_source(FIRST)
    content = import_export.file_of(source)
    (taken,) = import_export.take_in(server(), [(f"{FIRST}.gsr", content)], Given(), visitor="")
    assert "the checksum holds" in taken.understood
    assert taken.id != FIRST  # nobody else's file may stand for what this server captured
    back = server().find_source(taken.id).record
    for (name, one), (_, other) in zip(source.record.arrays(), back.arrays(), strict=True):
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
    assert back.documents == source.record.documents


def two_documents() -> bytes:
    """A file of 100 tokens in two documents: it is imported as a study."""
    both = replace(
        build_record(["a"] * 100),
        document_t=np.repeat(np.int32([0, 1]), 50),
        position_t=np.tile(np.arange(50, dtype=np.int32), 2),
        documents=(Document("a"), Document("b")),
    )
    body = encode(both)
    return checksum("a", body) + bytes(body)


@pytest.mark.parametrize("kind", ["capture", "study", "trace"])
def test_a_file_that_two_visitors_import_is_each_ones_own(place, kind):
    place(shared=True)
    file = io.BytesIO()
    np.savez(file, ids=np.random.default_rng(0).integers(0, 4, (40, 2, 1)).astype(np.uint8), token=np.arange(40))
    name, content = {
        "capture": ("a.gsr", import_export.file_of(server().find_source(FIRST))),
        "study": ("a.gsr", two_documents()),
        "trace": ("routes.npz", file.getvalue()),
    }[kind]
    given = Given(experts=4, k=1) if kind == "trace" else Given()

    def imported(visitor: str) -> str:
        (taken,) = import_export.take_in(server(), [(name, content)], given, visitor=visitor)
        job = server().studies.live(taken.id)
        assert job is None or job.wait(120)
        return taken.id

    ann, bob = imported("ann"), imported("bob")
    assert ann != bob
    assert library().entry_of(ann, "ann", ()).is_own
    assert library().entry_of(bob, "bob", ()).is_own
    with pytest.raises(CaptureNotFoundError):
        library().entry_of(ann, "bob", ())
    library().remove(library().entry_of(bob, "bob", ()))
    tokens = server().find_source(ann).record.tokens
    assert tokens == {"capture": 3, "study": 100, "trace": 40}[kind]
    assert imported("ann") == ann


def test_an_import_is_held_to_the_quota_and_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(import_export, "RESULTS_BYTES", 0)
    place(quota_bytes="1000000")
    random = np.random.default_rng(0)
    file = io.BytesIO()
    ids = np.argsort(random.random((20_000, 8, 64)), axis=-1)[..., :8].astype(np.uint8)  # 1.3 MB, and nothing to pack
    np.savez(file, ids=ids, token=np.arange(20_000))
    with pytest.raises((TraceError, StorageFullError), match="more than 1,000,000 bytes"):
        import_export.take_in(server(), [("routes.npz", file.getvalue())], Given(experts=64, k=8), visitor="")
    assert library().usage().studies == 0


def test_captures_and_studies_are_held_to_one_quota_together(place):
    """Of 1,000,000 bytes a study takes 900,000, so captures have 100,000: the second one of 60,000 has no room."""
    store = place(quota_bytes="1000000")
    begin_study("studyaaaaaaaaaaa", "", state="stopped")
    order = server().studies_folder / "studyaaaaaaaaaaa" / "order.json"
    (order.parent / "blocks").write_bytes(bytes(900_000 - order.stat().st_size))
    quota = server().quota
    assert (quota.studies(), library().usage().total) == (900_000, 900_000 + library().usage().captures)
    random = np.random.default_rng(0)

    def capture() -> None:
        ids = random.permuted(np.tile(np.arange(60, dtype=np.uint8), (1000, 1)), axis=1)
        store.put(
            "".join(random.choice(list("abcdefgh"), 16)),
            build_record(
                ["x"] * 1000,
                ids_tlk=ids[:, None],
                layers=1,
                experts=60,
                k=60,
                rejected_tl=None,
                margin_tl=None,
                entropy_tl=None,
            ),
        )

    capture()
    left = 100_000 - library().usage().captures
    assert 0 < left < 60_000
    with pytest.raises(StorageFullError):
        capture()
    assert quota.room() == left
    quota.make_room(left)
    with pytest.raises(StorageFullError, match=f"at most {left:,}|more than 1,000,000"):
        quota.make_room(left + 1)


def test_captures_used_long_ago_go_where_a_study_needs_room(place):
    store = place(quota_bytes="1000000")
    quota, path = server().quota, store.path(FIRST)
    taken = library().usage().captures
    assert quota.room() == 1_000_000 - taken  # both were written a moment ago
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    size = path.stat().st_size
    assert quota.room() == 1_000_000 - taken + size
    quota.make_room(1_000_000 - taken)
    assert store.has(FIRST)
    quota.make_room(1_000_000 - taken + 1)
    assert not store.has(FIRST)
    assert store.has(SECOND)


def test_a_renamed_file_is_taken_and_an_altered_one_is_not(place):
    place()
    content = import_export.file_of(server().find_source(FIRST))
    (taken,) = import_export.take_in(server(), [("my favourite (1).gsr", content)], Given(), visitor="")
    assert "renamed" in taken.understood[0]
    flipped = bytearray(content)
    flipped[60] ^= 0xFF
    for damaged in (bytes(flipped), content[:-9], content[:40], b"GSROUTE\n" + bytes(500)):
        with pytest.raises(TraceError, match="torn, altered"):
            import_export.take_in(server(), [(f"{FIRST}.gsr", damaged)], Given(), visitor="")


def test_a_file_that_says_it_unpacks_to_too_much_is_refused(place, monkeypatch):
    place()
    monkeypatch.setattr(import_export, "MOST_DECODED", 100)
    with pytest.raises(TraceError, match="unpacks to"):
        import_export.take_in(
            server(), [("a.gsr", import_export.file_of(server().find_source(FIRST)))], Given(), visitor=""
        )


def test_a_trace_of_another_engine_becomes_a_study_with_what_was_understood(place):
    place()
    ids_tlk = np.random.default_rng(0).integers(0, 4, (40, 2, 1)).astype(np.uint8)
    file = io.BytesIO()
    np.savez(file, ids=ids_tlk, token=np.arange(40))
    (taken,) = import_export.take_in(server(), [("routes.npz", file.getvalue())], Given(experts=4, k=1), visitor="")
    assert (taken.format, taken.tokens) == ("plain", 40)
    job = server().studies.live(taken.id)
    assert job is None or job.wait(240)
    entry = library().entry_of(taken.id, "", ())
    assert (entry.kind, entry.state, entry.tokens) == ("import", "ready", 40)
    assert entry.order.understood == taken.understood != ()
    assert np.array_equal(server().find_source(taken.id).record.ids_tlk, ids_tlk)


@pytest.mark.parametrize("files", [[("a.txt", b"hello")], [("a.pkl", b"\x80\x04]")], [("../x.json", b"{}")], []])
def test_what_is_no_trace_is_refused_and_leaves_nothing(place, files):
    place()
    with pytest.raises((TraceError, OptionError)) as refused:
        import_export.take_in(server(), files, Given(), visitor="")
    assert "gatescope-import" not in str(refused.value)
    assert not server().studies_folder.exists() or not list(server().studies_folder.iterdir())


def test_more_tokens_than_a_visitor_may_have_are_refused_and_leave_nothing(place):
    place(max_study_tokens="100")
    record = build_record(["a"] * 101)
    half = replace(record, document_t=np.repeat(np.int32([0, 1]), [50, 51]), documents=(Document("a"), Document("b")))
    body = encode(half)
    with pytest.raises((TraceError, OptionError), match="101 tokens"):
        import_export.take_in(server(), [("a.gsr", checksum("a", body) + bytes(body))], Given(), visitor="")
    assert not list(server().studies_folder.iterdir())


def test_a_set_holds_each_capture_as_file_and_table_and_a_list_no_sheet_obeys(place):
    place()
    chosen = [library().entry_of(id, "", ()) for id in (FIRST, SECOND)]
    content = import_export.archive(chosen, server().find_source)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = set(archive.namelist())
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("captures.csv"), "utf-8")))
        routes = list(csv.DictReader(io.TextIOWrapper(archive.open(f"{FIRST}.routes.csv"), "utf-8")))
        assert archive.read(f"{FIRST}.gsr") == import_export.file_of(server().find_source(FIRST))
    both = {f"{id}.{end}" for id in (FIRST, SECOND) for end in ("gsr", "routes.csv")}
    assert names == both | {"captures.csv"}
    assert [json.loads(row["name"]) for row in rows] == [entry.name for entry in chosen]
    assert all(row["name"].startswith('"') for row in rows)
    assert len(routes) == 3 * 2 * 2  # tokens, layers, experts of a token


def test_a_set_that_is_too_large_is_refused(place):
    place()
    large = [replace(library().entry_of(FIRST, "", ()), size_bytes=import_export.MOST_SET_BYTES + 1)]
    with pytest.raises(OptionError, match="at most"):
        import_export.archive(large, server().find_source)


def test_who_is_shown_what_by_hand():
    own, shared, other = (
        Entry(id=FIRST, name="", kind="text", is_own=True),
        Entry(id=FIRST, name="", kind="study", is_shared=True),
        Entry(id=FIRST, name="", kind="study"),
    )
    assert [is_listed(each, (), everything=False) for each in (own, shared, other)] == [True, True, False]
    assert is_listed(other, (FIRST,), everything=False)
    assert is_listed(other, (), everything=True)
