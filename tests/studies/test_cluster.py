"""The same study on a Ray cluster: real workers, one killed and one cut off, give the files that one process gives.

Run as a program, this file is the driver of that cluster: python test_cluster.py MODEL FOLDER.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.study import StudyFolder
from gatescope.cli.main import app
from gatescope.corpora import open_corpus
from gatescope.hooks import CaptureOptions, load_model
from gatescope.routing import Document
from gatescope.routing.errors import ModelNotFoundError, OptionError, PromptError
from gatescope.studies import blocks
from gatescope.studies import ray_cluster as on_ray
from gatescope.studies.adding_up import whole_tally
from gatescope.studies.blocks import Seen, Texts, cut
from gatescope.studies.capturing import capture_block, capture_study
from gatescope.studies.plan import Plan
from gatescope.studies.ray_worker import Replica, Worker
from gatescope.studies.run_blocks import Progress

ROOT = Path(__file__).parents[2]
BLOCKS, OF = 8, 2
TOO_LONG = 5
SECONDS = 850
"""After which the driver never ends; on a quiet machine it takes less than one."""
PLAN = Plan(options=CaptureOptions(), batch_tokens=256, long="stop")
pytestmark = pytest.mark.timeout(900)  # the first test with workers waits for the driver
ANY = Replica.of("sift-softmax", revision="", device="auto", dtype="auto")
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason=f"needs {on_ray.PACKAGE} (requirements-dev.txt)")


def rows(*, too_long: bool = False) -> list[str]:
    """A corpus of BLOCKS blocks of OF documents, as JSON Lines; if wished, one text of block TOO_LONG is too long."""
    texts = [" ".join(f"{number} times {n} is {number * n}," for n in range(12)) for number in range(BLOCKS * OF)]
    if too_long:
        texts[TOO_LONG * OF + 1] *= 20
    return [
        json.dumps({"id": f"d{number}", "text": text, "domain": "ab"[number % 2]}) for number, text in enumerate(texts)
    ]


def cut_off(process: int) -> None:
    """Break every connection between this process and another one."""
    import psutil

    far = {(each.raddr, each.laddr) for each in psutil.Process(process).net_connections("tcp")}
    near = {(each.laddr, each.raddr): each.fd for each in psutil.Process().net_connections("tcp") if each.raddr}
    for descriptor in [near[pair] for pair in near.keys() & far]:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.shutdown(socket.SHUT_RDWR)


def drive(model: Path, folder: Path) -> None:
    """One process, then the command with two workers of which one is killed and one cut off; told in a file.

    With the same workers, before they go: the same once more, when all is there already, and a run that fails. The one
    that is cut off is held before, so that it has been given blocks and has finished none when it happens.
    """
    blocks.MOST_DOCUMENTS, on_ray.LEAST_READ, on_ray.JOINED = OF, 2, 2
    corpus, told, capture = str(folder / "corpus.jsonl"), {}, on_ray.capture_on_cluster
    alone = load_model(model, device="cpu")
    study = StudyFolder.create(folder / "alone", PLAN.recipe(alone, corpus))
    told["alone"] = capture_study(alone, iter(open_corpus(corpus)), study, PLAN).tokens

    def watched(workers, documents, study, plan, *, share, on_progress):
        def strike(progress: Progress) -> None:
            on_progress(progress)
            if progress.tokens and "killed" not in told:
                told["killed"] = workers.places[-1]
                os.kill(told["killed"].process, signal.SIGKILL)
                cut_off(told["cut off"].process)
                os.kill(told["cut off"].process, signal.SIGCONT)

        workers.wait_for(2)
        told["cut off"] = workers.places[0]
        os.kill(told["cut off"].process, signal.SIGSTOP)
        done = capture(workers, documents, study, plan, share=share, on_progress=strike)
        again = capture(workers, open_corpus(corpus), study, plan)
        told["workers"], told["again"] = done.tokens, (again.tokens, again.there)
        failed = StudyFolder.create(folder / "failed", workers.ask(plan.recipe, corpus))
        try:
            capture(workers, open_corpus(folder / "too_long/corpus.jsonl"), failed, plan)
        except PromptError as error:
            told["error"] = error.found
        workers.wait_for(2)
        told["lost"], told["places"] = workers.lost, workers.places
        return done

    on_ray.capture_on_cluster = watched
    command = ["capture", corpus, "--out", str(folder / "workers"), "--engine", "ray", "--workers", "2"]
    command += ["--model", str(model), "--device", "cpu", "--long", "stop", "--batch-tokens", "256"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    told["said"], told["trouble"] = ran.stdout, ran.stderr
    (folder / "told.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model) -> Path:
    """What the driver left: three studies, the tally of one, and what it told."""
    path = tmp_path_factory.mktemp("cluster")
    (path / "corpus.jsonl").write_text("\n".join(rows()))
    (path / "too_long").mkdir()
    (path / "too_long/corpus.jsonl").write_text("\n".join(rows(too_long=True)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    environment["RAY_worker_niceness"] = "0"  # else workers come after all that the machine does beside
    command = [sys.executable, __file__, str(tiny_model), str(path)]
    done = subprocess.run(command, env=environment, cwd=path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "Ray writes nothing between our lines"
    return path


@pytest.fixture
def told(folder):
    return json.loads((folder / "told.json").read_text())


def files(study: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (study / "blocks").iterdir()}


@pytest.mark.slow
@needs_ray
@pytest.mark.usefixtures("told")
def test_workers_of_which_one_is_killed_and_one_cut_off_write_what_one_process_writes_bit_for_bit(folder):
    alone, workers = files(folder / "alone"), files(folder / "workers")
    assert sorted(workers) == [f"{n:08}.{part}" for n in range(BLOCKS) for part in ("counts", "json", "routes")]
    assert alone == workers
    assert (folder / "alone/capture.json").read_bytes() == (folder / "workers/capture.json").read_bytes()


@pytest.mark.slow
@needs_ray
def test_every_block_counts_once_and_the_lost_worker_is_replaced(told):
    assert told["workers"] == told["alone"] > 0
    assert told["lost"] == [told["killed"]]
    host, process = told["killed"]
    assert f"lost on the way, replaced, its blocks captured again: process {process} on {host}" in told["said"]
    assert len(told["places"]) == 2
    assert told["killed"] not in told["places"]


@pytest.mark.slow
@needs_ray
def test_the_worker_that_was_cut_off_is_told_of_and_stays(told):
    host, process = told["cut off"]
    assert f"process {process} on {host} cannot be reached" in told["trouble"]
    assert told["cut off"] in told["places"]


@pytest.mark.slow
@needs_ray
def test_a_text_that_cannot_be_captured_ends_the_run_with_its_block_named_and_the_others_finished(folder, told):
    assert told["error"].startswith(f"block {TOO_LONG}: ")
    assert f"d{TOO_LONG * OF + 1} " in told["error"]
    alone, failed = files(folder / "alone"), files(folder / "failed")
    whole = {int(name.partition(".")[0]) for name in failed}
    assert whole >= set(range(TOO_LONG)), "blocks before it were given out before it, and are finished"
    assert TOO_LONG not in whole
    assert failed == {name: content for name, content in alone.items() if int(name.partition(".")[0]) in whole}


@pytest.mark.slow
@needs_ray
def test_the_tree_of_tallies_is_the_tally_of_the_folder_bit_for_bit(folder):
    assert not list((folder / "alone").glob("counts-*")), "nothing kept: this one is added up here"
    alone = to_bytes(whole_tally(StudyFolder.open(folder / "alone")))
    assert [path.read_bytes() for path in (folder / "workers").glob("counts-*")] == [alone]
    assert to_bytes(whole_tally(StudyFolder.open(folder / "workers"))) == alone


@pytest.mark.slow
@needs_ray
def test_what_is_there_is_not_captured_again(told):
    assert told["again"] == [0, BLOCKS]


@pytest.mark.slow
@needs_ray
def test_the_command_says_who_works_and_what_was_done(told):
    assert "2 workers, each with 1 CPU thread" in told["said"]
    assert f"{BLOCKS} of {BLOCKS} blocks, {told['workers']:,} tokens" in told["said"]


def texts(count: int) -> Texts:
    return next(cut((Document(f"text {n}", f"d{n}") for n in range(count)), Seen()))


def test_a_worker_refuses_a_folder_that_its_machine_does_not_share(tiny_model, tmp_path):
    worker = Worker(Replica(source=tiny_model, revision="", device="cpu", dtype="auto"))
    found = worker.capture(texts(2), tmp_path / "elsewhere", PLAN)
    assert isinstance(found, OptionError)
    assert f"{tmp_path / 'elsewhere'} on {socket.gethostname()}" in found.found
    assert not (tmp_path / "elsewhere").exists()


def test_a_worker_refuses_to_go_on_with_a_study_of_another_model(tiny_model, tmp_path):
    worker = Worker(Replica(source=tiny_model, revision="", device="cpu", dtype="bfloat16"))
    recipe = PLAN.recipe(load_model(tiny_model, device="cpu", dtype="float32"), "corpus")
    StudyFolder.create(tmp_path / "study", recipe)
    found = worker.capture(texts(2), tmp_path / "study", PLAN)
    assert isinstance(found, OptionError)
    assert "dtype was 'float32' and is 'bfloat16'" in found.found


def test_a_block_that_a_worker_is_asked_for_again_is_captured_and_written_once(tiny_model, tmp_path, monkeypatch):
    """As when it cannot be reached for a while, and nobody knows whether it did what it was asked."""
    captured = []

    def slowly(model, texts, plan):
        captured.append(texts.number)
        time.sleep(0.2)
        return capture_block(model, texts, plan)

    monkeypatch.setattr("gatescope.studies.ray_worker.capture_block", slowly)
    worker = Worker(Replica(source=tiny_model, revision="", device="cpu", dtype="float32"))
    study = StudyFolder.create(tmp_path / "study", PLAN.recipe(load_model(tiny_model, device="cpu"), "corpus"))
    with ThreadPoolExecutor(max_workers=2) as both:
        one, other = both.map(lambda _turn: worker.capture(texts(2), study.folder, PLAN), range(2))
    assert one == other == study.block(0) == worker.capture(texts(2), study.folder, PLAN)
    assert captured == [0]
    longer = worker.capture(texts(3), study.folder, PLAN)
    assert longer == study.block(0) != one, "other texts under its number are another block"


def test_a_model_that_does_not_load_is_an_answer_with_the_machine_in_it(tmp_path):
    found = Worker(Replica(source=tmp_path / "none", revision="", device="cpu", dtype="auto")).start()
    assert isinstance(found, ModelNotFoundError)
    assert found.found == f"{tmp_path / 'none'} is not there (on {socket.gethostname()})"


GPU_NODE = {"CPU": 64.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "threads", "room"),
    [
        ([{"CPU": 2.0}], "auto", 0, 0, (1, 2, 0, 1)),
        ([{"CPU": 2.0}], "auto", 2, 0, (2, 1, 0, 2)),
        ([{"CPU": 8.0}, {"CPU": 8.0}], "cpu", 3, 0, (3, 4, 0, 4)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], "auto", 3, 0, (3, 4, 0, 3)),
        ([{"CPU": 8.0}], "auto", 4, 3, (4, 3, 0, 2)),
        ([{"CPU": 1.0}], "auto", 2, 0, (2, 1, 0, 1)),
        ([{"CPU": 4.0}, GPU_NODE, GPU_NODE], "auto", 0, 0, (16, 8, 1, 16)),
        ([GPU_NODE], "cuda", 12, 1, (12, 1, 1, 8)),
        ([GPU_NODE, {"CPU": 16.0, "GPU": 4.0}], "spread", 0, 1, (3, 1, 4, 3)),
        ([GPU_NODE], "cpu", 0, 0, (1, 64, 0, 1)),
    ],
)
def test_workers_take_a_gpu_each_or_share_the_processors(nodes, device, workers, threads, room):
    assert on_ray.room_for(nodes, device, workers, threads) == room


@pytest.mark.parametrize(
    ("nodes", "device", "threads", "found"),
    [
        ([{"CPU": 2.0}], "cpu", 4, "a worker of 4 threads, on machines of 2 CPUs at most"),
        ([{"CPU": 2.0}], "cuda", 0, "--device cuda on a cluster without GPUs"),
        ([GPU_NODE], "cuda:1", 0, "--device cuda:1 on a cluster"),
    ],
)
def test_what_has_no_room_is_refused(nodes, device, threads, found):
    with pytest.raises(OptionError) as refusal:
        on_ray.room_for(nodes, device, 0, threads)
    assert refusal.value.found == found


def test_without_ray_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError) as refusal, on_ray.cluster(ANY):
        pass
    pinned = [line for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if line.startswith("ray")]
    assert [refusal.value.do] == [f"pip install {pin}" for pin in pinned]


@needs_ray
def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", address := f"127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(OptionError) as refusal, on_ray.cluster(ANY):
            pass
    assert address in refusal.value.found
    assert "ray start --head" in refusal.value.do


if __name__ == "__main__":
    drive(Path(sys.argv[1]), Path(sys.argv[2]))
