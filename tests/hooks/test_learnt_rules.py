"""What is learnt of a family from its behaviour is what a survey of the families found in their source."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest

from gatescope.hooks.loading.routers import read_routers
from tests.hooks.families_table import PAGE, with_table
from tests.hooks.zoo import cases, specimen

SURVEY = Path(__file__).parents[3] / "shared" / "families.csv"
SCORES = {"softmax": "softmax", "sigmoid": "sigmoid", "sqrtsoftplus": "sqrtsoftplus", "SparseMixer": "sparsemixer"}
BESIDE = {"doge", "gemma4", "diffusion_gemma"}
"""Families whose always-on part is the ordinary MLP of the layer rather than an expert."""
INNER_ROUTER = {"gemma4", "diffusion_gemma"}
"""Families whose router returns probabilities: the scores are read one module further in."""
NO_MODULE = {"jetmoe", "doge", "llama4"}
"""Families that the survey calls escapes: no module is called with ids."""


@pytest.fixture(scope="module")
def survey():
    if not SURVEY.exists():
        pytest.skip(f"needs the survey of families beside the checkout: {SURVEY}")
    with SURVEY.open(encoding="utf-8", newline="") as file:
        return {row["family"]: row for row in csv.DictReader(file)}


@cache
def read(name):
    thing = specimen(name)
    routers = read_routers(thing.model, thing.inputs)
    routers.close()
    return routers


@pytest.mark.parametrize("name", cases())
def test_score_bias_groups_and_shared_experts(name, survey):
    row, routers = survey[name], read(name)
    for rule in routers.layers:
        words = re.findall(r"\w+", row["scoring"])
        assert rule.score == next(SCORES[word] for word in words if word in SCORES)
        has_bias = row["bias_correction"] != "none" and "plain linear bias" not in row["bias_correction"]
        assert rule.has_selection_bias == (has_bias and not rule.by_token_id)
        assert (rule.groups > 1) == (row["group_limited"] != "none")
        assert (rule.shared_experts > 0) == (row["shared_experts"] != "none" and name not in BESIDE)


@pytest.mark.parametrize("name", cases())
def test_scales_empty_slots_and_options_that_are_no_experts(name, survey):
    row, routers = survey[name], read(name)
    for site, rule in zip(routers.sites, routers.layers, strict=True):
        after = row["scale_after_experts"] != "none" and name != "cohere2_moe_sigmoid"  # that one does not average
        assert (site.output_scale != 1.0) == after
        assert rule.has_expert_scales == ("per_expert_scale" in row["scale_in_router"])
        assert bool(rule.zero_experts) == ("identity experts" in row["zero_identity_experts"])
        may_be_empty = row["capacity_dropping"] != "none" or "SKIP" in row["zero_identity_experts"]
        assert bool(rule.empty_when) == (may_be_empty or name == "ernie4_5_vl_moe")
        assert rule.weighs_input == (name == "llama4")


@pytest.mark.parametrize("name", cases())
def test_router_and_experts_are_where_the_survey_saw_them(name, survey):
    row, routers = survey[name], read(name)
    paths = {kind: set(re.split(r"; | \(", row[f"{kind}_path"])) for kind in ("router", "experts")}
    for site in routers.sites:
        router = site.router_path.removesuffix(".proj") if name in INNER_ROUTER else site.router_path
        assert re.sub(r"(?<=\.)\d+(?=\.)", "{i}", router) in paths["router"]
        if name not in NO_MODULE:
            assert re.sub(r"(?<=\.)\d+(?=\.)", "{i}", site.experts_path) in paths["experts"]


@pytest.mark.slow  # it reads all of them
def test_the_table_of_families_in_the_docs_is_what_the_reader_finds():
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "run python -m tests.hooks.families_table"
