"""The folder of results: looked at before the work, complete or as it was after it, and clean after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gatescope.cache.study import StudyFolder
from gatescope.cache.temporary import LOCK
from gatescope.cli.main import app
from gatescope.studies.out_folder import NEW, OLD, PREFIX, clean, replacing
from tests.small_studies import analyze, captured

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from gatescope.studies.out_folder import replacing
with replacing(Path(sys.argv[1])) as new:
    (new / "study.json").write_text("{}")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def study(tmp_path, make_record) -> StudyFolder:
    (tmp_path / "captured").mkdir()
    return captured(tmp_path / "captured" / "study", make_record)


def left(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*"))


HOLDERS = {
    "holds other files": lambda out: (out.mkdir(), (out / "notes.txt").write_text("mine")),
    "is a file": lambda out: out.write_text("mine"),
    "Not a directory": lambda out: out.parent.write_text("mine"),
}


@pytest.mark.parametrize(("said", "make"), HOLDERS.items(), ids=HOLDERS)
def test_what_may_not_be_written_is_told_before_a_model_is_looked_for(tmp_path, said, make):
    out = tmp_path / "out" if said != "Not a directory" else tmp_path / "file" / "out"
    make(out)
    ran = CliRunner().invoke(app, ["analyze", "probe", "--out", str(out), "--model", "/no/such/model"])
    assert ran.exit_code in (1, 2) and said in ran.output and "/no/such/model" not in ran.output, ran.output
    assert left(tmp_path) == []


def test_an_older_study_is_replaced_and_a_new_folder_made_with_those_above_it(study, tmp_path):
    for out in (tmp_path / "out", tmp_path / "out", tmp_path / "a" / "b" / "out"):
        assert analyze(study, out).exit_code == 0
        assert (out / "study.json").exists() and left(out.parent) == []


def writer(out: Path) -> "subprocess.Popen[str]":
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = subprocess.Popen([sys.executable, "-c", WRITER, str(out)], cwd=ROOT, **pipes)
    assert started.stdout.readline() == "writing\n"
    return started


def test_what_a_killed_writer_left_goes_when_the_next_one_comes_and_a_living_one_keeps_its_own(study, tmp_path):
    with writer(tmp_path / "first") as killed, writer(tmp_path / "second") as living:
        killed.kill()
        killed.wait()
        assert len(left(tmp_path)) == 2
        assert analyze(study, tmp_path / "third").exit_code == 0
        assert len(left(tmp_path)) == 1
        living.communicate("")
        assert living.returncode == 0 and (tmp_path / "second" / "study.json").exists()
    assert left(tmp_path) == [] and not (tmp_path / "first").exists()


def test_a_writer_killed_between_its_last_two_steps_is_finished_for_it(tmp_path):
    """The older study was moved away, and the new one, complete, had not taken its place yet."""
    dead = tmp_path / f"{PREFIX}abcd"
    for name in (NEW, OLD):
        (dead / name).mkdir(parents=True)
        (dead / name / "study.json").write_text(name)
    (dead / LOCK).write_text("out")
    clean(tmp_path)
    assert left(tmp_path) == [] and (tmp_path / "out" / "study.json").read_text() == NEW


def test_folders_without_a_lock_go_by_their_age_and_others_stay(tmp_path):
    old, young, other = (tmp_path / name for name in (f"{PREFIX}old", f"{PREFIX}young", ".other"))
    for folder in (old, young, other):
        folder.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(other, (time.time() - 7200,) * 2)
    with replacing(tmp_path / "out") as new:
        (new / "study.json").write_text("{}")
    assert not old.exists() and young.exists() and other.exists()


def test_an_import_that_is_interrupted_says_what_is_kept_and_goes_on(tmp_path):
    tokens = 200_000
    ids = np.stack([np.arange(tokens) % 8, (np.arange(tokens) + 1) % 8], 1)[:, None].astype(np.uint8)
    np.savez(tmp_path / "trace.npz", ids=ids, layer_experts=8, document=np.arange(tokens) // 100)
    command = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command += "from gatescope.cli.main import main; main()"
    words = [sys.executable, "-c", command, "import", tmp_path / "trace.npz", "--out", tmp_path / "study"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*map(str, words)], cwd=ROOT, text=True, **pipes) as ran:
        until = time.monotonic() + 100
        while not list(tmp_path.glob("study/blocks/*.json")) and time.monotonic() < until and ran.poll() is None:
            time.sleep(0.02)
        ran.send_signal(signal.SIGINT)
        _, said = ran.communicate(timeout=100)
    assert ran.returncode == 130 and "the same command goes on with what is whole" in said, said
    assert "nothing was written" not in said and "Traceback" not in said
    study = StudyFolder.open(tmp_path / "study")
    assert 0 < len(study.finished()) < 5 and "not come to its end" in study.lacking()[0]
