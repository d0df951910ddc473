"""Enough data: what is needed by the formulas on paper, and the sentences said of it."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.quality.sample_size import Enough, enough
from gatescope.analysis.registry import MetricOptions
from gatescope.app.views.library.sample_size_figure import (
    effect_sentence,
    enough_figure,
    enough_frame,
    reliability_sentence,
    takeaway,
)
from gatescope.routing import Document
from tests.records import build_record

NAN = np.nan
HAND = Enough(
    tokens_l=np.array([1000.0, 1000.0]),
    effect_l=np.array([2.0, 4.0]),
    load_l=np.array([500.0, 999.0]),
    pairs_l=np.array([900.0, 1001.0]),
    transitions_l=np.array([5000.0, 5000.0]),
    reliability_l=np.array([0.5, 0.75]),
)


def test_what_is_needed_is_what_the_formulas_give_on_paper():
    """One document, so no design effect: 2 of 4 experts a token, 3 tokens.

    Load: (1.959964 / 0.1)² (4/2 - 1) = 384.1; pairs: 50 · 4 · 3 / (2 · 1) = 300; steps: 50 · 4 · 4 = 800.
    """
    found = enough(tally(build_record(["a", "b", "c"], flag_t=np.zeros(3, np.uint8))), MetricOptions())
    assert found.tokens_l.tolist() == [3, 3]
    assert found.load_l == pytest.approx([384.146, 384.146], abs=0.01)
    assert found.pairs_l.tolist() == [300, 300]
    assert found.transitions_l.tolist() == [800, 800]
    assert np.isnan(found.effect_l).all()
    assert np.isnan(found.reliability_l).all()


def test_documents_that_use_one_half_of_the_experts_each_are_worth_two_tokens():
    """Ten tokens a document, the experts 0 and 1 in one, 2 and 3 in the other: ten tokens say as much as one."""
    ids = np.zeros((20, 1, 2), np.uint8)
    ids[:10, 0], ids[10:, 0] = [0, 1], [2, 3]
    record = replace(
        build_record(["a"] * 20, layers=1, ids_tlk=ids, rejected_tl=None, flag_t=np.zeros(20, np.uint8)),
        document_t=np.repeat(np.int32([0, 1]), 10),
        position_t=np.tile(np.arange(10, dtype=np.int32), 2),
        documents=(Document("a"), Document("b")),
    )
    found = enough(tally(record), MetricOptions())
    assert found.effect_l == pytest.approx([10.0])
    assert found.load_l == pytest.approx([3841.46], abs=0.1)


def test_the_sentence_counts_the_layers_for_which_there_is_enough():
    assert takeaway(HAND) == (
        "1,000 tokens are enough for one expert's load to ±10 %: all of 2 layers; 50 tokens in the average pair of "
        "experts: 1 of 2 layers; 50 tokens in the average step to the next layer: none of 2 layers."
    )
    one = HAND._replace(pairs_l=np.array([NAN, NAN]))
    assert "pair" not in takeaway(one)


def test_what_alike_tokens_cost_and_how_others_would_agree_is_said():
    said = effect_sentence(HAND)
    assert said.startswith("2.0 to 4.0 of them, by layer, carry the information of one independent token: 250 ")
    assert "0.50 to 0.75" in reliability_sentence(HAND)
    unknown = HAND._replace(effect_l=np.array([NAN, NAN]), reliability_l=np.array([NAN, NAN]))
    assert "one document" in effect_sentence(unknown)
    assert "one document" in reliability_sentence(unknown)


def test_the_frame_holds_what_is_drawn():
    frame = enough_frame(HAND, ["0", "1"])
    assert frame["load_l"].tolist() == [500, 999]
    assert list(frame["layer"]) == ["0", "1"]
    assert enough_figure(HAND, ["0", "1"], population="N = 1").population == "N = 1"
