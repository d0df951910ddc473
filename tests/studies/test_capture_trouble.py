"""Captured studies under trouble: torn files, full disks, changed corpora and models, too little memory."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.cache.study import RECIPE, StudyFolder
from gatescope.hooks import CaptureOptions, load_model
from gatescope.routing.errors import ModelMemoryError
from gatescope.routing.record import Document
from gatescope.studies import blocks
from gatescope.studies.capturing import capture_study
from gatescope.studies.plan import Plan
from tests.studies.captures import GOOD, accounted, command, contents, line

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of 4 documents, so that a small corpus has several."""
    monkeypatch.setattr(blocks, "MOST_DOCUMENTS", 4)


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Ten documents: blocks of 4, 4 and 2."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(line(number) for number in range(10)), encoding="utf-8")
    return path


DAMAGES = {
    "a truncated part": ("00000001.routes", lambda path: os.truncate(path, 99), "00000001.routes has 99 of"),
    "a missing part": ("00000001.counts", Path.unlink, "00000001.counts is gone"),
    "a torn description": ("00000001.json", lambda path: os.truncate(path, 30), "00000001.json cannot be read"),
    "an empty part": ("00000002.counts", lambda path: os.truncate(path, 0), "00000002.counts has 0 of"),
}


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_torn_is_named_by_the_next_run_and_mended(corpus, tiny_model, tmp_path, name, damage, said):
    study = tmp_path / "study"
    assert command(corpus, tiny_model, study).exit_code == 0
    whole = contents(study)
    damage(study / "blocks" / name)
    ran = command(corpus, tiny_model, study)
    assert ran.exit_code == 0 and "2 blocks were there already" in ran.output, ran.output
    assert "found: " in ran.output and said in ran.output
    assert contents(study) == whole


def test_one_bit_is_found_by_verifying_set_aside_and_mended(corpus, tiny_model, tmp_path):
    study = tmp_path / "study"
    assert command(corpus, tiny_model, study).exit_code == 0
    whole, bad = contents(study), study / "blocks" / "00000002.routes"
    flipped = bytearray(bad.read_bytes())
    flipped[len(flipped) // 3] ^= 8
    bad.write_bytes(flipped)
    assert "3 blocks were there already" in command(corpus, tiny_model, study).output  # its length is what it was
    ran = command(corpus, tiny_model, study, "--verify")
    assert ran.exit_code == 0 and "2 blocks were there already" in ran.output
    assert re.search(r"found: block 2 of .*00000002\.routes has .* checksum does not match; set aside in", ran.output)
    assert (study / "damaged" / bad.name).read_bytes() == flipped and contents(study) == whole


def test_a_foreign_file_is_named_and_left_alone(corpus, tiny_model, tmp_path):
    study = tmp_path / "study"
    assert command(corpus, tiny_model, study).exit_code == 0
    (study / "blocks" / "notes.txt").write_text("mine")
    ran = command(corpus, tiny_model, study)
    assert ran.exit_code == 0 and "notes.txt is no file of a study" in ran.output
    assert (study / "blocks" / "notes.txt").read_text() == "mine"


def test_a_recipe_of_a_newer_version_and_a_broken_one_end_the_run_and_stay(corpus, tiny_model, tmp_path):
    study = tmp_path / "study"
    assert command(corpus, tiny_model, study).exit_code == 0
    recipe = json.loads((study / RECIPE).read_text())
    for content, said in ((json.dumps({**recipe, "version": 9}), "is of version 9"), ("{", "cannot be read")):
        (study / RECIPE).write_text(content)
        ran = command(corpus, tiny_model, study)
        assert ran.exit_code == 1 and said in ran.output, ran.output
        assert (study / RECIPE).read_text() == content


def test_a_study_made_otherwise_is_refused_with_what_differs(corpus, tiny_model, tmp_path):
    study, other = tmp_path / "study", tmp_path / "other"
    assert command(corpus, tiny_model, study).exit_code == 0
    before = contents(study)
    shutil.copytree(tiny_model, other / tiny_model.name)
    changed = load_model(tiny_model, device="cpu").model
    with torch.no_grad():
        changed.model.layers[0].mlp.gate.weight[0, 0] += 1
    changed.save_pretrained(other / tiny_model.name)
    shutil.copy(corpus, tmp_path / "same.jsonl")
    for ran, said in (
        (command(corpus, other / tiny_model.name, study), r"otherwise: fingerprint was '\w+' and is '\w+'$"),
        (command(corpus, tiny_model, study, "--detail", "ids"), r"otherwise: detail was 'weights' and is 'ids'$"),
        (
            command(tmp_path / "same.jsonl", tiny_model, study),
            r"otherwise: corpus was '.*texts.* and is '.*same\.jsonl'$",
        ),
        (command(corpus, tiny_model, study, "--long", "skip"), r"long was 'split' and is 'skip'"),
        (command(corpus, tiny_model, study, "--scores", 0.5), r"otherwise: scores was 0.0 and is 0.5$"),
        (command(corpus, tiny_model, study, "--batch-tokens", 64), r"batch_tokens was 128 and is 64$"),
    ):
        assert ran.exit_code == 2 and re.search(said, ran.output, re.MULTILINE), ran.output
    assert contents(study) == before


def test_lines_added_at_the_end_are_captured_as_if_they_had_been_there(corpus, tiny_model, tmp_path):
    """The last block held 2 of 4 documents: it is captured again with 2 more, and a new one follows."""
    assert command(corpus, tiny_model, tmp_path / "grown").exit_code == 0
    with corpus.open("a") as file:
        file.writelines(line(number) for number in range(10, 14))
    ran = command(corpus, tiny_model, tmp_path / "grown")
    assert ran.exit_code == 0 and "4 of 4 blocks" in ran.output and "2 blocks were there already" in ran.output
    assert command(corpus, tiny_model, tmp_path / "fresh").exit_code == 0
    assert contents(tmp_path / "grown") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("edited", [0, 5, 9])
def test_a_line_that_was_edited_in_a_finished_block_ends_the_run(corpus, tiny_model, tmp_path, edited):
    assert command(corpus, tiny_model, tmp_path / "study").exit_code == 0
    before, lines = contents(tmp_path / "study"), corpus.read_text().splitlines(keepends=True)
    lines[edited] = line(edited, "Another text.")
    corpus.write_text("".join(lines))
    ran = command(corpus, tiny_model, tmp_path / "study")
    assert ran.exit_code == 2, ran.output
    assert f"block {edited // 4} was captured from other texts than the corpus holds there now" in ran.output
    assert contents(tmp_path / "study") == before


@pytest.mark.parametrize(("left", "said"), [(9, "block 2 was captured from other texts"), (8, "ends before block 2")])
def test_a_corpus_that_lost_its_end_ends_the_run(corpus, tiny_model, tmp_path, left, said):
    assert command(corpus, tiny_model, tmp_path / "study").exit_code == 0
    corpus.write_text("".join(corpus.read_text().splitlines(keepends=True)[:left]))
    ran = command(corpus, tiny_model, tmp_path / "study")
    assert ran.exit_code == 2 and said in ran.output, ran.output


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True).returncode == 0


