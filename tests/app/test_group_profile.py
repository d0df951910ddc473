"""The profile of one domain or language, from results that are written out and checked by hand."""

import numpy as np
import pytest

from gatescope.analysis.registry import Result
from gatescope.app.views.domains.group_profile_figure import Measured, profile_frame, takeaway

GROUPS, NAN = ("code", "law"), np.nan
SHARE = np.array([[[0.50, 0.10, NAN]], [[0.20, 0.30, NAN]]])
"""Of two groups, one layer and three experts, the last of which another layer alone has."""
DIFFERENCE = np.array([[[0.30, -0.20, NAN]], [[-0.30, 0.20, NAN]]])
Q = np.array([[[0.01, 0.20, NAN]], [[0.01, 0.20, NAN]]])


def measured(q=Q) -> Measured:
    difference = Result(value=DIFFERENCE, low=DIFFERENCE - 0.1, high=DIFFERENCE + 0.1, q=q, groups=GROUPS)
    return Measured(share=Result(value=SHARE, groups=GROUPS), difference=difference, distance=None)


def test_rows_are_the_experts_of_the_group_the_one_that_differs_most_first():
    frame = profile_frame(measured(), ["7"], "code", "domain")
    assert frame[["domain", "layer", "expert"]].to_numpy().tolist() == [["code", "7", 0], ["code", "7", 1]]
    assert frame["usage_difference"].tolist() == [0.30, -0.20]
    np.testing.assert_allclose(frame[["low", "high"]], [[0.20, 0.40], [-0.30, -0.10]])
    assert frame["share"].tolist() == [0.50, 0.10] and frame["share_low"].isna().all()


def test_the_sentence_names_what_differs_significantly_and_by_how_much():
    words = takeaway(profile_frame(measured(), ["7"], "code", "domain"), "code")
    assert words == (
        "code: 1 of 2 experts differ significantly (q ≤ 0.05); most above is expert 0 of layer 7, which takes 50 % "
        "of its tokens, +30.0 points (+20.0 to +40.0) against all others."
    )


@pytest.mark.parametrize("q", [None, np.full(SHARE.shape, 0.6)])
def test_without_significance_nothing_is_claimed(q):
    words = takeaway(profile_frame(measured(q), ["7"], "law", "domain"), "law")
    assert words == "law: no expert is used significantly more or less than for all others (q ≤ 0.05)."
