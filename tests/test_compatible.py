"""What the version before wrote is read by this one, and means the same: a capture, a study, its results, a link.

The files in `written_before` were made by the version before its code was laid out anew, from `texts.jsonl` and a
prompt; the numbers here were printed by that version.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import OLD_NAMES, MetricOptions
from gatescope.cache.store import Store
from gatescope.cache.study import StudyFolder
from gatescope.cli.main import app
from gatescope.server.view import read_view
from gatescope.studies.adding_up import whole_tally
from gatescope.studies.results import read_results, read_table

BEFORE = Path(__file__).parent / "written_before"
CAPTURE = "uqyaqled2m7te4ei"
GINI = [0.45199, 0.43523, 0.37358, 0.37784, 0.42926, 0.44943]
LINK = {"c": CAPTURE, "vs": "probe.sift-softmax", "d": "0", "t": "2", "l": "1", "e": "7", "r": "1-4", "f": "prompt"}
LINK |= {"s": "domain:code", "by": "language", "view": "entropy", "m": "sift-sigmoid"}


def test_a_capture_is_found_under_its_id(tmp_path):
    shutil.copy(BEFORE / f"{CAPTURE}.gsr", tmp_path)
    record = Store(tmp_path).get(CAPTURE)
    assert record.ids_tlk.shape == (7, 6, 4)
    assert record.ids_tlk[:3, 0].tolist() == [[28, 26, 1, 12], [3, 24, 6, 5], [7, 14, 8, 13]]
    assert record.token_t.tolist() == [0, 4502, 740, 4486, 929, 2963, 33]
    assert record.documents[0].text == "Where does this go?"


def test_the_same_prompt_has_the_same_id_and_table(tmp_path, monkeypatch):
    """The id is of model, text and options; links to captures hold as long as it does."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "cache"))
    asked = ["trace", "--model", "sift-softmax", "--prompt", "Where does this go?", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    one, other = (pd.read_csv(folder / "trace.csv") for folder in (BEFORE, tmp_path))
    assert list(one.columns) == list(other.columns)[: len(one.columns)]
    drawn = ["token_id", "layer", "slot", "expert"]
    pd.testing.assert_frame_equal(one[drawn], other[drawn])
    np.testing.assert_allclose(one["weight"], other["weight"], atol=2e-3)


def test_a_study_is_whole_and_counts_what_it_counted():
    study = StudyFolder.open(BEFORE / "routes")
    assert list(study.verify()) == []
    tally = whole_tally(study)
    assert (tally.documents, int(tally.table("tokens").sum())) == (4, 59)
    found = METRICS["load_gini"](tally, MetricOptions(resamples=0))
    np.testing.assert_allclose(found.value, GINI, atol=1e-5)


def test_results_are_read_under_the_names_that_metrics_have_now():
    results = read_results(BEFORE / "study" / "results.npz")
    now = {"load_gini", "load_max_violation", "usage_difference", "mutual_information", "lru_hit_rate"}
    assert {name for name, _ in results} == now
    np.testing.assert_allclose(results["load_gini", ""].value, GINI, atol=1e-5)
    np.testing.assert_allclose(results["lru_hit_rate", ""].value[0, :3], [0.05455, 0.09091, 0.12727], atol=1e-5)
    table = read_table(BEFORE / "study", "leaning.domain")
    assert table is not None and len(table) == results["usage_difference", "domain"].value.size


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_a_metric_s_old_name_gives_it_and_says_what_it_is_called_now(old, new):
    with pytest.warns(DeprecationWarning, match=new):
        assert METRICS[old] is METRICS[new]
    assert old not in METRICS


def test_the_command_line_takes_an_old_name_and_says_so(tmp_path):
    asked = [
        "analyze",
        str(BEFORE / "routes"),
        "--metrics",
        "lru_hits",
        "--resamples",
        "0",
        "--out",
        str(tmp_path / "s"),
    ]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "lru_hits is now called lru_hit_rate" in done.stderr
    assert (tmp_path / "s" / "tables" / "lru_hit_rate.csv").exists()


def test_a_study_is_gone_on_with_where_it_stopped(tmp_path, monkeypatch):
    """The recipe is the same, so that a run that was stopped before goes on and changes nothing that is whole."""
    shutil.copytree(BEFORE / "routes", tmp_path / "routes")
    shutil.copy(BEFORE / "texts.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["capture", "texts.jsonl", "--model", "sift-softmax", "--out", "routes"])
    assert done.exit_code == 0, done.output
    assert "1 blocks were there already" in done.stdout
    kept, now = (sorted(folder.rglob("*.routes")) for folder in (BEFORE / "routes", tmp_path / "routes"))
    assert [path.read_bytes() for path in kept] == [path.read_bytes() for path in now]


def test_a_link_says_what_it_said():
    view = read_view(LINK, quantities=("margin", "entropy"), models=("sift-softmax", "sift-sigmoid"))
    assert view.problems == ()
    assert (view.capture, view.reference, view.document, view.token) == (CAPTURE, "probe.sift-softmax", 0, 2)
    assert (view.layer, view.expert, tuple(view.span or ()), view.facet) == (1, 7, (1, 4), "prompt")
    assert (view.slice, view.by, view.quantity, view.model) == ("domain:code", "language", "entropy", "sift-sigmoid")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["app", "hooks", "corpora"])
def test_old_commands_go_on_and_say_what_they_are_now(module):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=BEFORE.parents[1], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "gatescope" in done.stderr and "Usage" in done.stdout