COMMAND = "from gatescope.studies import blocks; blocks.MOST_DOCUMENTS = 4; from gatescope.cli.main import main; main()"
ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from typer.testing import CliRunner
from gatescope.cli.main import app
from gatescope.studies import blocks

blocks.MOST_DOCUMENTS = 4
disk, corpus, model = sys.argv[1:]
arguments = ["capture", corpus, "--model", model, "--out", f"{disk}/study", "--batch-tokens", "128"]
for turn in range(2):
    done = CliRunner().invoke(app, arguments)
    print(f"ended with {done.exit_code}", len(list(Path(disk).rglob("*.tmp"))), done.output, sep="\\n")
    Path(disk, "ballast").unlink(missing_ok=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not _may_mount(), reason="needs leave to mount in a user namespace (unshare --user --mount)")
def test_a_disk_that_fills_ends_the_run_and_the_same_command_goes_on(corpus, tiny_model, tmp_path):
    assert command(corpus, tiny_model, tmp_path / "whole").exit_code == 0
    block = sum(len(each) for name, each in contents(tmp_path / "whole").items() if name.startswith("00000000"))
    (tmp_path / "disk").mkdir()
    room = block * 3 // 2 + (16 << 10)  # for one block and a half
    ballast = f'head -c {(8 << 20) - room} /dev/zero > "$1/ballast"'
    script = (
        f'mount -t tmpfs -o size=8m tmpfs "$1" && {ballast} && "$2" -c "$3" "$1" "$4" "$5" && cp -r "$1/study" "$6"'
    )
    given = [tmp_path / "disk", sys.executable, ON_A_SMALL_DISK, corpus, tiny_model, tmp_path / "study"]
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *map(str, given)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    first, _, second = ran.stdout.partition("ended with 0")
    assert first.startswith("ended with 1\n0\n"), ran.stdout + ran.stderr  # no temporary file is left
    assert "No space left on device" in first and "run the same command again" in first, first
    assert re.search(r"[12] blocks were there already", second), ran.stdout
    read = [len(StudyFolder.open(tmp_path / name).finished()) for name in ("whole", "study")]
    assert read == [3, 3] and list(StudyFolder.open(tmp_path / "study").verify()) == []
    assert accounted(tmp_path / "study") == accounted(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_how_to_go_on(corpus, tiny_model, tmp_path):
    corpus.write_text("".join(line(number) for number in range(2000)))
    listens = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # also behind a shell's &
    arguments = [sys.executable, "-c", listens + COMMAND, "capture", corpus, "--model", tiny_model]
    arguments += ["--out", tmp_path / "study", "--batch-tokens", "128"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*map(str, arguments)], cwd=ROOT, text=True, **pipes) as ran:
        until = time.monotonic() + 200
        while not list(tmp_path.glob("study/blocks/*.json")) and time.monotonic() < until and ran.poll() is None:
            time.sleep(0.05)
        ran.send_signal(signal.SIGINT)
        _, said = ran.communicate(timeout=90)
    assert ran.returncode == 130 and "the same command goes on" in said and "Traceback" not in said, said
    study = StudyFolder.open(tmp_path / "study")
    assert study.finished() and list(study.verify()) == [] and study.troubles() == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--engine", "abacus"), "--engine abacus"),
        (("--detail", "all"), "--detail all"),
        (("--long", "wrap"), "--long wrap"),
        (("--bad", "keep"), "--bad keep"),
        (("--shard", "3/2"), "--shard 3/2"),
        (("--new-tokens", 510), "510 tokens to generate"),
        (("--detail", "counts", "--scores", 0.1), "with counts alone"),
    ],
)
def test_options_that_make_no_study_are_refused_before_one_is_begun(corpus, tiny_model, tmp_path, more, said):
    ran = command(corpus, tiny_model, tmp_path / "study", *more)
    assert ran.exit_code == 2 and said in ran.output, ran.output
    assert not (tmp_path / "study" / "blocks").exists() or not list((tmp_path / "study" / "blocks").iterdir())


