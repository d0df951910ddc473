"""Large results lie in files of their own: who opens a study for others does not read them; and how CSV is chosen."""

import json

import numpy as np
import pandas as pd
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.quality.data_warnings import DataWarning
from gatescope.analysis.registry import METRICS, Result
from gatescope.routing.errors import StoreError
from gatescope.studies import results
from gatescope.studies.compute import Chosen, Study
from gatescope.studies.write import MOST_CSV_ROWS, write_study
from tests.analysis.conftest import make_record

LARGE = ("coactivation_lift", "")
SMALL = ("load_gini", "")


@pytest.fixture
def found():
    """One result of one number a layer, and one of 2 layers and 300 × 300 pairs: 1.4 MB."""
    pairs_lef = np.random.default_rng(0).random((2, 300, 300))
    return {
        LARGE: Result(value=pairs_lef, null=pairs_lef / 2, tokens=9, documents=2, warnings=("some",)),
        SMALL: Result(value=np.array([0.25, 0.5]), tokens=9, documents=2),
    }


def test_a_large_result_lies_by_itself_and_is_read_as_it_was(found, tmp_path):
    results.write_results(found, tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.npz")) == [
        "results.npz",
        "results/coactivation_lift.npz",
    ]
    stored = results.read_results(tmp_path / "results.npz")
    assert set(stored) == set(found) and len(stored) == 2
    for key, result in stored.items():
        assert np.array_equal(result.value, found[key].value) and result.warnings == found[key].warnings
    assert np.array_equal(stored[LARGE].null, found[LARGE].null)
    assert stored.get(("load_gini", "domain")) is None


def test_others_are_read_without_it(found, tmp_path):
    results.write_results(found, tmp_path)
    (tmp_path / "results" / "coactivation_lift.npz").write_bytes(b"torn")
    stored = results.read_results(tmp_path / "results.npz")
    assert stored[SMALL].value.tolist() == [0.25, 0.5] and LARGE in stored
    with pytest.raises(StoreError, match=r"coactivation_lift\.npz cannot be read"):
        stored[LARGE]
    (tmp_path / "results" / "coactivation_lift.npz").unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        stored[LARGE]


def test_results_that_all_lie_in_one_file_are_read_as_before(found, tmp_path):
    (tmp_path / "results.npz").write_bytes(results.to_bytes(found))
    stored = results.read_results(tmp_path / "results.npz")
    assert np.array_equal(stored[LARGE].value, found[LARGE].value) and not stored.is_apart(LARGE)


@pytest.mark.parametrize("named", ["../secret.npz", "/etc/passwd", "results/../../x.npz", "results/a/b.npz"])
def test_no_file_outside_the_study_is_read(found, named, tmp_path):
    content = results.to_bytes({SMALL: found[SMALL]}, {LARGE: named})
    (tmp_path / "results.npz").write_bytes(content)
    with pytest.raises(StoreError, match="no file of a study's results"):
        results.read_results(tmp_path / "results.npz")


@pytest.mark.parametrize(("csv", "expected"), [("small", {"load_gini"}), ("all", {"load_gini", "coactivation_lift"}),
                                               ("none", set())])  # fmt: skip
def test_every_table_is_parquet_and_csv_where_it_is_small_or_asked_for(csv, expected, found, tmp_path):
    assert found[LARGE].value.size > MOST_CSV_ROWS >= found[SMALL].value.size
    study = Study(
        tally=tally(make_record(np.array([[[0, 1]], [[2, 1]]]), experts=3, documents=[0, 1])),
        chosen=Chosen(),
        results=found,
    )
    written = write_study(study, tmp_path / "out", model="m", corpus="c", counts_only=False, csv=csv)
    tables = tmp_path / "out" / "tables"
    assert {path.stem for path in tables.glob("*.csv")} == expected
    assert sorted(written) == sorted(path.stem for path in tables.glob("*.parquet")) == sorted(k for k, _ in found)
    whole = pd.read_parquet(tables / "coactivation_lift.parquet")
    assert np.array_equal(whole["value"], found[LARGE].value.ravel())
    assert (tmp_path / "out" / "report.html").stat().st_size < 5_000_000
    assert METRICS["coactivation_lift"].axes == "lef"


def test_what_was_found_to_beware_of_is_read_as_it_was_written(tmp_path):
    found = DataWarning("few_texts", "1 of 2 groups has few.", "Add texts.")
    assert results.read_warnings(tmp_path) is None
    (tmp_path / results.ABOUT).write_text(json.dumps({"warnings": [found._asdict()]}), "utf-8")
    assert results.read_warnings(tmp_path) == (found,) and results.lacked(tmp_path) == ()
    for said in ("{}", '{"warnings": [{"rule": 1}]}', '{"warnings": 7}', "[]", "torn"):
        (tmp_path / results.ABOUT).write_text(said, "utf-8")
        with pytest.raises(StoreError, match=r"study\.json cannot be read"):
            results.read_warnings(tmp_path)
