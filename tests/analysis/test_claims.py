"""Verdicts on popular claims: on both sides of every threshold, with too little data, on routers made to measure."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.claims.claims import (
    CLAIMS,
    FEW,
    HITS,
    MORE,
    NEEDED,
    SAME,
    SPARE_CAPACITY,
    SPECIALIST_BITS,
    check_claims,
)
from gatescope.analysis.comparison.teams import by_rule, meetings_of_teams
from gatescope.analysis.counting import tally
from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.verdict import Evidence, Left, left_of
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.registry import Result
from gatescope.routing import Document, RouterRule
from gatescope.routing.parameters import Parameters
from tests.analysis.conftest import make_record

FACTS = {"tokens": 5000, "documents": 40}


def rules(layers=2, **fields):
    known = {"module": "m", "experts": 8, "k": 2, "score": "softmax"}
    return tuple(RouterRule(**known | {"layer": n, "block": n} | fields) for n in range(layers))


def over_layers(value, low=None, high=None, null=None):
    arrays = {"value": value, "low": low, "high": high, "null": null}
    return Result(**{name: None if each is None else np.array(each, float) for name, each in arrays.items()})


def judged(name, results=None, *, layers=None, facts=None, **fields):
    evidence = Evidence(layers=layers or rules(), results=results or {}, **(facts or FACTS), **fields)
    return next(verdict for verdict in check_claims(evidence) if verdict.name == name)


def test_few_weights_work_up_to_half_of_them():
    half = Parameters(routed=80, shared=10, router=4, rest=26, active_routed=20, bytes_by_dtype={"bfloat16": 240})
    verdict = judged("sparse", parameters=half)  # 20 + 10 + 4 + 26 = 60 of 120
    assert verdict.holds == "holds"
    assert "60 of 120 weights (50%)" in verdict.figure and "2 of 8 experts in 2 layers" in verdict.figure
    assert judged("sparse", parameters=replace(half, active_routed=21)).holds == "does not hold"
    assert judged("sparse").holds == "not enough data"


def informed(bits, p, *, by="domain", covered=0.3):
    size = len(bits)
    left = Left(
        bits_l=np.array(bits),
        null_l=np.full(size, 0.01),
        p_l=np.array(p),
        by_words_l=np.full(size, 0.4),
        covered=covered,
    )
    results = {("mutual_information", by): over_layers([0.3] * size, null=[0.1] * size)}
    return judged({"domain": "subject"}.get(by, by), results, layers=rules(size), left={by: left})


@pytest.mark.parametrize("by", ["domain", "language"])
def test_specialists_tell_much_at_the_same_word_in_half_of_the_layers(by):
    much, less = SPECIALIST_BITS, 0.99 * SPECIALIST_BITS
    assert informed([much, less], [0.001, 0.001], by=by).holds == "holds"
    assert informed([less, less], [0.001, 0.001], by=by).holds == "does not hold"
    assert informed([much, less, less], [0.001] * 3, by=by).holds == "does not hold", "one of three layers"


def test_bits_that_chance_may_give_are_no_specialism():
    assert informed([1.0, 1.0], [0.05, 0.05]).holds == "holds"
    assert informed([1.0, 1.0], [0.051, 0.051]).holds == "does not hold"
    assert informed([1.0, 0.0], [0.03, 0.9]).holds == "does not hold", "q = 0.06 of two tests"
    assert informed([0.01, 0.01], [0.001, 0.001]).figure.startswith("Real but slight: ")
    assert informed([0.01, 0.01], [0.9, 0.9]).figure.startswith("Not established: ")
    assert informed([1.0, 1.0], [0.01, 0.01]).figure.startswith("Real and large: ")


def test_bits_beside_chance_hold_chance_as_well():
    found = informed([0.02, 0.04], [0.001, 0.001])
    assert "That is 0.030 to 0.050 bits in all" in found.figure and found.null.endswith("0.010 bits in all.")
    same = [row for row in found.rows if row.measure == "bits about the domain at the same word"]
    assert [(row.value, row.null) for row in same] == [(pytest.approx(0.03), 0.01), (pytest.approx(0.05), 0.01)]
    told = [row for row in found.rows if row.measure == "bits about the domain"]
    assert [(row.value, row.null) for row in told] == [(pytest.approx(0.4), 0.1)] * 2


def test_a_verdict_on_groups_needs_shared_words():
    assert informed([1.0], [0.001], covered=0.05).holds == "holds"
    assert informed([1.0], [0.001], covered=0.049).holds == "not enough data"
    none = judged("subject", {("mutual_information", "domain"): over_layers([0.3, 0.3])})
    assert none.holds == "not enough data"
    assert "mutual_information by domain" in judged("subject").figure, "a corpus without labels"


def test_what_is_large_is_so_by_a_table_with_an_effect_of_one_half():
    table = np.array(
        [[0.25 * 1.5, 0.25 * 0.5], [0.25 * 0.5, 0.25 * 1.5]]
    )  # w: root of the sum of (0.125 squared / 0.25)
    even = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    assert np.sqrt(((table - even) ** 2 / even).sum()) == pytest.approx(0.5)
    assert (table * np.log2(table / even)).sum() == pytest.approx(SPECIALIST_BITS, rel=0.06)


def same_word(low):
    results = {
        ("same_word_overlap", ""): over_layers([low + 0.05] * 2, [low] * 2, [min(low + 0.1, 1)] * 2, [0.3] * 2),
        ("different_word_overlap", ""): over_layers([0.3, 0.32]),
        ("context_share", ""): over_layers([0.1, 0.2]),
    }
    return judged("same-word", results)


def test_a_word_has_always_the_same_experts_when_nine_of_ten_stay():
    assert same_word(SAME).holds == "holds"
    below = same_word(SAME - 0.01)
    assert below.holds == "does not hold"
    assert "30% to 32%" in below.null and "10% to 20% of the route" in below.figure


def test_words_that_were_not_sampled_twice_give_no_verdict():
    nothing = over_layers([np.nan, np.nan])
    names = ("same_word_overlap", "different_word_overlap", "context_share")
    assert judged("same-word", {(name, ""): nothing for name in names}).holds == "not enough data"


def balanced(high):
    return judged(
        "balanced", {("load_max_violation", ""): over_layers([0.1, 0.4], [0.0, 0.3], [0.2, high], [0.05] * 2)}
    )


def test_balance_is_asked_of_every_layer():
    assert balanced(SPARE_CAPACITY).holds == "holds"
    uneven = balanced(SPARE_CAPACITY + 0.01)
    assert uneven.holds == "does not hold"
    assert "1.10 to 1.40 times" in uneven.figure and "1 of 2 layers" in uneven.figure and "1.05 times" in uneven.null


def collapsed(high):
    results = {
        ("load_effective_experts", ""): over_layers([7.5, high - 0.5], [7.0, high - 1], [8.0, high], [7.9, 7.9]),
        ("load_gini", ""): over_layers([0.1, 0.6], null=[0.02, 0.02]),
    }
    return judged("collapsed", results)


def test_one_collapsed_layer_is_a_collapse():
    assert collapsed(FEW * 8).holds == "holds"
    assert collapsed(FEW * 8 + 0.1).holds == "does not hold"


def states(*numbers):
    return judged("dead", {("expert_state", ""): over_layers([list(numbers)])}, layers=rules(1, experts=3))


def test_one_expert_that_is_never_chosen_is_dead():
    assert states(0, 1, -1).holds == "does not hold"
    assert states(0, -2, np.nan).holds == "holds"
    assert states(0, np.nan, 1).holds == "not enough data"
    assert "1 of 3 experts" in states(0, -2, 0).figure


def test_shared_experts_are_refuted_or_left_open():
    assert judged("shared").holds == "does not apply"
    layers = rules(shared_experts=1)
    assert judged("shared", layers=layers).holds == "not enough data"
    for done, holds in ((0.1, "does not hold"), (0.09, "not enough data")):
        results = {("core_coverage", "domain"): over_layers([done, 0.0])}
        assert judged("shared", results, layers=layers).holds == holds


def pairs(meets, *, chance=100.0, **fields):
    """Three experts in one layer: the first two meet as often as said, the others 50 times."""
    count_ef = np.full((3, 3), 50.0)
    count_ef[0, 1] = count_ef[1, 0] = meets
    np.fill_diagonal(count_ef, np.nan)
    support = Result(value=count_ef[None], null=np.full((1, 3, 3), chance))
    return judged("teams", {("coactivation_support", ""): support}, layers=rules(1, experts=3, **fields))


def test_teams_do_most_of_the_work_in_pairs():
    assert pairs(200).holds == "holds"  # lift 2, 200 of 300 meetings
    assert "67% of the meetings" in pairs(200).figure and "2.0 times" in pairs(200).figure
    assert pairs(199).holds == "does not hold", "a lift of 1.99 is no team"
    assert pairs(200, chance=49.0).holds == "not enough data"
    assert pairs(200, k=1).holds == "does not apply"


def test_teams_are_left_open_where_results_keep_some_pairs_only():
    some = Result(
        value=np.full(2, 200.0), null=np.full(2, 90.0), places=np.array([[0, 0, 1], [0, 1, 0]]), sizes=(1, 3, 3)
    )
    found = judged("teams", {("coactivation_support", ""): some}, layers=rules(1, experts=3))
    assert found.holds == "not enough data" and "furthest from chance" in found.figure


def test_most_of_the_meetings_is_half_of_them():
    count_ef = np.array([[np.nan, 200, 100], [200, np.nan, 100], [100, 100, np.nan]])
    share_l, _ = meetings_of_teams(count_ef[None], np.full((1, 3, 3), 100.0))
    assert share_l == pytest.approx([0.5])
    count_ef[0, 2] = count_ef[2, 0] = 101
    assert meetings_of_teams(count_ef[None], np.full((1, 3, 3), 100.0))[0][0] < 0.5


def test_pairs_of_a_grouped_router_are_counted_one_by_one():
    rule = rules(1, experts=8, k=3, groups=4, groups_kept=2)[0]
    generator, met = np.random.default_rng(3), np.zeros((8, 8))
    for _ in range(20_000):
        own = np.flatnonzero(np.isin(np.arange(8) // 2, generator.choice(4, 2, replace=False)))
        chosen = generator.choice(own, 3, replace=False)
        met[np.ix_(chosen, chosen)] += 1
    lift = met / 20_000 / (3 * 2 / (8 * 7))
    off = ~np.eye(8, dtype=bool)
    assert lift[off] == pytest.approx(by_rule(rule, 8)[off], rel=0.08)


def cached(last, often=None):
    hits = {"lru_hit_rate": last, "lfu_hit_rate": often or last}
    return judged(
        "edge",
        {(name, ""): over_layers([each], null=[last]) for name, each in hits.items()},
        layers=rules(1, experts=4),
    )


def test_few_experts_do_when_half_of_them_serve_nine_of_ten():
    assert cached([0.5, HITS, 0.95, 1.0]).holds == "holds"
    slow = cached([0.5, HITS - 0.01, 0.95, 1.0])
    assert slow.holds == "does not hold" and "75% of the experts" in slow.figure
    assert cached([0.5, 0.8, 0.95, 1.0], [0.5, 0.9, 0.95, 1.0]).holds == "holds", "the better of the two"
    assert cached([0.5, 0.6, 0.7, 0.89]).holds == "not enough data"


@pytest.mark.parametrize("facts", [{"tokens": 199, "documents": 40}, {"tokens": 5000, "documents": 19}])
def test_too_little_text_gives_no_verdict(facts):
    results = {("load_max_violation", ""): over_layers([0.1, 0.1], high=[0.2, 0.2])}
    assert judged("balanced", results, facts=facts).holds == "not enough data"
    assert judged("balanced", results, facts={"tokens": 200, "documents": 20}).holds == "holds"


def test_every_claim_has_its_words_and_its_bar():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names) == 10
    assert all(claim.says.endswith(".") and claim.bar.endswith(".") for claim in CLAIMS)


def labelled(ids_tlk, token_t):
    """A record of 60 documents of 120 tokens, of three domains and two languages."""
    record = make_record(ids_tlk, experts=8, documents=np.repeat(np.arange(60), 120), token_t=token_t.astype(np.int32))
    named = tuple(
        Document(f"text {n}", id=str(n), domain=("code", "law", "news")[n % 3], language=("de", "en")[n // 3 % 2])
        for n in range(60)
    )
    return replace(record, documents=named)


def words():
    """Token ids of 60 documents, frequent and rare ones."""
    return np.minimum(np.random.default_rng(5).zipf(1.5, 7200), 400)


def verdicts(record, needed=(*NEEDED, *MORE)):
    counted = tally(record)
    results = {(name, by): METRICS[name](counted, MetricOptions(by=by, resamples=200)) for name, by in needed}
    left = {}
    for by in ("domain", "language"):
        labels_d = np.unique([getattr(document, by) for document in record.documents], return_inverse=True)[1]
        left[by] = left_of(composition(record.ids_tlk, record.token_t, record.document_t, labels_d, permutations=200))
    evidence = Evidence(layers=record.layers, tokens=record.tokens, documents=60, results=results, left=left)
    return {verdict.name: verdict for verdict in check_claims(evidence)}


@pytest.fixture(scope="module")
def of_dice():
    """What is claimed of a router that rolls dice, two layers of 8 experts, two a token."""
    ids_tlk = np.argsort(np.random.default_rng(11).random((7200, 2, 8)), axis=-1)[..., :2]
    return verdicts(labelled(ids_tlk, words()))


def test_a_router_that_follows_the_subject_is_a_specialist_by_subject_alone():
    domain_t = np.repeat(np.arange(60) % 3, 120)
    ids_tlk = np.stack([domain_t, domain_t + 3], axis=-1)[:, None]
    groups = tuple(("mutual_information", by) for by in ("domain", "language"))
    found = verdicts(labelled(ids_tlk, words()), groups)
    assert (found["subject"].holds, found["language"].holds) == ("holds", "does not hold")
    told = found["subject"].rows[-1]
    assert told.value == pytest.approx(np.log2(3), rel=0.02), "each word is about as frequent in all three"


def test_a_router_that_follows_the_word_is_none_however_subjects_differ_in_words():
    token_t = words() % 8
    own_t = np.repeat(np.arange(60) % 3, 120)
    token_t = np.where(np.random.default_rng(2).random(7200) < 0.5, own_t, token_t)
    ids_tlk = np.stack([token_t, (token_t + 1) % 8], axis=-1)[:, None]
    groups = tuple(("mutual_information", by) for by in ("domain", "language"))
    found = verdicts(labelled(ids_tlk, token_t), groups)["subject"]
    assert found.rows[0].value > SPECIALIST_BITS, "in all, experts do tell the subject"
    assert found.holds == "does not hold"


@pytest.mark.parametrize("name", ["subject", "language", "same-word", "collapsed", "dead", "teams", "edge"])
def test_dice_bear_out_no_claim(of_dice, name):
    assert of_dice[name].holds == "does not hold", of_dice[name].figure


def test_dice_are_balanced_and_every_verdict_brings_its_numbers(of_dice):
    assert of_dice["balanced"].holds == "holds"
    told = [verdict for verdict in of_dice.values() if verdict.holds in ("holds", "does not hold")]
    assert len(told) == 8 and all(verdict.rows and verdict.null for verdict in told)
    assert all((verdict.tokens, verdict.documents) == (7200, 60) for verdict in told)
    assert of_dice["shared"].holds == "does not apply" and of_dice["sparse"].holds == "not enough data"
