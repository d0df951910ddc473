"""Results that keep some pairs only: read from the file, in tables, in figures and on pages."""

from pathlib import Path

import numpy as np
import pytest

from gatescope.analysis import pairs
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.metrics import pairs as pair_metrics
from gatescope.analysis.pair_evidence import PairTest
from gatescope.analysis.registry import Result
from gatescope.analysis.tally import tally
from gatescope.app.views.expert.coactivation_figure import partners_frame, partners_words
from gatescope.app.views.layers.any_measure_figure import drawn, names, part
from gatescope.app.views.pairs.coactivation_figure import (
    layer_pairs,
    lift_frame,
    lift_name,
    lift_takeaway,
    pair_sentence,
    partners,
    strangest_layer,
)
from gatescope.routing import RouterRule
from gatescope.studies.results import NAME, read_results, to_bytes
from gatescope.studies.tables import result_frame
from tests.analysis.conftest import make_record

PLACES = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 1], [1, 0, 3], [1, 1, 0], [1, 3, 0]], np.int32)


def kept(*values: float, null: float) -> Result:
    """One pair of the first layer, two of the second, among four experts."""
    first, second, third = values
    value = np.array([first, first, second, third, second, third])
    return Result(
        value=value, null=np.full(6, null), places=PLACES, sizes=(2, 4, 4), warnings=("9 of 12 are left out.",)
    )


SUPPORT, LIFT = kept(100, 220, 50, null=100), kept(1, 2.2, 0.5, null=1)


def rules() -> tuple[RouterRule, ...]:
    return tuple(RouterRule(layer=n, block=n, module="mlp", experts=4, k=2, score="softmax") for n in range(2))


@pytest.fixture
def computed(monkeypatch) -> dict[tuple[str, str], Result]:
    """The three metrics of a record whose results may keep four pairs a layer."""
    monkeypatch.setattr(pairs, "MOST_CELLS", 0)
    monkeypatch.setattr(pair_metrics, "KEPT", 8)
    ids_tlk = np.random.default_rng(0).random((300, 2, 6)).argsort(axis=2)[..., :2]
    whole = tally(make_record(ids_tlk, experts=6))
    return {
        (f"coactivation_{name}", ""): METRICS[f"coactivation_{name}"](whole) for name in ("share", "lift", "support")
    }


def test_they_are_read_from_the_file_as_they_were_written(computed, tmp_path: Path):
    (tmp_path / NAME).write_bytes(to_bytes(computed))
    found = read_results(tmp_path / NAME)
    for key, result in computed.items():
        assert found[key].sizes == (2, 6, 6) and found[key].warnings == result.warnings
        assert found[key].shape == result.shape and found[key].value.shape == (16,)
        for what in ("value", "null", "places"):
            np.testing.assert_array_equal(getattr(found[key], what), getattr(result, what))


def test_the_table_has_the_kept_pairs(computed):
    result = computed["coactivation_support", ""]
    frame = result_frame(rules(), "coactivation_support", result)
    assert (
        list(frame.columns) == ["layer", "layer_name", "expert", "other_expert", "value", "null"] and len(frame) == 16
    )
    for row in frame.to_dict("records"):
        assert result.layer(row["layer"])[row["expert"], row["other_expert"]] == row["value"]
        assert result.layer(row["layer"], "null")[row["expert"], row["other_expert"]] == row["null"]


def test_a_layer_of_them_is_drawn_with_gaps():
    how = drawn("lef", SUPPORT.shape)
    shown = part(SUPPORT, how, (1,))
    assert shown.shape == (4, 4) and shown[0, 3] == 50 and np.isfinite(shown).sum() == 4
    assert names("coactivation_support", SUPPORT, 0, ["first", "second"]) == ["first", "second"]
    assert names("coactivation_support", SUPPORT, 1, ["first", "second"]) == ["0", "1", "2", "3"]


def test_the_page_begins_with_the_layer_that_has_most_tokens_beyond_chance():
    assert strangest_layer(SUPPORT) == 1
    assert strangest_layer(kept(900, 220, 50, null=100)) == 0


def test_pairs_left_out_are_called_so_and_no_share_of_all_meetings_is_given():
    q_ef = np.full((4, 4), 0.001)
    found = layer_pairs(LIFT, SUPPORT, PairTest(q_ef, q_ef, q_ef, 20), rules()[1])
    assert lift_takeaway(found, "1") == (
        "Layer 1: kept are the 2 of its 6 pairs that are furthest from chance. Of 2 pairs 1 meet more and 1 less than "
        "by chance; most of all experts 0 and 1, 2.2 times chance."
    )
    assert "left out of the results" in pair_sentence(found, 1, 2)
    assert pair_sentence(found, 0, 3).startswith("Together in 50 tokens; chance would give 100")
    assert lift_frame(found)[["expert", "other", "tokens"]].to_numpy().tolist() == [[0, 1, 220], [0, 3, 50]]
    assert [lift_name(found, 0, other) for other in partners(found, 0)] == ["1 · 2.2×", "3 · 0.5×", "2"]


def test_partners_are_those_kept_with_a_note_of_the_others():
    frame = partners_frame(LIFT, SUPPORT, 1, 0)
    assert frame.to_numpy().tolist() == [[1, 2.2, 220, 100], [3, 0.5, 50, 100]]
    assert ("Note", "9 of 12 are left out.") in partners_words(frame, "", LIFT.warnings).says
