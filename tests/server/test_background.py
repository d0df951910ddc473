"""Studies in the background, with a real model: what comes out, who goes first, cancel, go on, crash and failure."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gatescope.analysis.metrics import METRICS
from gatescope.cache.schema import decode
from gatescope.cache.store import Store
from gatescope.cache.study import ROUTES, StudyFolder, is_study
from gatescope.corpora import probe
from gatescope.hooks import capture_corpus
from gatescope.routing import Document
from gatescope.routing.errors import CaptureNotFoundError, OptionError, StorageFullError
from gatescope.server.background import Studies
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.jobs import JobQueue, Phase
from gatescope.server.measures import measure
from gatescope.server.memo_cache import invalidate
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import load_settings
from gatescope.server.sources import ANALYSED, CAPTURED, read_study
from gatescope.server.study_blocks import block_characters, blocks, plan_for
from gatescope.server.study_progress import StudyProgress
from gatescope.studies.capturing import capture_block
from gatescope.studies.compute import Chosen
from gatescope.studies.estimate import length_of, speed_of
from gatescope.studies.manifest import TEXTS, StudyManifest, now, read_manifest, read_texts, write_manifest, write_texts
from gatescope.studies.results import NAME as RESULTS
from gatescope.studies.results import read_results

FEW = Chosen(metrics=("load_gini",), by=(), resamples=20)
ID, OTHER = "studyaaaaaaaaaaa", "studybbbbbbbbbbb"
TEXTS_READ = [*(document for document in probe() if document.domain in ("law", "code"))][:12]
PATIENCE = 240
"""Seconds after which what should have happened never will, on a machine however busy."""


@pytest.fixture(scope="module")
def worker(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    made = ModelWorker(
        str(tiny_model), settings=load_settings(cache_dir=folder), capture_cache=CaptureCache(Store(folder))
    )
    assert made.loading.wait(PATIENCE)
    yield made
    made.close()


@pytest.fixture
def studies(worker, tmp_path):
    made = Studies(tmp_path, lambda _name: worker, limit=4, most_tokens=100_000, drop=invalidate, chosen=FEW)
    yield made
    made.close()
    invalidate(ID)


def order(id: str = ID, *, characters: int = 2000, documents=TEXTS_READ, **more) -> StudyManifest:
    made = {"name": "hand-made", "model": "tiny", "documents": len(documents), "created": now()}
    return StudyManifest(id=id, block_characters=characters, **made | more)


def finished(folder: Path) -> dict:
    captured = folder / ID / CAPTURED
    return StudyFolder.open(captured).finished() if is_study(captured) else {}


def wait_until(is_so, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def same_routes(one, other) -> bool:
    """Whether two records say the same of the same texts; batches differ, so weights may by rounding."""
    near = np.allclose(one.weight_tlk.astype(float), other.weight_tlk.astype(float), atol=2e-3)
    return near and np.array_equal(one.token_t, other.token_t) and (one.ids_tlk == other.ids_tlk).mean() > 0.999


def test_a_study_is_captured_analysed_and_read_like_any_other(studies, worker):
    job = studies.begin(order(), TEXTS_READ)
    assert job.wait(PATIENCE)
    assert job.phase is Phase.DONE, job.error
    folder = studies.folder / ID
    assert read_manifest(folder).state == "done"
    assert not (folder / TEXTS).exists()
    source = read_study(ID, folder)
    assert (source.name, source.kind, source.is_cut) == ("hand-made", "corpus", False)
    assert [each.domain for each in source.record.documents] == [each.domain for each in TEXTS_READ]
    whole = capture_corpus(worker.model, TEXTS_READ)
    assert same_routes(source.record, whole)
    gini = measure(source, "load_gini")
    assert gini.low is not None  # it was analysed, with intervals
    assert gini.tokens == np.count_nonzero(whole.flag_t == 0)
    assert (folder / ANALYSED / "report.html").exists()
    assert studies.live(ID) is None
    assert studies.doing(ID) is None


@pytest.mark.slow
def test_every_metric_of_a_study_is_analysed_unless_told_otherwise(worker, tmp_path):
    made = Studies(tmp_path, lambda _name: worker, limit=4, most_tokens=100_000)
    assert made.begin(order(), TEXTS_READ[:3] + TEXTS_READ[-3:]).wait(PATIENCE)
    done = read_results(tmp_path / ID / ANALYSED / RESULTS)
    skipped = json.loads((tmp_path / ID / ANALYSED / "study.json").read_text())["skipped"]
    assert {name for name, _ in done} | {name.partition(".")[0] for name in skipped} >= set(METRICS)
    assert ("relative_load", "") in done
    made.close()


@pytest.mark.parametrize(("record", "has_weights", "has_scores"), [("ids", False, False), ("scores", True, True)])
def test_what_is_recorded_is_what_was_asked_for(studies, record, has_weights, has_scores):
    assert studies.begin(order(record=record), TEXTS_READ[:3]).wait(PATIENCE)
    found = read_study(ID, studies.folder / ID).record
    assert (found.weight_tlk is not None, found.logit_tle is not None) == (has_weights, has_scores)


def test_a_study_that_is_cancelled_keeps_its_blocks_and_goes_on_from_there(studies, worker, monkeypatch):
    let = threading.Event()

    def captured(*given):
        """A block; the next one waits behind what is in the queue before it."""
        if not let.is_set():
            worker.queue.submit("held", lambda _tick: let.wait(PATIENCE), watcher=worker.name)
        return capture_block(*given)

    monkeypatch.setattr("gatescope.server.background.capture_block", captured)
    job = studies.begin(order(), TEXTS_READ)
    wait_until(lambda: len(finished(studies.folder)) == 1)
    studies.cancel(ID)
    assert job.wait(PATIENCE)
    let.set()
    assert job.phase is Phase.CANCELLED
    assert read_manifest(studies.folder / ID).state == "stopped"
    kept = {path: path.stat().st_mtime_ns for path in (studies.folder / ID / CAPTURED / "blocks").glob("*.routes")}
    assert len(kept) == 1 < len(list(blocks(TEXTS_READ, 2000, 0)))

    assert studies.go_on(ID).wait(PATIENCE)
    assert read_manifest(studies.folder / ID).state == "done"
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in next(iter(kept)).parent.glob("*.routes")}.items()
    assert same_routes(read_study(ID, studies.folder / ID).record, capture_corpus(worker.model, TEXTS_READ))


def test_what_a_study_is_at_is_counted_where_its_worker_begins_before_the_caller_goes_on(studies, monkeypatch):
    begun, let, submit = threading.Event(), threading.Event(), studies.queue.submit

    def late(*given, **more):
        """The caller is put off, as on a busy machine, until the worker has begun and had time to go on."""
        job = submit(*given, **more)
        wait_until(lambda: read_manifest(studies.folder / ID).state == "running")
        begun.wait(0.3)
        return job

    def captured(model, texts, plan):
        if texts.number == 1:
            begun.set()
            let.wait(PATIENCE)
        return capture_block(model, texts, plan)

    monkeypatch.setattr(studies.queue, "submit", late)
    monkeypatch.setattr("gatescope.server.background.capture_block", captured)
    job = studies.begin(order(), TEXTS_READ)
    assert begun.wait(PATIENCE)
    try:
        assert studies.doing(ID).documents > 0
    finally:
        let.set()
    assert job.wait(PATIENCE)


def test_a_study_without_a_recipe_yet_is_not_found(studies):
    (studies.folder / ID / CAPTURED / "blocks").mkdir(parents=True)
    with pytest.raises(CaptureNotFoundError):
        read_study(ID, studies.folder / ID)


def test_a_prompt_waits_for_one_block_and_never_for_a_study(studies, worker):
    let, at_prompt = threading.Event(), []
    gate = worker.queue.submit("gate", lambda _tick: let.wait(PATIENCE), watcher=worker.name)
    wait_until(lambda: gate.phase is Phase.RUNNING)
    study = studies.begin(order(), TEXTS_READ)
    wait_until(lambda: len(worker.queue._waiting) == 1)  # what the study asks for waits behind the gate
    prompt = worker.queue.submit(
        "prompt", lambda _tick: at_prompt.append(len(finished(studies.folder))), watcher=worker.name
    )
    let.set()
    assert prompt.wait(PATIENCE)
    assert gate.phase is Phase.DONE
    assert at_prompt == [0]  # the study's first question went before it, no block did
    assert study.wait(PATIENCE)
    assert study.phase is Phase.DONE


def test_studies_run_one_after_another_and_a_waiting_one_can_be_cancelled(studies, worker):
    let = threading.Event()
    worker.queue.submit("gate", lambda _tick: let.wait(PATIENCE), watcher=worker.name)
    first, second = (studies.begin(order(id), TEXTS_READ[:2]) for id in (ID, OTHER))
    assert studies.queue.position(second) == 1
    studies.cancel(OTHER)
    assert second.phase is Phase.CANCELLED
    assert read_manifest(studies.folder / OTHER).state == "stopped"
    let.set()
    assert first.wait(PATIENCE)
    assert first.phase is Phase.DONE
    assert not (studies.folder / OTHER / CAPTURED).exists()


def test_a_study_whose_worker_is_first_shows_how_far_it_is(worker, tmp_path):
    """The worker runs the whole study before `begin` comes back from the queue."""

    class WaitingQueue(JobQueue):
        def submit(self, key, work, *, watcher):
            job = super().submit(key, work, watcher=watcher)
            wait_until(lambda: finished(tmp_path))
            return job

    made = Studies(tmp_path, lambda _name: worker, limit=4, most_tokens=100_000, chosen=FEW)
    made.queue.close()
    made.queue = WaitingQueue(limit=4)
    made.begin(order(), TEXTS_READ)
    doing = made.doing(ID)
    assert doing is None or doing.documents > 0
    assert made._doing[ID].documents > 0
    assert made._live[ID].wait(PATIENCE)
    made.close()


def test_a_study_cancelled_while_its_model_waits_to_load_leaves_the_loading_to_others(tiny_model, tmp_path):
    let = threading.Event()

    class SlowTracer(ModelWorker):
        def _load(self):
            self.queue.submit("gate", lambda _tick: let.wait(60), watcher=self.name)
            return super()._load()

    slow = SlowTracer(
        str(tiny_model),
        settings=load_settings(cache_dir=tmp_path / "cache"),
        capture_cache=CaptureCache(Store(tmp_path / "cache")),
    )
    made = Studies(tmp_path / "studies", lambda _name: slow, limit=4, most_tokens=100_000, chosen=FEW)
    job = made.begin(order(), TEXTS_READ[:2])
    wait_until(lambda: (doing := made.doing(ID)) is not None and doing.what == "reading the model")
    made.cancel(ID)
    assert job.wait(30)
    assert job.phase is Phase.CANCELLED
    let.set()
    assert slow.loading.wait(60)
    assert slow.loading.phase is Phase.DONE
    assert slow.model is not None
    made.close()
    slow.close()


def test_a_study_that_outgrows_its_room_ends_and_goes_on_when_there_is_more(studies):
    rooms = [None, StorageFullError("full", expected="room", do="make some")]

    def check_room() -> None:
        if rooms and (answer := rooms.pop(0)) is not None:
            raise answer

    studies._check_room = check_room
    assert studies.begin(order(), TEXTS_READ).wait(PATIENCE)
    said = read_manifest(studies.folder / ID)
    assert (said.state, said.error.found) == ("failed", "full")
    assert len(finished(studies.folder)) == 2
    assert studies.go_on(ID).wait(PATIENCE)
    assert read_manifest(studies.folder / ID).state == "done"


def test_the_same_study_begun_twice_is_one(studies):
    first = studies.begin(order(), TEXTS_READ[:3])
    assert studies.begin(order(name="again"), TEXTS_READ[:3]) is first
    assert first.wait(PATIENCE)
    assert read_manifest(studies.folder / ID).name == "hand-made"


def test_a_model_that_cannot_be_loaded_fails_in_three_parts_and_can_be_tried_again(worker, tmp_path):
    broken = ModelWorker(
        str(tmp_path / "nothing"), settings=load_settings(cache_dir=tmp_path), capture_cache=worker._capture_cache
    )
    models = [broken]
    made = Studies(tmp_path / "studies", lambda _name: models[-1], limit=4, most_tokens=100_000)
    job = made.begin(order(), TEXTS_READ[:2])
    assert job.wait(PATIENCE)
    assert job.phase is Phase.FAILED
    said = read_manifest(made.folder / ID)
    assert said.state == "failed"
    assert all((said.error.found, said.error.expected, said.error.do))
    models.append(worker)
    assert made.go_on(ID).wait(PATIENCE)
    after = read_manifest(made.folder / ID)
    assert (after.state, after.error) == ("done", None)
    broken.close()
    made.close()


def test_a_study_with_more_tokens_than_a_visitor_may_have_is_ended(worker, tmp_path):
    made = Studies(tmp_path, lambda _name: worker, limit=4, most_tokens=300)
    assert made.begin(order(), TEXTS_READ).wait(PATIENCE)
    said = read_manifest(tmp_path / ID)
    assert said.state == "failed"
    assert "at most 300" in said.error.expected
    made.close()


def test_what_is_no_study_cannot_go_on(studies):
    with pytest.raises(OptionError, match="no study"):
        studies.go_on(OTHER)


KILLED = """
import sys
import threading
from gatescope.server.settings import load_settings
from gatescope.server import background
from gatescope.server.background import Studies
from gatescope.studies.manifest import StudyManifest, read_texts
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.model_worker import ModelWorker
from gatescope.cache.store import Store
from pathlib import Path
model, folder, id = sys.argv[1:]
capture_block = background.capture_block

