"""What is lost without an expert, against hand counts."""

import numpy as np
import pytest

from analysis.knockout import as_busy, rises
from app.figures.expert.knockout import knockout_frame, knockout_plot, knockout_words


def test_controls_are_as_busy_and_worked_at_all():
    assert as_busy(np.array([1.0, np.nan, 0.9, 0.0, 1.3, 5.0]), 0, most=3) == [2, 4, 5]


def test_a_rise_is_of_a_token_and_its_interval_over_documents():
    """Documents of 10 and 30 tokens that lose 1 and 6 nats: 7/40 in all; a draw is one of the two twice."""
    loss_xd = np.array([[20.0, 50.0], [21.0, 56.0], [20.0, 50.0]])
    found = rises(loss_xd, np.array([10, 30]), [7, 2])
    assert (found[0].expert, found[0].rise) == (7, pytest.approx(7 / 40))
    assert (found[0].low, found[0].high) == (pytest.approx(0.1), pytest.approx(0.2))
    assert tuple(found[1]) == (2, 0, 0, 0)


def test_one_document_has_no_interval():
    (found,) = rises(np.array([[20.0], [21.0]]), np.array([10]), [7])
    assert found.rise == pytest.approx(0.1) and np.isnan(found.low)


def test_it_is_said_beside_its_controls_and_causal_only_where_sure():
    found = rises(np.array([[20.0, 50.0], [21.0, 56.0], [20.5, 50.0]]), np.array([10, 30]), [7, 2])
    words = knockout_words(found, 2, 40)
    assert words.takeaway == (
        "Without expert 7 the loss of a token rises by 0.175 nats (95 % interval 0.100 to 0.200); without 1 other that "
        "is as busy, one at a time, by 0.013 to 0.013. It costs more than 1 of these 1."
    )
    assert words.badge == "causal"
    assert knockout_words(found[1:] + found[:1], 2, 40).badge == "observed", "its interval reaches 0"
    assert "other" not in knockout_words(found[:1], 2, 40).takeaway
    assert list(knockout_plot(found).data[1].y) == ["expert 7 (this one)"]
    assert knockout_frame(found)["is_control"].tolist() == [False, True]