class Small:
    """A device with room for so many places at once: more, and the model's pass runs out of memory."""

    def __init__(self, model, places: int) -> None:
        self.passes: list[tuple[int, ...]] = []
        self.places = places
        self.handle = model.model.register_forward_pre_hook(self.check, with_kwargs=True)

    def check(self, _module, args, kwargs) -> None:
        shape = tuple((kwargs.get("input_ids") if not args else args[0]).shape)
        self.passes.append(shape)
        if shape[0] * shape[1] > self.places:
            raise torch.OutOfMemoryError(f"{shape} do not fit")


def captured(model, folder, documents) -> StudyFolder:
    plan = Plan(options=CaptureOptions(), batch_tokens=4096)
    study = StudyFolder.create(folder, plan.recipe(model, "made"))
    capture_study(model, iter(documents), study, plan)
    return study


@pytest.fixture
def small(model):
    made: list[Small] = []

    def make(places: int) -> Small:
        made.append(Small(model, places))
        return made[-1]

    yield make
    for each in made:
        each.handle.remove()


def test_a_batch_beyond_memory_is_halved_until_it_fits_and_routes_the_same(model, small, tmp_path):
    documents = [Document(f"{GOOD} " * (1 + n % 5), id=str(n)) for n in range(12)]
    most = max(model.count_tokens(document.text) for document in documents)
    whole = captured(model, tmp_path / "whole", documents)
    device = small(most)
    study = captured(model, tmp_path / "study", documents)
    refused = [shape for shape in device.passes if shape[0] * shape[1] > most]
    assert refused and all(shape[0] > 1 for shape in refused)
    for number, block in study.finished().items():
        halved, plain = study.routes(block), whole.routes(whole.finished()[number])
        np.testing.assert_array_equal(halved.token_t, plain.token_t)
        np.testing.assert_array_equal(halved.ids_tlk, plain.ids_tlk)
        np.testing.assert_allclose(halved.weight_tlk, plain.weight_tlk, rtol=2**-10, atol=2**-14)


def test_a_document_that_never_fits_is_named_and_what_came_before_it_is_kept(model, small, tmp_path):
    large = Document("router " * 60, id="the large one", source="made")
    device, documents = small(50), [Document("few words", id=str(n)) for n in range(9)] + [large]
    with pytest.raises(ModelMemoryError, match="the large one"):
        captured(model, tmp_path / "study", documents)
    assert list(StudyFolder.open(tmp_path / "study").finished()) == [0, 1]
    device.handle.remove()
    study = captured(model, tmp_path / "study", documents)
    assert [block.documents for block in study.finished().values()] == [4, 4, 2] and study.troubles() == []