def captured(model, texts, plan):
    if texts.number == 2:
        threading.Event().wait()  # until it is killed
    return capture_block(model, texts, plan)

background.capture_block = captured
capture_cache = CaptureCache(Store(folder + "/cache"))
worker = ModelWorker(model, settings=load_settings(cache_dir=Path(folder) / "cache"), capture_cache=capture_cache)
Studies(Path(folder), lambda name: worker, limit=4, most_tokens=100_000).go_on(id).wait()
"""


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_a_study_that_goes_on(studies, tiny_model, worker):
    folder = studies.folder / ID
    write_texts(folder, TEXTS_READ)
    write_manifest(folder, order(characters=400))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(tiny_model), str(studies.folder), ID]
    server = subprocess.Popen(command, cwd=root, env=environment | {"PYTHONPATH": str(root)})
    try:
        wait_until(lambda: len(finished(studies.folder)) == 2 or server.poll() is not None)
        assert server.poll() is None
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait(PATIENCE)
    assert read_manifest(folder).state == "running"  # nobody could say that it ended
    assert studies.go_on(ID).wait(PATIENCE)
    assert read_manifest(folder).state == "done"
    assert len(finished(studies.folder)) > 2
    assert same_routes(read_study(ID, folder).record, capture_corpus(worker.model, TEXTS_READ))


def test_texts_are_kept_to_the_letter(tmp_path):
    hostile = [
        Document('"\n\\\u2028 <b>=1', id="\ud83d", source="ä", domain="law", language="de", language_guessed=True)
    ]
    write_texts(tmp_path / ID, hostile)
    assert read_texts(tmp_path / ID) == tuple(hostile)


def test_an_order_reads_back_and_a_damaged_one_is_none(tmp_path):
    asked = order(understood=("a", "b")).failed(OptionError("found", expected="expected", do="do"))
    write_manifest(tmp_path / ID, asked)
    assert read_manifest(tmp_path / ID) == asked
    assert read_manifest(tmp_path / ID).error.do == "do"
    for damage in ("", "[]", "{}", '{"id": 1, "name": "x", "model": "y", "unknown": 1}'):
        (tmp_path / ID / "order.json").write_text(damage)
        assert read_manifest(tmp_path / ID) is None
    assert read_manifest(tmp_path / "../x") is None


def test_blocks_hold_every_text_once_in_order_and_long_ones_alone():
    texts = [Document("x" * size, id=str(number)) for number, size in enumerate((30, 80, 200, 10, 10, 95))]
    found = list(blocks(texts, 100, 0))
    assert [[each.id for each in block.documents] for block in found] == [["0"], ["1"], ["2"], ["3", "4"], ["5"]]
    assert [block.number for block in found] == [0, 1, 2, 3, 4]
    assert [block.digest for block in found] == [block.digest for block in blocks(texts, 100, 0)]


def test_a_block_takes_the_model_two_seconds_within_bounds():
    assert block_characters(10_000) == 20_000
    assert (block_characters(1), block_characters(10**9)) == (2_000, 131_072)


def test_the_tokens_of_few_texts_are_counted_and_of_many_estimated(worker):
    few = TEXTS_READ[:5]
    exact = sum(worker.model.count_tokens(each.text) for each in few)
    assert length_of(worker.model, few) == (exact, 0, 0)
    many = probe()
    whole = sum(worker.model.count_tokens(each.text) for each in many)
    found = length_of(worker.model, many)
    assert 0 < found.off < 0.3 * whole
    assert abs(found.tokens - whole) < 2 * found.off
    assert length_of(worker.model, [Document("word " * 5000)]).too_long == 1
    assert length_of(worker.model, []) == (0, 0, 0)


def test_the_estimate_of_time_is_about_what_capturing_takes(worker, studies):
    """Within a factor of three: the machine has other work; ten times would be another order."""
    speed = speed_of(worker.model, TEXTS_READ, plan_for("weights", "split"))
    job = studies.begin(order(characters=131_072), TEXTS_READ)
    assert job.wait(PATIENCE)
    done = studies._doing[ID]
    assert 1 / 10 < speed.seconds(done.tokens) / done.seconds < 10  # a busy machine is slower in one of the two


@pytest.mark.slow
def test_the_time_of_a_pass_is_that_of_the_fastest(worker, monkeypatch):
    """Other work of the machine stalls the first timed pass for long; it says nothing of the model."""
    from gatescope.studies import estimate

    usual = speed_of(worker.model, TEXTS_READ, plan_for("weights", "split"))
    captured, calls = estimate.capture_block, []

    def stalled(*args):
        calls.append(1)
        if len(calls) % 3 == 2:
            time.sleep(1)
        return captured(*args)

    monkeypatch.setattr(estimate, "capture_block", stalled)
    found = speed_of(worker.model, TEXTS_READ, plan_for("weights", "split"))
    assert found.tokens_a_second > usual.tokens_a_second / 4


def test_what_is_written_at_the_end_is_told(studies):
    told, write = [], StudyProgress.begin

    def begin(doing, what):
        told.append((what, doing.is_writing))
        write(doing, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudyProgress, "begin", begin)
        assert studies.begin(order(), TEXTS_READ[:3]).wait(PATIENCE)
    written = [what for what, is_writing in told if is_writing]
    assert written[0] == "tables"
    assert written[-1] == "report"
    assert any(what.startswith("table load_gini") for what in written)


@pytest.mark.slow
def test_the_short_pass_tells_room_of_the_size_that_routes_take(worker, studies):
    speed = speed_of(worker.model, TEXTS_READ, plan_for("weights", "split"))
    assert speed.tokens_a_second > 0
    assert studies.begin(order(), TEXTS_READ).wait(PATIENCE)
    written = StudyFolder.open(studies.folder / ID / CAPTURED)
    tokens = sum(block.tokens for block in written.finished().values())
    routes = sum(block.parts[ROUTES][1] for block in written.finished().values())
    assert 0.5 < speed.bytes_a_token / (routes / tokens) < 2
    assert speed.seconds(1000) == pytest.approx(1000 / speed.tokens_a_second)
    assert decode(written.part(written.finished()[0], ROUTES)).tokens == written.finished()[0].tokens
