"""The Library page in a session: the list, a study from form to results, what commands do, an upload, and trouble."""

import json
import time

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME, library, server
from gatescope.app.views.library.studies import duration, how_far
from gatescope.cache.lease import Lease
from gatescope.server.landing import Asked, landing
from gatescope.server.settings import settings
from gatescope.server.study_progress import StudyProgress
from gatescope.studies.compute import Chosen
from gatescope.studies.manifest import StudyManifest, read_manifest, write_manifest
from tests.records import build_record
from tests.small_studies import captured, write

PAGE = "../pages/library.py"
CAPTURE, STUDY = "firstcaptureaaaa", "studyaaaaaaaaaaa"
HOSTILE = "<script>alert(1)</script> **bold** [x](javascript:1)"


@pytest.fixture
def opened(monkeypatch, tmp_path, tiny_model):
    """Opens the page on a server with the tiny model and one captured text."""

    def start(**values: str) -> None:
        monkeypatch.setenv("GATESCOPE_MODEL", str(tiny_model))
        monkeypatch.setenv("GATESCOPE_MODELS", "")
        monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
        monkeypatch.setattr("gatescope.server.server.CHOSEN", Chosen(metrics=("relative_load",), by=(), resamples=20))
        for name, value in values.items():
            monkeypatch.setenv(f"GATESCOPE_{name.upper()}", value)
        _forget()
        server().capture_cache.store.put(CAPTURE, build_record([HOSTILE, " b"]))

    def open_page(**params: str) -> AppTest:
        assert server().worker(settings().model).loading.wait(240)
        page = AppTest.from_file(FRAME, default_timeout=240).run()
        page.switch_page(PAGE)
        for name, value in params.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    open_page.start = start
    start()
    yield open_page
    monkeypatch.undo()
    _forget()


def _forget():
    settings.cache_clear()
    st.cache_resource.clear()


def words(page: AppTest) -> str:
    shown = [*page.title, *page.markdown, *page.caption, *page.error, *page.warning, *page.info, *page.subheader]
    return "\n".join(str(one.value) for one in shown).replace("\\", "")


def names(page: AppTest) -> list[str]:
    return list(page.dataframe[0].value["name"])


def button(page: AppTest, label: str):
    return next(one for one in page.button if one.label == label)


def part(page: AppTest, name: str) -> AppTest:
    page.button_group(key="library-part").set_value(name).run()
    assert not page.exception
    return page


def waited(page: AppTest, id: str) -> AppTest:
    job = server().studies.live(id)
    assert job is None or job.wait(300)
    page.run()
    assert not page.exception
    return page


def test_the_list_names_what_is_there_and_the_filter_narrows_it(opened):
    page = opened()
    assert HOSTILE + " b" in names(page)
    page.text_input(key="library-filter").set_value("nothing is called so").run()
    assert "No matches" in words(page)
    assert not page.dataframe


def test_the_capture_that_is_looked_at_can_be_opened_named_and_deleted(opened):
    page = opened(c=CAPTURE)
    assert {"Open on Prompt", "Open on Layers", "Compare as B", "Save"} <= {one.label for one in page.button}
    assert "<script>" in words(page)  # as text: every mark of it is escaped
    assert all("<script>" not in str(one.value) for one in page.markdown)
    page.text_input(key=f"name-{CAPTURE}").set_value("Herons")
    page.text_input(key=f"tags-{CAPTURE}").set_value("birds, water").run()
    button(page, "Save").click().run()
    assert "Herons" in names(page)
    assert "birds, water" in list(page.dataframe[0].value["tags"])
    button(page, "Yes, delete it").click().run()
    assert not page.exception
    assert not server().capture_cache.store.has(CAPTURE)
    assert "c" not in page.query_params
    assert "Herons" not in names(page)


def test_a_part_of_the_probe_set_is_studied_from_the_form_to_its_pages(opened):
    page = part(opened(), "study")
    page.multiselect(key="study-domains").set_value(["law", "code"]).run()
    page.multiselect(key="study-languages").set_value(["en"]).run()
    page.number_input(key="study-each").set_value(2).run()
    assert "4 documents, " in words(page)
    assert page.text_input(key="study-name").value == "Probe set: law, code, en, 2 of each"
    page.text_input(key="study-name").set_value(HOSTILE).run()
    button(page, "Start the study").click().run()
    assert not page.exception
    (id,) = [folder.name for folder in server().studies_folder.iterdir()]
    assert [one for one in page.button if one.label == "Cancel"] or read_manifest(
        server().studies_folder / id
    ).state == "done"
    page = waited(page, id)
    assert "is done:" in words(page)
    source = server().find_source(id)
    assert sorted(document.domain for document in source.record.documents) == ["code", "code", "law", "law"]
    assert source.name == HOSTILE
    assert page.button(key="study-start").disabled  # the same again would be the same
    assert "is done already" in words(page)
    page.button(key=f"open-layers-{id}").click().run()
    assert not page.exception
    assert page.title[0].value == "How is the work spread, layer by layer?"
    assert id in page.query_params["c"]


