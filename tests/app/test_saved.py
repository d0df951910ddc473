"""What every figure gives to save: a table that says of which layer, model and tokens it is, in which unit."""

import io
import re
from functools import partial

import pandas as pd
import pytest

from gatescope.app.shell.session import server
from tests.app.figures_shown import CORPUS, EVERY_VISIT, MODEL, QUICK, SCOPES, VISITS, figures_server

SAVED = ("slice", "range", "compared")
KINDS = {"CSV": partial(pd.read_csv, dtype={"fingerprint": str}), "Parquet": pd.read_parquet}
EVERYWHERE = {"layer", "unit", "scope", "model", "fingerprint"}
WORDS_OF = {
    "slice": "domain:law",
    "range": "tokens 3 to 60 of document 2",
    "compared": "domain:law",
}


SAVING = [each for each in EVERY_VISIT if VISITS[each.id][0] not in ("prompt", "model")]
"""Visits whose figures have one way to be saved; the Prompt page saves its tables elsewhere, claims have no layer."""

MODELS = {"two models": {MODEL, "sift-sigmoid"}, "settling": {MODEL, "sift-softmax after 2686 steps"}}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with figures_server(tmp_path_factory.mktemp("captures")) as open_page:
        yield open_page


EVERY_SCOPE = [pytest.param(scope, marks=[] if scope in QUICK else pytest.mark.slow, id=scope) for scope in SAVED]


@pytest.mark.parametrize("scope", EVERY_SCOPE)
@pytest.mark.parametrize("visit", SAVING)
def test_every_table_is_had_and_says_what_it_is_of_with_both_ends_of_its_intervals(opened, visit, scope):
    page, own, state = VISITS[visit]
    _, figures = opened(page, SCOPES[scope] | own, state)
    for each in figures:
        assert set(each.saves) == set(KINDS), each.key
        tables = {kind: read(io.BytesIO(each.saves[kind]())) for kind, read in KINDS.items()}
        assert list(tables["CSV"].columns) == list(tables["Parquet"].columns), each.key
        assert len(tables["CSV"]) == len(tables["Parquet"]) == len(each.frame()), each.key
        assert len(tables["CSV"]) or "defined nowhere" in each.takeaway, each.key
        assert all(re.fullmatch(r"[a-z_0-9 ]+", name) for name in tables["CSV"].columns), each.key
        ends = [name for name in each.frame() if name == "low" or name.endswith("_low")]
        assert ends or not each.has_interval, each.key
        assert all(end.replace("low", "high") in each.frame() for end in ends), each.key
        if page == "guide":
            continue
        table = tables["CSV"]
        assert set(table.columns) >= EVERYWHERE, each.key
        if table.empty:
            continue
        assert table[["layer", "unit", "model"]].notna().all().all(), each.key
        assert set(table["model"]) <= MODELS.get(visit, {MODEL}), each.key
        assert set(table["fingerprint"].str.len()) == {16} or visit == "settling", "a step of training goes by its name"
        assert MODEL in each.file and re.search(r"-(all-layers|layer-\d+)$", each.file), each.file
        if each.key in ("map", "enough", "ladder", "margins", "settling"):
            continue
        assert WORDS_OF[scope] in set(table["scope"]), (each.key, set(table["scope"]))


def test_bits_beyond_chance_are_one_number_on_both_sides_of_the_page(opened):
    page, own, state = VISITS["domains"]
    _, figures = opened(page, SCOPES["facet"] | own, state)
    told, split = (next(each.frame() for each in figures if each.key == key) for key in ("told", "split"))
    assert told["beyond_chance_bits"].tolist() == split["beyond_chance_bits"].tolist()


def test_the_claims_about_a_model_are_saved_with_the_model_they_are_of(opened):
    assert server().worker(MODEL).loading.wait(120)
    _, figures = opened("model", {"c": CORPUS, "m": MODEL}, {f"claims-of-{CORPUS}": True})
    claims = next(each for each in figures if each.key == "claims")
    table = pd.read_csv(io.BytesIO(claims.saves["CSV"]()))
    assert set(table["model"]) == {MODEL} and {"low", "high", "layer", "unit", "fingerprint"} <= set(table.columns)
