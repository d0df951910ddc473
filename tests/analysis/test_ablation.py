"""What is lost without an expert, against hand counts."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from gatescope.analysis.comparison.ablation import POWER, Loss, as_busy, rises, smallest_shown, texts_needed
from gatescope.app.views.expert.ablation_figure import ablation_figure, ablation_frame, ablation_plot, what_texts_tell


def test_controls_are_as_busy_and_worked_at_all():
    assert as_busy(np.array([1.0, np.nan, 0.9, 0.0, 1.3, 5.0]), 0, most=3) == [2, 4, 5]


def test_a_rise_is_of_a_token_and_its_interval_over_documents():
    """Documents of 10 and 30 tokens that lose 1 and 6 nats: 7/40 in all; a draw is one of the two twice."""
    loss_xd = np.array([[20.0, 50.0], [21.0, 56.0], [20.0, 50.0]])
    found = rises(loss_xd, np.array([10, 30]), [7, 2])
    assert (found[0].expert, found[0].rise) == (7, pytest.approx(7 / 40))
    assert (found[0].low, found[0].high) == (pytest.approx(0.1), pytest.approx(0.2))
    assert tuple(found[1]) == (2, 0, 0, 0, 0, np.inf)


def test_the_texts_that_a_rise_needs_are_those_of_the_textbook():
    """Rises of 0.1 and 0.2 nats a token, 0.175 in all: a spread of 0.0707, so 7.85 · (0.0707 / 0.175)² = 1.28 texts.

    And Cohen's table: d = 0.5 needs 32 pairs by the normal approximation, d = 0.2 needs 197.
    """
    (found,) = rises(np.array([[20.0, 50.0], [21.0, 56.0]]), np.array([10, 30]), [7])
    assert found.spread == pytest.approx(0.1 / np.sqrt(2))
    assert found.needed == pytest.approx(7.85 * 0.005 / 0.175**2)
    assert [math.ceil(texts_needed(d, 1.0)) for d in (0.5, 0.2)] == [32, 197]
    assert pytest.approx((norm.ppf(0.975) + norm.ppf(0.8)) ** 2, abs=0.005) == POWER
    assert smallest_shown(1.0, 32) == pytest.approx(0.4953, abs=1e-4)


def test_an_effect_is_shown_by_so_many_texts_in_four_of_five_draws():
    random = np.random.default_rng(0)
    draws = random.normal(0.25, 1.0, (4000, math.ceil(texts_needed(0.25, 1.0))))
    z = draws.mean(axis=1) * np.sqrt(draws.shape[1]) / draws.std(axis=1, ddof=1)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.03)


def test_few_texts_say_what_they_cannot_establish():
    sure, unsure = Loss(7, 0.02, 0.01, 0.03, 0.02, 7.85), Loss(7, 0.005, -0.01, 0.02, 0.0225, 158.96)
    said = what_texts_tell(unsure, 12)
    assert said.startswith("not established: the interval reaches 0.")
    assert "needs about 159 texts (80 % power" in said
    assert "a rise of 0.018 nats or more shows in four of five such draws" in said  # 0.0225 · √(7.85 / 12)
    assert ablation_figure([unsure], 12, 2000).takeaway.startswith("Not established. Without expert 7")
    assert "they establish that the loss of such texts changes" in what_texts_tell(sure, 12)
    assert "nor where this expert ranks" in what_texts_tell(sure, 12) and "about 8 texts" in what_texts_tell(sure, 12)
    assert "one text establishes nothing" in what_texts_tell(Loss(7, 0.1, np.nan, np.nan), 1)
    assert "does not change" in what_texts_tell(Loss(7, 0.0, 0.0, 0.0, 0.0, np.inf), 12)


def test_one_document_has_no_interval():
    (found,) = rises(np.array([[20.0], [21.0]]), np.array([10]), [7])
    assert found.rise == pytest.approx(0.1) and np.isnan(found.low)


def test_it_is_said_beside_its_controls_and_causal_only_where_sure():
    found = rises(np.array([[20.0, 50.0], [21.0, 56.0], [20.5, 50.0]]), np.array([10, 30]), [7, 2])
    words = ablation_figure(found, 2, 40)
    assert words.takeaway == (
        "Without expert 7 the loss of a token rises by 0.175 nats (95 % interval 0.100 to 0.200); without 1 other that "
        "is as busy, one at a time, by 0.013 to 0.013. It costs more than 1 of these 1."
    )
    assert words.badge == "causal"
    assert ablation_figure(found[1:] + found[:1], 2, 40).badge == "observed", "its interval reaches 0"
    assert "other" not in ablation_figure(found[:1], 2, 40).takeaway
    assert list(ablation_plot(found).data[1].y) == ["expert 7 (this one)"]
    assert ablation_frame(found)["is_control"].tolist() == [False, True]
