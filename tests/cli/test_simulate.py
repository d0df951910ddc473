"""`gatescope simulate`: a study like any other that says it is simulated, and goes on where it was stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions
from gatescope.app.shell.page import changed_words
from gatescope.cache.study import StudyFolder
from gatescope.cli.main import app
from gatescope.drawing.facts import captured_by
from gatescope.simulation import Geometry, Simulation, Texts
from gatescope.studies.adding_up import whole_tally
from gatescope.studies.simulating import TRUTH, write_study

SHAPE = ["--layers", "2", "--experts", "16", "--k", "4"]
SMALL = [*SHAPE, "--tokens", "3e3", "--documents", "12", "--vocabulary", "400"]


def run(*words: str):
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_study_is_whole_counted_and_says_it_is_simulated(tmp_path):
    out = tmp_path / "routes"
    done = run(*SMALL, "--out", out)
    assert done.exit_code == 0, done.output
    assert "12 documents, 3,000 tokens, simulated: 2 layers, 4 of 16 experts" in done.output
    folder = StudyFolder.open(out)
    assert folder.lacking() == [] and list(folder.verify()) == []
    whole = whole_tally(folder)
    assert (whole.documents, int(whole.table("tokens").sum())) == (12, 3000)
    assert whole.provenance.is_simulated
    made = next(iter(map(folder.routes, folder.finished().values()))).provenance
    assert "No model made them" in changed_words(made) and captured_by(made) == "simulated, by no model"


def test_the_truth_beside_it_holds_what_was_planted(tmp_path):
    run(*SMALL, "--out", tmp_path / "routes", "--word-effect", "0.4", "--seed", "3")
    truth = json.loads((tmp_path / "routes" / TRUTH).read_text())
    texts = Texts(tokens=3000, documents=12, vocabulary=400)
    assert truth["seed"] == 3 and truth["texts"]["documents"] == 12
    assert truth["effects"]["words"] == pytest.approx(0.4, abs=1e-4)
    assert sum(truth["effects"][name] for name in truth["effects"] if name != "skew") == pytest.approx(1)
    first = truth["layers"][0]
    assert len(first["load"]) == 16 and sum(first["load"]) == pytest.approx(1)
    assert sorted(expert for pair in first["pairs"] for expert in pair) == list(range(16))
    assert sorted(truth["layers"][1]["successors"]) == list(range(16)) and first["successors"] == []
    assert set(first["domains"]) == set(texts.domain_names) and len(first["domains"]["law"]) == 4
    assert len(truth["kind_of_word"]) == 400 and max(truth["kind_of_word"]) < len(first["words"])


def test_analyze_takes_it_and_its_report_says_so(tmp_path):
    run(*SMALL, "--out", tmp_path / "routes")
    words = ["analyze", str(tmp_path / "routes"), "--out", str(tmp_path / "study"), "--metrics", "relative_load"]
    done = CliRunner().invoke(app, [*words, "--resamples", "2"])
    assert done.exit_code == 0, done.output
    assert "no model made these routes" in (tmp_path / "study" / "report.html").read_text()
    assert json.loads((tmp_path / "study" / "study.json").read_text())["model"] == "simulated 2x16x4"


def test_stopped_it_goes_on_and_writes_the_same(tmp_path):
    made = Simulation(Geometry(name="s", experts=(16, 16), k=4), Texts(tokens=3000, documents=12, vocabulary=400))
    write_study(made, tmp_path / "whole", block_tokens=1000)

    def stop(tokens: int, _total: int) -> None:
        if tokens > 1500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_study(made, tmp_path / "stopped", block_tokens=1000, on_progress=stop)
    assert StudyFolder.open(tmp_path / "stopped").lacking()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped" / "blocks").iterdir()}
    write_study(made, tmp_path / "stopped", block_tokens=1000)
    assert parts(tmp_path / "stopped") == parts(tmp_path / "whole")
    assert (
        kept.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped" / "blocks").iterdir()}.items()
    )


def test_an_imported_file_gives_the_same_routes_and_stays_simulated(tmp_path):
    file = tmp_path / "routes.npz"
    assert run(*SMALL, "--form", "npz", "--out", file).exit_code == 0
    assert (tmp_path / f"routes.npz.{TRUTH}").exists()
    done = CliRunner().invoke(app, ["import", str(file), "--out", str(tmp_path / "study")])
    assert done.exit_code == 0, done.output
    folder = StudyFolder.open(tmp_path / "study")
    (block,) = folder.finished().values()
    read = folder.routes(block)
    made = Simulation(Geometry(name="2x16x4", experts=(16, 16), k=4), Texts(tokens=3000, documents=12, vocabulary=400))
    drawn = made.record(0, 12)
    for name in ("ids_tlk", "weight_tlk", "token_t", "document_t", "position_t"):
        assert np.array_equal(getattr(read, name), getattr(drawn, name)), name
    assert read.provenance.is_simulated and read.provenance.model == "simulated 2x16x4"
    assert [(d.id, d.domain, d.language) for d in read.documents] == [
        (d.id, d.domain, d.language) for d in drawn.documents
    ]
    assert dict(read.pieces) == dict(drawn.pieces)


def test_a_model_that_is_named_does_not_own_simulated_routes(tmp_path):
    from gatescope.cache.importers import Given, read_trace

    run(*SMALL, "--form", "npz", "--out", tmp_path / "routes.npz")
    records, _ = read_trace(tmp_path / "routes.npz", Given(model="somebody/else", fingerprint="0f"))
    made = next(records).provenance
    assert made.is_simulated and made.model == "simulated 2x16x4" and made.fingerprint.startswith("simulated-")


def test_effects_are_found_in_the_study_that_was_written(tmp_path):
    run(*SHAPE, "--tokens", "12000", "--documents", "48", "--domain-effect", "0.4", "--out", tmp_path / "routes")
    whole = whole_tally(StudyFolder.open(tmp_path / "routes"))
    found = METRICS["mutual_information"](whole, MetricOptions(by="domain", resamples=199))
    assert (found.p < 0.01).all()


@pytest.mark.parametrize(
    ("words", "found", "do"),
    [
        (["--like", "gpt-5"], "--like gpt-5", "choose one"),
        (["--like", "olmoe", "--k", "2"], "--like olmoe beside a shape of your own", "leave --like out"),
        ([], "no --like", "give --like deepseek-v3"),
        (["--layers", "2", "--experts", "8", "--k", "9"], "k = 9 of 8 experts", "--k or --experts"),
        (["--layers", "2", "--experts", "x", "--k", "1"], "--experts x", "give it so"),
        ([*SHAPE, "--groups", "3"], "3 groups of 16 experts", "--groups"),
        ([*SHAPE, "--tokens", "1.5"], "--tokens 1.5", "give it so"),
        ([*SHAPE, "--tokens", "many"], "--tokens many", "give it so"),
        ([*SHAPE, "--word-effect", "0.9"], "fill 1.400 of the slots", "smaller"),
        ([*SHAPE, "--form", "csv"], "--form csv", "one of the two"),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_anything_is_written(tmp_path, words, found, do):
    done = run(*words, "--out", tmp_path / "routes")
    assert done.exit_code == 2
    assert found in done.output and do in done.output and "expected" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_or_of_another_simulation_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("long")
    done = run(*SMALL, "--out", tmp_path / "mine")
    assert done.exit_code == 2 and "holds thesis.txt" in done.output
    run(*SMALL, "--out", tmp_path / "routes")
    before = parts(tmp_path / "routes")
    done = run(*SMALL, "--seed", "2", "--out", tmp_path / "routes")
    assert done.exit_code == 2 and "seed was 0 and is 2" in done.output
    assert parts(tmp_path / "routes") == before
    (tmp_path / "routes.npz").write_text("")
    done = run(*SMALL, "--form", "npz", "--out", tmp_path / "routes.npz")
    assert done.exit_code == 2 and "is there already" in done.output
