"""`gatescope capture`: the same study however it is run, whatever is kept of it, in whatever batches."""

import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gatescope.analysis.counting import tally
from gatescope.analysis.tally.files import from_bytes, to_bytes
from gatescope.analysis.tally.tally import STATISTICS
from gatescope.cache.schema import decode
from gatescope.cache.study import COUNTS, ROUTES, SCORES, StudyFolder
from gatescope.cli.main import app
from gatescope.corpora import open_corpus
from gatescope.hooks import CaptureOptions, attach, capture, capture_corpus, find_batch_tokens, load_model
from gatescope.routing.errors import OptionError
from gatescope.routing.joined import joined
from gatescope.routing.record import Document
from gatescope.studies import blocks
from gatescope.studies.adding_up import first_routes, whole_tally
from gatescope.studies.blocks import Seen, Share, cut
from gatescope.studies.capturing import capture_study
from gatescope.studies.packing import Skipped, packed, sample_for_router_logits
from gatescope.studies.plan import Plan, longest_text

ROOT = Path(__file__).parents[2]
WORDS = "quartz violin harbour kettle magnet orchard pebble saffron thimble walnut zephyr defendant liable".split()
PLAN = Plan(options=CaptureOptions(), batch_tokens=128)


def texts(number: int) -> list[Document]:
    """Documents of 1 to 40 words, of two domains and two languages."""
    drawn = random.Random(0)
    return [
        Document(
            " ".join(drawn.choices(WORDS, k=drawn.randint(1, 40))),
            id=f"id-{n}",
            source="made",
            domain=["law", "code"][n % 2],
            language=["en", "de"][n // 2 % 2],
        )
        for n in range(number)
    ]


DOCUMENTS = texts(41)


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of 4 documents, so that a small corpus has 11."""
    monkeypatch.setattr(blocks, "MOST_DOCUMENTS", 4)


def captured(model, folder, plan=PLAN, documents=DOCUMENTS, shares=("1/1",)) -> StudyFolder:
    study = StudyFolder.create(folder, plan.recipe(model, "made"))
    for share in shares:
        capture_study(model, iter(documents), study, plan, share=Share.parse(share))
    return study


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The study that one run makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MOST_DOCUMENTS", 4)
        return captured(model, tmp_path_factory.mktemp("whole") / "study")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_corpus(path: Path, documents: list[Document]) -> Path:
    names = ("text", "id", "domain", "language")
    rows = [{name: getattr(document, name) for name in names} for document in documents]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_document_is_captured_once_in_its_order(whole):
    kept = [whole.routes(block) for block in whole.finished().values()]
    assert [block.number for block in whole.finished().values()] == list(range(11))
    assert [document for record in kept for document in record.documents] == DOCUMENTS
    assert sum(block.read for block in whole.finished().values()) == len(DOCUMENTS)
    assert sum(block.tokens for block in whole.finished().values()) == sum(record.tokens for record in kept)


def test_three_shards_in_any_order_make_the_study_of_one_run_bit_for_bit(model, whole, tmp_path):
    study = captured(model, tmp_path / "study", shares=("3/3", "1/3", "2/3"))
    assert contents(study.folder) == contents(whole.folder)


def test_a_shard_makes_its_own_blocks_and_no_other(model, tmp_path):
    assert list(captured(model, tmp_path / "study", shares=("2/3",)).finished()) == [1, 4, 7, 10]


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", ""])
def test_a_shard_that_is_none_is_refused(wrong):
    with pytest.raises(OptionError, match="--shard"):
        Share.parse(wrong)


def test_a_run_over_a_whole_study_captures_nothing_and_changes_nothing(model, whole):
    before = contents(whole.folder)
    done = capture_study(model, iter(DOCUMENTS), whole, PLAN)
    assert (done.blocks, done.there, done.tokens) == (11, 11, 0) and contents(whole.folder) == before


KILLS = """
import json, os, random, select, signal, struct, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from gatescope.studies import blocks
blocks.MOST_DOCUMENTS = 4
from gatescope.studies.capturing import Plan, capture_study
from gatescope.cache.study import StudyFolder
from gatescope.corpora import open_corpus
from gatescope.hooks import CaptureOptions, load_model

corpus, source, out = sys.argv[1:]
model = load_model(source, device="cpu")
plan = Plan(options=CaptureOptions(), batch_tokens=128)

def run(folder, tell=lambda progress: None):
    study = StudyFolder.create(folder, plan.recipe(model, "corpus"))
    capture_study(model, iter(open_corpus(corpus)), study, plan, on_progress=tell)

started = time.monotonic()
run(Path(out, "one"))
started = time.monotonic()
run(Path(out, "again"))
long, drawn = time.monotonic() - started, random.Random(1)
folder, kills, torn, lost = Path(out, "killed"), 0, 0, []
while True:
    said, tell = os.pipe()
    before, child = set(folder.glob("blocks/.*.tmp")), os.fork()
    if not child:
        run(folder, lambda progress: os.write(tell, struct.pack("i", progress.blocks)))
        os._exit(0)
    os.close(tell)
    until = time.monotonic() + drawn.uniform(0, long / 2)
    is_at_a_write = kills % 2
    while time.monotonic() < until and not (is_at_a_write and set(folder.glob("blocks/.*.tmp")) - before):
        time.sleep(0.0002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    kills += 1
    torn += bool(set(folder.glob("blocks/.*.tmp")) - before)
    reported = b"".join(iter(lambda: os.read(said, 4096), b""))
    os.close(said)
    if reported:
        whole = len(StudyFolder(folder).finished())
        lost.append(struct.unpack("i", reported[-4:])[0] - whole)
    assert list(StudyFolder(folder).verify()) == [] if folder.exists() else True
    if kills == 40:
        run(folder)
        break
print(json.dumps({"kills": kills, "torn": torn, "lost": lost}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks processes to kill: runs on Linux only")
def test_a_run_killed_again_and_again_makes_the_study_of_one_run_and_loses_little(tiny_model, tmp_path):
    """At random moments, and as soon as a file is seen being written; at most one captured block is not yet whole."""
    corpus = write_corpus(tmp_path / "texts.jsonl", DOCUMENTS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", KILLS, corpus, tiny_model, tmp_path]
    ran = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["kills"] >= 5 and said["torn"] >= 1, "no kill fell into a write: the test proved nothing"
    assert said["lost"] and max(said["lost"]) <= 1, said
    one, again, killed = (StudyFolder.open(tmp_path / name) for name in ("one", "again", "killed"))
    parts = [
        {name: content for name, content in contents(study.blocks_folder).items() if not name.endswith(".tmp")}
        for study in (one, again, killed)
    ]
    assert parts[0] == parts[1] == parts[2] and len(one.finished()) == 11


def test_the_tallies_of_the_blocks_add_up_to_the_tally_of_everything(whole):
    everything = joined([whole.routes(block) for block in whole.finished().values()])
    assert to_bytes(whole_tally(whole)) == to_bytes(tally(everything))


@pytest.mark.slow
def test_they_do_beyond_the_documents_that_a_tally_keeps_apart(model, tmp_path, monkeypatch):
    """1,200 documents in 20 blocks: routes that were captured once, given to many documents."""
    monkeypatch.setattr(blocks, "MOST_DOCUMENTS", 60)
    study, records = StudyFolder.create(tmp_path / "study", {}), []
    few = joined([capture_corpus(model, DOCUMENTS[:4], batch_tokens=128)] * 15)
    for texts_of_block in cut(texts(1200), Seen()):
        records.append(replace(few, documents=texts_of_block.documents))
        study.write(*packed(texts_of_block, records[-1], Skipped(), PLAN))
    study.end(len(records))
    added = whole_tally(study)
    assert added.documents == 1200 and len(added.units) < 1200
    assert to_bytes(added) == to_bytes(tally(joined(records)))


def test_blocks_of_different_devices_are_added_up_and_joined(model, tmp_path):
    study = captured(model, tmp_path / "study", documents=DOCUMENTS[:4])
    (_, moved) = cut(DOCUMENTS[:8], Seen())
    record = capture_corpus(model, moved.documents, batch_tokens=128)
    moved_record = replace(record, provenance=replace(record.provenance, device="cuda:1"))
    study.write(*packed(moved, moved_record, Skipped(), PLAN))
    study.end(2)
    assert whole_tally(study).provenance.device == first_routes(study, 10**6).provenance.device == "cpu, cuda:1"
    assert whole_tally(study).documents == len(first_routes(study, 10**6).documents) == 8


def unpacked(content: bytes) -> bytes:
    """The bytes of a file, and those of everything packed inside it."""
    if content.startswith(b"PAR1"):
        record = decode(content)
        return content + repr((record.documents, record.pieces)).encode()
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content + b"".join(archive.read(name) for name in archive.namelist())


def test_counts_hold_no_text_and_no_token_of_any_text(model, whole, tmp_path):
    plan = Plan(options=CaptureOptions(), detail="counts", batch_tokens=128)
    study = captured(model, tmp_path / "study", plan)
    held = b"".join(unpacked(content) for content in contents(study.folder).values())
    shown = b"".join(unpacked(content) for content in contents(whole.folder).values())
    searched = [*(word.encode() for word in WORDS), *(document.id.encode() for document in DOCUMENTS)]
    assert all(word in shown for word in searched)  # where texts are kept, this search finds them
    assert [word for word in searched if word in held] == []
    naming = {name for name, each in STATISTICS.items() if each.names_words}
    kept = [from_bytes(study.part(block, COUNTS)) for block in study.finished().values()]
    assert naming and all(not naming & {*each.by_unit, *each.by_group} for each in kept)
    assert all(set(block.parts) == {COUNTS} for block in study.finished().values())
    number_of_tokens = whole_tally(whole).table("tokens").sum()
    assert whole_tally(study).table("tokens").sum() == number_of_tokens
    np.testing.assert_array_equal(whole_tally(study).table("assignments"), whole_tally(whole).table("assignments"))


def test_ids_are_those_of_weights_without_what_weights_keep(model, whole, tmp_path):
    study = captured(model, tmp_path / "study", Plan(options=CaptureOptions(), detail="ids", batch_tokens=128))
    for block in whole.finished().values():
        rich, poor = whole.routes(block), study.routes(study.finished()[block.number])
        assert {name for name, _ in rich.arrays()} - {name for name, _ in poor.arrays()} == {
            *("weight_tlk", "rejected_tl", "margin_tl", "entropy_tl", "lse_tl")
        }
        for name, array in poor.arrays():
            assert array.tobytes() == getattr(rich, name).tobytes()


def test_weights_are_what_a_direct_capture_records(model, whole):
    for number, block in whole.finished().items():
        direct = capture_corpus(model, DOCUMENTS[4 * number : 4 * number + 4], batch_tokens=128)
        kept = whole.routes(block)
        for name, array in direct.arrays():
            assert array.tobytes() == getattr(kept, name).tobytes(), name


def drawn(study: StudyFolder) -> dict[str, np.ndarray]:
    """The scores that a study keeps, by the id of the document."""
    found = {}
    for block in study.finished().values():
        if SCORES in block.parts:
            record = study.routes(block, SCORES)
            for number in np.unique(record.document_t):
                found[record.documents[number].id] = record.logit_tle[record.document_t == number]
    return found


def test_scores_are_kept_of_the_same_documents_in_every_run_and_are_those_of_a_direct_capture(
    model, tmp_path, monkeypatch
):
    plan = Plan(options=CaptureOptions(), scores=0.3, batch_tokens=1)
    first = drawn(captured(model, tmp_path / "a", plan, shares=("2/2", "1/2")))
    monkeypatch.setattr(blocks, "MOST_DOCUMENTS", 7)
    other = drawn(captured(model, tmp_path / "b", plan, DOCUMENTS[::-1]))
    fewer = drawn(captured(model, tmp_path / "c", Plan(options=CaptureOptions(), scores=0.1, batch_tokens=1)))
    assert first.keys() == other.keys() and 0 < len(first) < len(DOCUMENTS) and fewer.keys() < first.keys()
    for id, logit_tle in first.items():
        document = next(each for each in DOCUMENTS if each.id == id)
        direct = capture(model, document, CaptureOptions(logits=True))
        assert direct.logit_tle.tobytes() == logit_tle.tobytes() == other[id].tobytes()
    routes = StudyFolder.open(tmp_path / "a")
    assert all(routes.routes(block).logit_tle is None for block in routes.finished().values())


def test_the_share_of_documents_drawn_is_the_share_asked_for(model):
    record = capture_corpus(model, DOCUMENTS[:1], CaptureOptions(logits=True))
    alone = (replace(record, documents=(document,)) for document in texts(3000))
    kept = sum(sample_for_router_logits(one, 0.1) is not None for one in alone)
    assert abs(kept - 300) < 5 * np.sqrt(3000 * 0.1 * 0.9)


def test_the_size_that_is_said_beforehand_is_the_size_of_the_arrays(model, whole, tiny_model, tmp_path):
    record = whole.routes(whole.finished()[0])
    each = sum(array.nbytes for _, array in record.arrays()) / record.tokens
    corpus = write_corpus(tmp_path / "texts.jsonl", DOCUMENTS[:3])
    ran = command(corpus, tiny_model, tmp_path / "study")
    assert ran.exit_code == 0 and f"weights: {each:.0f} bytes a token before compression" in ran.output, ran.output
    assert find_batch_tokens(model, DOCUMENTS) == 4096  # 64 MiB of float32 scores over 1,000 tokens: 16,777 places


def command(corpus, source, out, *more: object):
    return CliRunner().invoke(app, ["capture", str(corpus), "--model", str(source), "--out", str(out), *map(str, more)])


def test_the_command_says_what_is_there_and_what_this_run_did(tiny_model, tmp_path):
    corpus = write_corpus(tmp_path / "texts.jsonl", DOCUMENTS)
    first = command(corpus, tiny_model, tmp_path / "study", "--shard", "1/2", "--batch-tokens", 128)
    assert first.exit_code == 0 and "6 of 11 blocks" in first.output, first.output
    second = command(corpus, tiny_model, tmp_path / "study")  # batches as they were begun with
    assert second.exit_code == 0 and "11 of 11 blocks" in second.output, second.output
    assert "41 documents: 41 captured, as 41 texts; 0 left out" in second.output
    assert "6 blocks were there already" in second.output and "batches of 128 places" in second.output
    about = StudyFolder.open(tmp_path / "study").recipe()
    assert (about["corpus"], about["detail"], about["batch_tokens"]) == (str(corpus), "weights", 128)
    assert about["longest"] == longest_text(load_model(tiny_model, device="cpu"), "split") == blocks.MOST_CHARACTERS


def test_the_example_of_the_docs_runs(whole, monkeypatch, capsys):
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(whole.folder.parent)
    found: dict = {}
    exec(example.replace('"routes"', f'"{whole.folder.name}"'), found)
    assert found["load_le"].shape == (2, 8) and len(capsys.readouterr().out.splitlines()) == 11
    assert found["load_le"].sum() == 2 * 2 * sum(block.tokens for block in whole.finished().values())


FAMILIES = ["mixtral", "qwen3_moe", "deepseek_v3", "olmoe", "gpt_oss"]


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_do_not_change_routing(family):
    """Documents of 2 to 109 tokens, alone and padded together: the same experts, and weights to 16 bits."""
    from tests.hooks.conftest import byte_tokenizer, tiny

    loaded = attach(tiny(family), byte_tokenizer(), name=family)
    generator = random.Random(3)
    lengths = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 108] + [generator.randint(1, 100) for _ in range(12)]
    documents = [Document("".join(generator.choices("abc xyz.é", k=n - 1)) + "z", id=str(n)) for n in lengths]
    alone = joined([capture(loaded, document) for document in documents])
    for batch_tokens in (1, 64, 4096):
        together = capture_corpus(loaded, documents, batch_tokens=batch_tokens)
        for name in ("token_t", "document_t", "position_t", "ids_tlk", "rejected_tl"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name), err_msg=name)
        np.testing.assert_allclose(together.weight_tlk, alone.weight_tlk, rtol=2**-10, atol=2**-14)
        np.testing.assert_allclose(together.loss_t, alone.loss_t, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("vocabulary", "places"), [(1000, 4096), (5000, 2048), (20_000, 512), (100_000, 256), (1, 4096)]
)
def test_places_of_a_batch_on_a_cpu_keep_the_scores_within_64_mib(model, vocabulary, places, monkeypatch):
    """2^24 scores of 4 bytes: 16,777, 3,355, 838 and 167 places of so many tokens, to a power of 2 of 256 to 4,096."""
    monkeypatch.setattr(model.model.config, "vocab_size", vocabulary)
    assert find_batch_tokens(model, DOCUMENTS) == places


def test_routes_survive_the_command_and_equal_a_capture_of_the_corpus_file(model, tiny_model, tmp_path):
    corpus = write_corpus(tmp_path / "texts.jsonl", DOCUMENTS[:6])
    assert command(corpus, tiny_model, tmp_path / "study", "--batch-tokens", 1).exit_code == 0
    study = StudyFolder.open(tmp_path / "study")
    kept = joined([study.routes(block, ROUTES) for block in study.finished().values()])
    direct = capture_corpus(model, list(open_corpus(corpus)), batch_tokens=1)
    assert kept.documents == direct.documents
    assert all(array.tobytes() == getattr(kept, name).tobytes() for name, array in direct.arrays())
