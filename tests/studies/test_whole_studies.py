"""A study that is not all of its corpus is never measured as if it were: not a torn one, not one being captured."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatescope.cache.study import COUNTS, RECIPE, ROUTES, StudyFolder
from gatescope.cli.main import app
from gatescope.routing.errors import StoreError
from gatescope.server.measures import measure
from gatescope.server.sources import ANALYSED, CAPTURED, read_study
from gatescope.studies.adding_up import whole_tally
from gatescope.studies.manifest import StudyManifest, write_manifest
from tests.small_studies import analyze, captured, write


@pytest.fixture
def study(tmp_path, make_record) -> StudyFolder:
    """Three blocks of two documents each, whole, and its end."""
    return captured(tmp_path / "study", make_record)


def path(study: StudyFolder, name: str) -> Path:
    return study.blocks_folder / name


def cut(name: str) -> Callable[[StudyFolder], None]:
    return lambda study: os.truncate(path(study, name), path(study, name).stat().st_size - 10)


def gone(*names: str) -> Callable[[StudyFolder], None]:
    return lambda study: [path(study, name).unlink() for name in names] and None


def altered(study: StudyFolder) -> None:
    """One entry of a block's description."""
    said = json.loads(path(study, "00000001.json").read_text())
    path(study, "00000001.json").write_text(json.dumps(said | {"documents": 1}))


def set_aside(study: StudyFolder) -> None:
    """A flipped bit that a reader found before."""
    bad = path(study, "00000001.counts")
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    assert [number.number for number, _ in study.verify()] == [1]


def of_another_study(study: StudyFolder) -> None:
    """A whole block that was captured for another recipe."""
    other = StudyFolder.create(study.folder.parent / "other", {"corpus": "texts.jsonl", "model": "larger"})
    other.write(study.finished()[1], {kind: study.part(study.finished()[1], kind) for kind in (COUNTS, ROUTES)})
    shutil.copy(path(other, "00000001.json"), path(study, "00000001.json"))


DAMAGES: dict[str, tuple[Callable[[StudyFolder], None], str]] = {
    "counts cut": (cut("00000001.counts"), "00000001.counts has"),
    "routes cut": (cut("00000000.routes"), "00000000.routes has"),
    "counts gone": (gone("00000002.counts"), "00000002.counts is gone"),
    "description emptied": (lambda study: os.truncate(path(study, "00000001.json"), 0), "00000001.json cannot be read"),
    "description altered": (altered, "00000001.json cannot be read"),
    "description gone": (gone("00000001.json"), "block 1 is not there"),
    "the last block gone": (gone("00000002.json", "00000002.counts", "00000002.routes"), "block 2 is not there"),
    "the first two gone": (gone("00000000.json", "00000001.json"), "blocks 0 to 1 are not there"),
    "all gone": (lambda study: shutil.rmtree(study.blocks_folder), "blocks 0 to 2 are not there"),
    "a block set aside": (set_aside, "block 1 is not there"),
    "a block of another study": (of_another_study, "00000001.json cannot be read"),
    "its end gone": (lambda study: (study.folder / "end.json").unlink(), "has not come to its end: 3 blocks"),
    "its end altered": (lambda study: (study.folder / "end.json").write_text('{"blocks": 2}'), "not come to its end"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_study_that_is_not_whole_is_refused(study, tmp_path, damage, said):
    damage(study)
    ran = analyze(study, tmp_path / "out")
    assert ran.exit_code == 1 and said in ran.output, ran.output
    assert "run the capture again" in ran.output and "--partial" in ran.output
    assert not (tmp_path / "out").exists()
    with pytest.raises(StoreError, match="not whole"):
        whole_tally(study)
    checked = CliRunner().invoke(app, ["cache", "verify", str(study.folder)])
    assert checked.exit_code == 1 and said in checked.output, checked.output


def test_a_whole_one_is_measured_and_intact(study, tmp_path):
    ran = analyze(study, tmp_path / "out")
    assert ran.exit_code == 0 and "6 documents, 13 tokens" in ran.output  # 4 + 5 + 4 tokens
    assert json.loads((tmp_path / "out" / "study.json").read_text())["lacks"] == []
    assert "part of the corpus" not in (tmp_path / "out" / "report.html").read_text()
    assert CliRunner().invoke(app, ["cache", "verify", str(study.folder), str(tmp_path / "out")]).exit_code == 0


def test_one_that_is_being_captured_is_refused_with_how_far_it_is(study, tmp_path, make_record):
    write(study, 3, make_record)  # the corpus has grown, and its next block is written
    ran = analyze(study, tmp_path / "out")
    assert ran.exit_code == 1 and "its capture has not come to its end: 4 blocks are whole so far" in ran.output
    study.end(4)
    assert analyze(study, tmp_path / "out").exit_code == 0


def test_what_is_whole_is_measured_on_purpose_and_said_everywhere(study, tmp_path):
    gone("00000001.counts")(study)
    ran = CliRunner().invoke(app, ["analyze", str(study.folder), "--out", str(tmp_path / "out"), "--partial",
                                   "--metrics", "relative_load", "--resamples", "2"])  # fmt: skip
    said = "These numbers are of a part of the corpus only: blocks/00000001.counts is gone."
    assert ran.exit_code == 0 and said in ran.stderr and "4 documents, 8 tokens" in ran.stdout
    assert json.loads((tmp_path / "out" / "study.json").read_text())["lacks"] == ["blocks/00000001.counts is gone"]
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_a_page_says_what_a_study_lacks(study, tmp_path):
    place = tmp_path / "studies" / ("a" * 16)
    place.mkdir(parents=True)
    write_manifest(place, StudyManifest(id="a" * 16, name="mine", model="small", state="done"))
    shutil.copytree(study.folder, place / CAPTURED)
    assert read_study(place.name, place).notice == ""
    (place / CAPTURED / "end.json").unlink()
    assert read_study(place.name, place).notice == "", "an order that is done says it too"
    (place / CAPTURED / "blocks" / "00000002.json").unlink()
    (place / CAPTURED / "blocks" / "00000000.json").unlink()
    assert read_study(place.name, place).notice.endswith("of a part of the corpus only: block 0 is not there.")
    assert analyze(StudyFolder.open(place / CAPTURED), place / ANALYSED, "--partial").exit_code == 0
    source = read_study(place.name, place)
    assert "part of the corpus only: block 0 is not there; its capture has not come to its end" in source.notice
    assert measure(source, "relative_load").documents == 2


def test_a_page_says_that_the_routes_of_an_analysed_study_are_no_longer_whole(study, tmp_path):
    place = tmp_path / "studies" / ("b" * 16)
    shutil.copytree(study.folder, place / CAPTURED)
    assert analyze(study, place / ANALYSED).exit_code == 0
    (place / CAPTURED / "blocks" / "00000001.routes").unlink()
    assert read_study(place.name, place).notice == (
        "The routes of this study are no longer whole, and what is computed now lacks some: "
        "blocks/00000001.routes is gone."
    )


def test_a_study_of_the_first_version_is_read_once_its_end_is_known(study, tmp_path):
    for each in (study.folder / RECIPE, *study.blocks_folder.glob("*.json")):
        said = json.loads(each.read_text())
        del said["checksum"]
        each.write_text(json.dumps(said | ({"version": 1} if each.name == RECIPE else {})))
    (study.folder / "end.json").unlink()
    assert "not come to its end" in analyze(study, tmp_path / "out").output
    StudyFolder.open(study.folder).end(3)
    assert analyze(study, tmp_path / "out").exit_code == 0