def upload(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    page.button_group(key="study-source").set_value("upload").run()
    page.file_uploader(key="study-files").set_value([(name, content, "text/plain") for name, content in files]).run()
    assert not page.exception
    return page


def test_an_upload_is_mapped_counted_and_its_bad_rows_named(opened):
    content = b"body,label\nThe judge spoke aloud,law\n,law\n=1+1,code\nThe judge spoke aloud,law\n"
    page = upload(part(opened(), "study"), ("mine.csv", content))
    assert "Choose the column" in words(page)
    assert page.selectbox(key="study-column-domain").value == "label"
    assert page.dataframe[0].value["body"].tolist() == ["The judge spoke aloud", "", "=1+1", "The judge spoke aloud"]
    page.selectbox(key="study-column-text").set_value("body").run()
    said = words(page)
    assert "3 documents read" in said
    assert "1 row was not read" in said
    assert page.dataframe[1].value.iloc[0].tolist()[:2] == ["mine.csv, line 3", "a blank text"]
    assert "1 text was there before" in said
    button(page, "Start the study").click().run()
    (id,) = [folder.name for folder in server().studies_folder.iterdir()]
    waited(page, id)
    found = server().find_source(id).record.documents
    assert [(each.text, each.domain) for each in found] == [
        ("The judge spoke aloud", "law"),
        ("=1+1", "code"),
        ("The judge spoke aloud", "law"),
    ]


def test_a_file_nobody_can_read_says_why(opened):
    page = upload(part(opened(), "study"), ("mine.jsonl", b"no json at all"))
    assert "not JSON" in page.error[0].value
    assert "gatescope-upload" not in words(page)


def test_what_is_over_the_limits_is_said_and_cannot_be_started(opened):
    opened.start(max_study_tokens="100")
    page = part(opened(), "study")
    assert page.button(key="study-start").disabled
    assert "at most 100 in a study here" in words(page)
    opened.start(max_study_tokens="500000", max_study_documents="2")
    page = upload(part(opened(), "study"), ("a.jsonl", b'{"text": "one two"}\n' * 3))
    assert "There are more: a study here takes at most 2 documents" in words(page)
    assert not page.button(key="study-start").disabled


def test_what_the_quota_has_no_room_for_cannot_be_started(opened):
    opened.start(quota_bytes="1000000")
    page = part(opened(), "study")
    page.number_input(key="study-each").set_value(1).run()
    while "Measuring" in words(page):
        time.sleep(0.05)
        page.run()
    assert page.button(key="study-start").disabled
    assert "what the quota leaves" in words(page)


def test_a_failed_study_says_why_and_a_stopped_one_goes_on_or_is_deleted(opened):
    order = StudyManifest(
        id=STUDY, name=HOSTILE, model="gone", state="failed", problem=("F found", "E expected", "D do")
    )
    write_manifest(server().studies_folder / STUDY, order)
    page = opened()
    assert all(said in words(page) for said in ("failed", "F found", "E expected", "D do"))
    assert button(page, "Retry")
    write_manifest(server().studies_folder / STUDY, StudyManifest(id=STUDY, name="x", model="gone", state="running"))
    page.run()
    assert "was stopped" in words(page)
    assert button(page, "Continue")
    page.button(key=f"drop-{STUDY}").click().run()
    assert not (server().studies_folder / STUDY).exists()


def test_an_import_says_what_was_understood(opened):
    from gatescope.server.import_export import file_of

    content = file_of(server().find_source("welcome.sift-softmax"))
    page = part(opened(), "import")
    page.file_uploader(key="import-files").set_value([("welcome.sift-softmax.gsr", content, "x")]).run()
    button(page, "Import").click().run()
    assert not page.exception
    assert "38 tokens of 1 document" in words(page)
    assert "the checksum holds" in words(page)
    page.file_uploader(key="import-files").set_value([("x.txt", b"hello", "x")]).run()
    button(page, "Import").click().run()
    assert "fits no known format" in page.error[0].value


def test_whether_there_is_enough_is_said_of_a_corpus(opened):
    opened.start(models="sift-softmax")
    page = part(opened(), "enough")
    assert "Is there enough text to go by?" in words(page)
    assert "110,552 tokens are enough for" in words(page)  # the probe set without format tokens


def test_in_a_shared_library_a_text_of_others_is_not_listed(opened):
    opened.start(library_lists="shared")
    page = opened()
    assert not [name for name in names(page) if HOSTILE[:20] in name]
    page = opened(c=CAPTURE)  # who has the link has the text
    assert HOSTILE + " b" in names(page)
    page.toggle(key=f"shared-{CAPTURE}").set_value(True).run()
    assert HOSTILE + " b" in names(opened())


def test_how_far_a_study_is_in_words():
    assert how_far(StudyProgress(), before=1) == "Waiting for 1 other study"
    assert how_far(StudyProgress(), before=2) == "Waiting for 2 other studies"
    half = StudyProgress(
        what="capturing", documents=5, of_documents=10, characters=500, of_characters=1000, new_characters=250,
        tokens=100, seconds=10.0,
    )  # fmt: skip
    assert how_far(half, before=0) == "Captured 5 of 10 documents, 100 tokens; about 21 s left, then the metrics"
    assert half.share == 0.375
    last = StudyProgress(what="Co-activation", characters=1, of_characters=1, metrics=3, of_metrics=4)
    assert how_far(last, before=0) == "Computing 4 of 4: Co-activation"  # three are done
    assert last.share == 0.9375
    last.since = time.monotonic() - 70.5
    assert how_far(last, before=0) == "Computing 4 of 4: Co-activation, for 71 s"
    last.is_writing = True
    last.begin("report")
    assert how_far(last, before=0) == "Everything is computed. Writing the report"
    assert [duration(seconds) for seconds in (0, 89, 90, 5399, 5400)] == ["1 s", "90 s", "2 min", "90 min", "1.5 h"]


def rivers(**more):
    asked = Asked(out=None, name="rivers", suggested="")
    return landing(settings(), asked, what="gatescope capture", command="cd /x && gatescope capture y", **more)


def shown(page, id: str):
    page.query_params["c"] = id
    return page.run()


def test_a_command_that_captures_is_seen_with_how_far_it_is_and_who_runs_it(opened, make_record):
    page = opened()
    with rivers() as place:
        study = captured(place.captured, make_record, blocks=1)
        place.doing.begin("capturing")
        place.doing.documents, place.doing.of_documents, place.doing.tokens = 2, 4, 4
        path = next((settings().workspace / "studies" / place.id).glob("lease.*"))
        said = json.loads(path.read_text()) | {"progress": place.doing.to_dict()}
        path.write_text(json.dumps(said))  # as its next beat will
        page.run()
        assert "**rivers**" in words(page) and "Runs as gatescope capture, process" in words(page)
        assert not [each for each in page.button if each.key == f"cancel-{place.id}"]
        write(study, 1, make_record)
        study.end(2)
    page.run()
    assert "Runs as" not in words(page)
    entry = library().entry_of(place.id, "", ())
    assert (entry.name, entry.state, entry.tokens) == ("rivers", "ready", 9)


def test_a_captured_study_is_analysed_on_demand_and_then_has_a_report(opened, make_record):
    with rivers() as place:
        captured(place.captured, make_record)
    page = shown(opened(), place.id)
    page.button(key=f"analyse-{place.id}").click().run()
    end = time.monotonic() + 240
    while not library().entry_of(place.id, "", ()).is_analysed or server().studies.live(place.id):
        assert time.monotonic() < end
        time.sleep(0.05)
    page.run()
    assert "is done: 13 tokens of 6 documents" in words(page)
    assert not [each for each in page.button if each.key == f"analyse-{place.id}"]
    assert not page.exception


def test_a_capture_that_stopped_says_the_command_that_goes_on_with_it(opened, make_record):
    with pytest.raises(KeyboardInterrupt), rivers() as place:
        (captured(place.captured, make_record, blocks=1).folder / "end.json").unlink()
        raise KeyboardInterrupt
    page = opened()
    assert "was stopped" in words(page) and "the same command goes on with it" in words(page)
    assert [each.value for each in page.code] == ["cd /x && gatescope capture y"]
    assert not [each for each in page.button if each.label == "Continue"]


def test_what_another_process_works_on_is_neither_gone_on_with_nor_deleted(opened, make_record):
    with rivers() as place:
        captured(place.captured, make_record)
    page, folder = shown(opened(), place.id), server().studies_folder / place.id
    with Lease.take(folder, "gatescope analyze"):
        page.button(key=f"analyse-{place.id}").click().run()
        assert "is in use" in words(page)
        assert read_manifest(folder).state == "done"


def test_notes_are_kept_beside_what_was_captured(opened, make_record):
    with rivers() as place:
        study = captured(place.captured, make_record)
    before = (study.folder / "capture.json").read_bytes()
    page = shown(opened(), place.id)
    page.text_area(key=f"notes-{place.id}").set_value("see run 7")
    page.text_input(key=f"name-{place.id}").set_value("lakes").run()
    page.button(key=f"save-name-{place.id}").click().run()
    assert [each.value for each in page.text] == ["see run 7"]
    assert library().entry_of(place.id, "", ()).name == "lakes"
    assert (study.folder / "capture.json").read_bytes() == before


def test_a_path_is_opened_only_where_the_owner_allows_it(opened, tmp_path, make_record):
    study = captured(tmp_path / "routes", make_record)
    page = part(opened(), "import")
    assert not [each for each in page.text_input if each.key == "open-path"]
    opened.start(open_paths="true")
    page = part(opened(), "import")
    page.text_input(key="open-path").set_value(str(tmp_path / "nothing"))
    page.button(key="open-go").click().run()
    assert "nothing is at" in words(page)
    page.text_input(key="open-path").set_value(str(study.folder))
    page.button(key="open-go").click().run()
    assert not page.exception
    (entry,) = [each for each in library().entries("", ()) if each.where]
    assert (entry.name, entry.where, entry.tokens) == ("routes", str(study.folder), 13)
