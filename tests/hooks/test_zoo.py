"""Families without an entry of their own: found, their rule learnt and proven, their routes whole."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hooks import attach, capture
from tests.hooks.zoo import EXPERTS, FAMILIES, small

SURVEY = Path(__file__).parents[3] / "shared" / "families.csv"
SCORE_BY_CONFIG = {"inkling2_text"}
"""Families whose configuration names the scoring function."""
TEXT = "Every family that follows the common shape is read by one rule."


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tokenizer):
    """Every family in turn, read once for all tests of it."""
    return attach(small(request.param), tokenizer, name=request.param)


def test_the_general_rule_reads(model):
    assert [check.name for check in model.selfcheck.checks if not check.passed] == []
    assert all(rule.score in {"softmax", "sigmoid"} and rule.experts >= EXPERTS for rule in model.layers)
    record = capture(model, TEXT)
    assert record.tokens == model.count_tokens(TEXT)
    assert not (record.ids_tlk == record.empty).any()
    sums_tl = record.weight_tlk.astype(np.float32).sum(axis=2)
    for rule in model.layers:
        if rule.is_renormalised:
            np.testing.assert_allclose(sums_tl[:, rule.layer], rule.scale, rtol=3e-3)


@pytest.fixture(scope="module")
def survey():
    """What a survey of the families found in their source, by model type."""
    if not SURVEY.exists():
        pytest.skip(f"needs the survey of families beside the checkout: {SURVEY}")
    with SURVEY.open(encoding="utf-8", newline="") as file:
        return {row["model_type"]: row for row in reversed(list(csv.DictReader(file)))}  # the first of variants


def test_the_rule_that_was_learnt_is_the_one_in_the_source(model, survey):
    found = survey[model.name]
    for rule in model.layers:
        if model.name not in SCORE_BY_CONFIG:
            assert rule.score == found["scoring"].split()[0]
        assert rule.has_selection_bias == (found["bias_correction"] != "none")
        if found["group_limited"] == "none":
            assert rule.groups == 1
        assert (rule.shared_experts > 0) == (found["shared_experts"] != "none")


def test_every_family_is_named_in_the_guarantees():
    text = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
    assert [family for family in FAMILIES if f"`{family}`" not in text] == []
