"""Domains by their experts: published counts of OLMoE, planted specialists, hand counts, and chance."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import kstest

from gatescope.analysis.counting import tally
from gatescope.analysis.labels.profiles import composition_share
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.statistics.shares import divergence_bits, shares, total_variation
from gatescope.analysis.tally.tally import Tally, TokenRole, Unit
from gatescope.routing import Document, Provenance, RouterRule
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

DOMAINS = ("arxiv", "book", "c4", "github", "wikipedia")
LAYERS = ("L0", "L7", "L15")


def tally_of_counts(count_ule, tokens_u, domains, k, per_unit=1):
    """A tally whose units are given by their counts alone."""
    units, layers, experts = count_ule.shape
    assignments, tokens = np.zeros((units, 4, layers, experts), np.int64), np.zeros((units, 4), np.int64)
    assignments[:, TokenRole.PROMPT], tokens[:, TokenRole.PROMPT] = count_ule, tokens_u
    rules = [RouterRule(layer=n, block=n, module="m", experts=experts, k=k, score="softmax") for n in range(layers)]
    return Tally(
        layers=tuple(rules),
        provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"),
        units=tuple(Unit(f"{n:04}", domain, "en", per_unit) for n, domain in enumerate(domains)),
        by_unit={"assignments": assignments, "tokens": tokens},
        by_group={},
    )


def planted(generator, documents=24, tokens=30, lean=0.5, groups=2):
    """Top-1 of 6 experts; in domain g expert g is preferred, every document leaning in a way of its own as well."""
    document_t = np.repeat(np.arange(documents), tokens)
    domain_d = np.arange(documents) % groups
    own_de = generator.dirichlet(np.full(6, 3.0), documents) * (1 - lean)
    own_de[np.arange(documents), domain_d] += lean
    experts_t = (own_de.cumsum(axis=1)[document_t] > generator.random((len(document_t), 1))).argmax(axis=1)
    record = make_record(experts_t[:, None, None], experts=6, documents=document_t)
    labelled = tuple(Document(str(d), id=str(d), domain=f"domain {g}") for d, g in enumerate(domain_d))
    return replace(record, documents=labelled)


def asked(name, record, **options):
    return METRICS[name](tally(record), MetricOptions(**({"by": "domain", "resamples": 199} | options)))


@pytest.fixture(scope="module")
def olmoe(realdata):
    counts = json.loads((realdata / "olmoe" / "domain_counts.json").read_text())
    count_ule = np.array([[counts[f"olmoe/{d}/{layer}"]["counts"] for layer in LAYERS] for d in DOMAINS])
    return tally_of_counts(count_ule, [counts[f"olmoe/{d}/L0"]["tokens"] for d in DOMAINS], DOMAINS, 8)


def test_olmoe_domain_specialisation_agrees_with_the_published_cells(olmoe, realdata):
    expected = json.loads((realdata / "expected.json").read_text())["olmoe"]
    result = METRICS["token_share_of_group"](olmoe, MetricOptions(by="domain", resamples=0))
    percent_gle = 100 * result.value
    assert result.groups == DOMAINS and result.null[0, 0, 0] == 1 / 8
    assert percent_gle[0, 0, 0] == pytest.approx(expected["arxiv_L0_expert0_pct"], abs=1e-3)
    assert percent_gle[1, 1, 4] == pytest.approx(expected["book_L7_expert4_pct"], abs=1e-3)
    assert (-percent_gle[1, 1]).argsort()[:3].tolist() == expected["book_L7_top3"]
    for place, (highest, lowest, _) in expected["max_min_std"].items():
        model, domain, layer = place.split("/")
        if model == "olmoe":
            row_e = percent_gle[DOMAINS.index(domain), LAYERS.index(layer)]
            assert [row_e.max(), row_e.min()] == pytest.approx([highest, lowest], abs=1e-3)
    np.testing.assert_allclose(result.value.sum(axis=2), 8)


def test_olmoe_information_about_five_domains_agrees_with_the_published_figures(olmoe):
    result = METRICS["mutual_information"](olmoe, MetricOptions(by="domain", resamples=1))
    nats_l = (result.value + result.null) * np.log(2)
    assert nats_l.round(3).tolist() == [0.116, 0.278, 0.347]


def test_olmoe_information_and_composition_share_of_four_domains(realdata):
    """From the counts by token id, whose marginals differ by up to 1.6 % from those of the test above."""
    counts = np.load(realdata / "olmoe" / "expert_token_counts.npz")
    found = [composition_share([counts[f"{d}_{layer}"] for d in DOMAINS if d != "c4"]) for layer in LAYERS]
    assert [round(bits * np.log(2), 3) for bits, _ in found] == [0.126, 0.286, 0.345]
    assert [round(100 * share) for _, share in found] == [43, 49, 52]


def test_olmoe_drift_from_base_to_tuned_checkpoints(realdata):
    counts = json.loads((realdata / "olmoe" / "domain_counts.json").read_text())
    base, tuned, preferred = (
        np.array([counts[f"{model}/tulu/{layer}"]["counts"] for layer in LAYERS])
        for model in ("olmoe", "olmoe-sft", "olmoe-dpo")
    )
    one, two, three = shares(base), shares(tuned), shares(preferred)
    assert total_variation(one, two).round(3).tolist() == [0.048, 0.050, 0.083]
    assert divergence_bits(one, two).round(3).tolist() == [0.006, 0.006, 0.009]
    assert total_variation(two, three).round(3).tolist() == [0.006, 0.007, 0.011]
    assert (800 * np.abs(one - two).max(axis=1)).round().tolist() == [17, 14, 9]


def test_olmoe_distances_of_domains_agree_with_an_independent_implementation(olmoe):
    share_gle = shares(olmoe.table("assignments")[:, 0])
    result = METRICS["profile_divergence"](olmoe, MetricOptions(by="domain", resamples=0))
    for layer in range(3):
        for g in range(5):
            for h in range(5):
                root = jensenshannon(share_gle[g, layer], share_gle[h, layer], base=2)
                assert result.value[layer, g, h] == pytest.approx(root**2, abs=1e-12)
    assert result.p is None and any("one document only" in said for said in result.warnings)


def test_shares_and_leaning_by_counting_one_by_one():
    record = random_record(3, documents=9)
    for facets in ((TokenRole.PROMPT, TokenRole.GENERATED), (TokenRole.FORMAT,)):
        share = asked("token_share_of_group", record, facets=facets, resamples=0)
        lean = asked("usage_difference", record, facets=facets, resamples=0)
        used, tokens = Counter(), Counter()
        for ids_lk, document, flag in zip(record.ids_tlk, record.document_t, record.flag_t, strict=True):
            if (flag == 1) == (facets == (TokenRole.FORMAT,)):
                domain = record.documents[document].domain
                tokens[domain] += 1
                used.update((domain, n, e) for n, row in enumerate(ids_lk) for e in row)
        for g, h in ((0, 1), (1, 0)):
            one, two = share.groups[g], share.groups[h]
            for n, e in np.ndindex(2, 5):
                of_one, of_two = used[one, n, e] / tokens[one], used[two, n, e] / tokens[two]
                assert share.value[g, n, e] == pytest.approx(of_one)
                assert lean.value[g, n, e] == pytest.approx(of_one - of_two)


def test_planted_specialists_are_found_and_no_others():
    record = planted(np.random.default_rng(0), groups=3)
    result = asked("usage_difference", record)
    for g in range(3):
        assert result.value[g, 0].argmax() == g and result.q[g, 0, g] < 0.05
    assert (result.q[:, 0, 3:] > 0.05).all()
    assert (asked("mutual_information", record).q < 0.05).all()
    assert asked("label_decoding_accuracy", record).value[0] > 0.9
    shift = asked("profile_shift", record)
    assert (shift.q[0][np.tril_indices(3, -1)] < 0.05).all()
    assert (shift.value[0] > shift.null[0])[np.tril_indices(3, -1)].all()


def confounded(generator, documents=48):
    """Language picks the expert and nothing else does; three quarters of the law texts are French, one of code."""
    domain_d = np.arange(documents) % 2
    french_d = (np.arange(documents) // 2) % 4 < np.where(domain_d, 1, 3)
    expert_t = np.repeat(french_d.astype(int), 20) ^ (generator.random(documents * 20) < 0.2)
    record = make_record(expert_t[:, None, None], experts=3, documents=np.repeat(np.arange(documents), 20))
    labelled = [
        Document(str(d), id=str(d), domain=("law", "code")[domain], language=("en", "fr")[french])
        for d, (domain, french) in enumerate(zip(domain_d, french_d.astype(int), strict=True))
    ]
    return replace(record, documents=tuple(labelled))


def test_what_a_language_does_is_not_found_of_the_domain_written_in_it():
    """The shares differ by about 0.3, and as much when domains are shuffled within each language: p is not small."""
    record = confounded(np.random.default_rng(4))
    lean = asked("usage_difference", record)
    code, law = lean.groups.index("code"), lean.groups.index("law")
    assert lean.value[law, 0, 1] > 0.2 and lean.null[law, 0, 1] == pytest.approx(lean.value[law, 0, 1], abs=0.05)
    assert (lean.p[:, 0, :2] > 0.05).all()
    shift = asked("profile_shift", record)
    assert shift.value[0, code, law] > 0.2 and shift.p[0, code, law] > 0.05
    by_language = asked("usage_difference", record, by="language")
    assert (by_language.q[:, 0, :2] < 0.05).all()


def test_labels_that_no_stratum_shares_cannot_be_shuffled_and_that_is_said():
    record = planted(np.random.default_rng(0))
    one_each = tuple(replace(d, language="en" if d.domain.endswith("0") else "fr") for d in record.documents)
    result = asked("usage_difference", replace(record, documents=one_each))
    assert (result.p[:, 0] == 1).all() and any("no shuffle differs" in said for said in result.warnings)


@pytest.mark.slow
def test_nothing_is_found_where_documents_lean_but_domains_do_not():
    """The unit is the document: p is uniform however strongly single documents lean."""
    p_information, p_shift, p_leaning, hits = [], [], [], []
    for seed in range(60):
        record = planted(np.random.default_rng(seed), documents=16, tokens=15, lean=0.0)
        options = {"resamples": 99, "seed": seed}
        p_information.append(asked("mutual_information", record, **options).p[0])
        p_shift.append(asked("profile_shift", record, **options).p[0, 0, 1])
        p_leaning.append(asked("usage_difference", record, **options).p[0, 0, 5])
        hits.append(asked("label_decoding_accuracy", record, resamples=0).value[0])
    assert [kstest(p, "uniform").pvalue > 0.01 for p in (p_information, p_shift, p_leaning)] == [True] * 3
    assert 0.42 < np.mean(hits) < 0.58


def test_the_core_is_who_leads_everywhere_and_its_coverage_is_their_work():
    """Expert 0 takes half of every domain's work, expert 1 a quarter of one domain's, of eight experts."""
    count_ue = np.array([[40, 20, 4, 4, 4, 4, 2, 2] if n % 2 else [40, 5, 7, 5, 7, 5, 6, 5] for n in range(12)])
    found = tally_of_counts(count_ue[:, None], [80] * 12, ["law", "code"] * 6, 1)
    ask = MetricOptions(by="domain", resamples=99)
    member = METRICS["core_membership"](found, ask)
    assert member.value[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]  # 20 of 80 is just twice an even share: not above it
    assert METRICS["core_coverage"](found, ask).value[0] == pytest.approx(0.5)
    with pytest.raises(OptionError, match="0 resamples"):
        METRICS["core_coverage"](found, MetricOptions(by="domain", resamples=0))


def test_labels_that_are_missing_or_alone_are_said_not_counted():
    record = random_record(2)
    lone = replace(
        record, documents=tuple(replace(d, domain="law" if n < 2 else "") for n, d in enumerate(record.documents))
    )
    result = asked("mutual_information", lone)
    assert result.groups == ("law",) and result.value.tolist() == [0, 0]
    assert "one label or none: there is nothing to tell apart" in result.warnings
    assert "4 documents without a label are left out" in result.warnings
    bare = replace(record, documents=tuple(replace(d, domain="") for d in record.documents))
    for name in ("mutual_information", "usage_difference", "core_membership", "label_decoding_accuracy"):
        with pytest.raises(OptionError, match="which no document states"):
            asked(name, bare)


def test_experts_that_a_layer_lacks_have_no_share():
    record = make_record([[[0, 1], [3, 1]], [[1, 0], [3, 2]]], experts=[2, 4], documents=[0, 1])
    record = replace(record, documents=(Document("a", domain="law"), Document("b", domain="code")))
    for name in ("token_share_of_group", "usage_difference"):
        value = asked(name, record, resamples=9).value
        assert np.isnan(value[:, 0, 2:]).all() and np.isfinite(value[:, 0, :2]).all()


def test_a_layer_without_assignments_is_undefined():
    ids_tlk = np.array([[[0], [255]], [[1], [255]], [[0], [255]], [[1], [255]]])
    record = make_record(ids_tlk, experts=2, documents=[0, 1, 2, 3])
    record = replace(record, documents=tuple(Document(str(n), id=str(n), domain="ab"[n % 2]) for n in range(4)))
    for name in (
        "mutual_information",
        "profile_shift",
        "profile_divergence",
        "label_decoding_accuracy",
        "core_coverage",
    ):
        assert np.isnan(np.take(asked(name, record, resamples=9).value, 1, axis=0)).all(), name


def test_what_a_language_tells_is_not_told_of_the_domains_that_are_written_in_it():
    """Experts follow the language, domains are unevenly spread over languages: domains alone seem to be told apart."""
    generator = np.random.default_rng(3)
    languages = np.repeat(["en", "de"], 30)
    domains = np.where(generator.random(60) < np.where(languages == "en", 0.9, 0.1), "law", "code")
    ids = np.concatenate([generator.integers(0, 2, 20) + 2 * (language == "de") for language in languages])
    record = make_record(ids[:, None, None], experts=4, documents=np.repeat(np.arange(60), 20))
    documents = tuple(
        Document("", id=str(n), domain=str(d), language=str(v))
        for n, (d, v) in enumerate(zip(domains, languages, strict=True))
    )
    within = METRICS["mutual_information"](
        tally(replace(record, documents=documents)), MetricOptions(by="domain", resamples=200)
    )
    mute = tuple(replace(document, language="") for document in documents)
    pooled = METRICS["mutual_information"](
        tally(replace(record, documents=mute)), MetricOptions(by="domain", resamples=200)
    )
    assert pooled.value[0] > 0.3 and pooled.p[0] < 0.01
    assert abs(within.value[0]) < 0.02 and within.p[0] > 0.05


def test_the_interval_of_a_leaning_is_that_of_a_difference_of_two_ratios():
    """Delta method, over documents: the variance of c/t is n/(n - 1) times the sum of (c - r t)² over T²."""
    generator = np.random.default_rng(4)
    tokens_u, domains = generator.integers(20, 60, 80), ("code", "law") * 40
    count_u = generator.binomial(tokens_u, generator.beta(4, 6, 80))
    built = tally_of_counts(np.stack([count_u, tokens_u - count_u], axis=1)[:, None], tokens_u, domains, k=1)
    found = METRICS["usage_difference"](built, MetricOptions(by="domain", resamples=4000))
    own_u, variance = np.arange(80) % 2 == 0, 0.0
    for side_u in (own_u, ~own_u):
        c, t = count_u[side_u], tokens_u[side_u]
        variance += 40 / 39 * ((c - c.sum() / t.sum() * t) ** 2).sum() / t.sum() ** 2
    half = 1.96 * np.sqrt(variance)
    assert found.value[0, 0, 0] - found.low[0, 0, 0] == pytest.approx(half, rel=0.08)
    assert found.high[0, 0, 0] - found.value[0, 0, 0] == pytest.approx(half, rel=0.08)


def test_a_leaning_of_one_document_has_no_interval():
    built = tally_of_counts(np.array([[[3, 1]], [[1, 3]], [[2, 2]]]), [4, 4, 4], ("code", "law", "law"), k=1)
    found = METRICS["usage_difference"](built, MetricOptions(by="domain", resamples=20))
    assert np.isnan(found.low).all() and np.isnan(found.high).all() and np.isfinite(found.value).all()
