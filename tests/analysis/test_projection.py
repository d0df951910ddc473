"""Points and their neighbours: against plain loops, scikit-learn, planted groups, planted words, and chance."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.decomposition import PCA

from gatescope.analysis.comparison import projection
from gatescope.analysis.comparison.projection import neighbourhood, principal, purity, token_points, unit_points
from gatescope.analysis.counting import tally
from gatescope.analysis.tally.tally import TokenRole, merge, token_roles
from gatescope.routing import Document, Flag
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import part, random_record

ALL = tuple(TokenRole)
EXPERTS = 8


def labelled(ids_tlk, document_t, domains, **arrays):
    record = make_record(ids_tlk, experts=EXPERTS, documents=document_t, **arrays)
    documents = tuple(Document(f"text {d}", id=str(d), domain=domain) for d, domain in enumerate(domains))
    return replace(record, documents=documents)


def top_two(score_te):
    return np.argsort(-score_te, axis=-1)[:, None, :2]


def planted_domains(seed, documents=24, tokens=20, lean=1.5):
    """Two domains; each prefers two experts of its own, whatever the word."""
    generator = np.random.default_rng(seed)
    document_t = np.repeat(np.arange(documents), tokens)
    score_te = generator.random((len(document_t), EXPERTS))
    for g in (0, 1):
        score_te[np.ix_(document_t % 2 == g, [2 * g, 2 * g + 1])] += lean * generator.random(2)
    token_t = generator.integers(0, 12, len(document_t)).astype(np.int32)
    return labelled(top_two(score_te), document_t, ["law", "code"] * (documents // 2), token_t=token_t)


def planted_words(seed, documents=24, tokens=20):
    """Each word has a pair of experts; each domain has four words of its own, and four are of both."""
    generator = np.random.default_rng(seed)
    document_t = np.repeat(np.arange(documents), tokens)
    token_t = (generator.integers(0, 8, len(document_t)) + 4 * (document_t % 2)).astype(np.int32)
    pair_x2 = generator.permutation(list(combinations(range(EXPERTS), 2)))[:12]
    return labelled(pair_x2[token_t][:, None], document_t, ["law", "code"] * (documents // 2), token_t=token_t)


def squared(points):
    square_n = np.diagonal(points.product_nn)
    return square_n[:, None] + square_n - 2 * points.product_nn


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_distances_of_units_are_those_of_hellinger(seed):
    found = tally(random_record(seed))
    points = unit_points(found, facets=ALL)
    count_ule = found.table("assignments").sum(axis=1)
    for n in range(len(points)):
        for m in range(len(points)):
            expected = 0.0
            for layer in range(2):
                p, q = (count_ule[u, layer] / count_ule[u, layer].sum() for u in (n, m))
                expected += sum((a**0.5 - b**0.5) ** 2 for a, b in zip(p, q, strict=True)) / 2
            assert squared(points)[n, m] == pytest.approx(expected, abs=1e-12)
    one = squared(unit_points(found, facets=ALL, layer=0)) + squared(unit_points(found, facets=ALL, layer=1))
    np.testing.assert_allclose(squared(points), one / 2, atol=1e-12)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_distances_of_tokens_are_cosines_of_sets_and_of_weights(seed):
    record = random_record(seed)
    sets, weighed = token_points(record, facets=ALL), token_points(record, facets=ALL, by_weight=True)
    assert sets.row_n.tolist() == list(range(record.tokens))
    for n in range(record.tokens):
        for m in range(record.tokens):
            shared, cosine = 0.0, 0.0
            for layer in range(2):
                one, two = (
                    dict(zip(record.ids_tlk[t, layer], record.weight_tlk[t, layer], strict=True)) for t in (n, m)
                )
                shared += len(one.keys() & two.keys()) / 2
                lengths = [np.sqrt(sum(float(w) ** 2 for w in each.values())) for each in (one, two)]
                cosine += sum(float(one[e]) * float(two[e]) for e in one.keys() & two.keys()) / np.prod(lengths)
            assert sets.product_nn[n, m] == pytest.approx(shared / 2, abs=1e-12)
            assert weighed.product_nn[n, m] == pytest.approx(cosine / 2, abs=1e-12)


def test_layers_with_fewer_experts_and_empty_slots():
    """By hand: layer 1 has 2 experts; token 1 has nothing there, token 3 nothing anywhere."""
    ids = [[[0, 3], [1, 255]], [[0, 255], [255, 255]], [[1, 2], [1, 255]], [[255, 255], [255, 255]]]
    record = make_record(ids, experts=[4, 2], documents=[0, 0, 1, 1])
    points = token_points(record)
    half = 0.5**0.5
    expected = [[1, half / 2, 0.5], [half / 2, 0.5, 0], [0.5, 0, 1]]
    np.testing.assert_allclose(points.product_nn, expected, atol=1e-12)
    assert points.row_n.tolist() == [0, 1, 2] and points.slots_n.tolist() == [3, 1, 3]
    assert points.warnings == ("1 tokens that no expert took are left out.",)


def test_what_is_left_out_is_said_and_the_sample_is_repeatable():
    record = random_record(4, documents=40)
    few = [token_points(record, facets=ALL, most=10, seed=seed) for seed in (1, 1, 2)]
    assert few[0].row_n.tolist() == few[1].row_n.tolist() != few[2].row_n.tolist()
    assert len(set(few[0].row_n.tolist())) == 10
    assert few[0].warnings == (f"A random 10 of {record.tokens} are laid out.",)
    generated = unit_points(tally(record), facets=(TokenRole.GENERATED,))
    without = np.count_nonzero(tally(record).table("tokens")[:, TokenRole.GENERATED] == 0)
    assert without > 0 and len(generated) == 40 - without
    assert generated.warnings == (f"{without} documents or blocks without assignments are left out.",)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_tokens_are_of_the_facet_that_a_tally_counts_them_under(seed):
    record = random_record(seed)
    flags = np.random.default_rng(seed).integers(0, 32, record.tokens).astype(np.uint8)
    record = replace(record, flag_t=np.where(flags & Flag.ENCODER, Flag.ENCODER, flags).astype(np.uint8))
    tokens_f = tally(record, only=["tokens"]).table("tokens").sum(axis=0)
    assert np.bincount(token_roles(record), minlength=4).tolist() == tokens_f.tolist()


def test_principal_components_agree_with_an_independent_implementation():
    points = unit_points(tally(random_record(5, documents=30)), facets=ALL)
    count_ule = tally(random_record(5, documents=30)).table("assignments").sum(axis=1)
    profile = np.sqrt(count_ule / count_ule.sum(axis=2, keepdims=True)).reshape(30, -1) / np.sqrt(2)
    expected = PCA(2, svd_solver="full").fit(profile)
    layout = principal(points)
    np.testing.assert_allclose(np.abs(layout.place_nc), np.abs(expected.transform(profile)), atol=1e-9)
    np.testing.assert_allclose(layout.share_c, expected.explained_variance_ratio_, atol=1e-9)
    assert (layout.place_nc.max(axis=0) >= -layout.place_nc.min(axis=0)).all()


def test_points_that_do_not_differ_lie_at_one_place():
    record = labelled(np.tile([[[0, 1]]], (12, 1, 1)), np.arange(12) // 2, [""] * 6)
    points = token_points(record)
    for layout in (principal(points), neighbourhood(points)):
        assert (layout.place_nc == 0).all() and np.isnan(layout.share_c).all() and np.isnan(layout.size_told)
    only = principal(token_points(record, most=1))
    assert only.place_nc.tolist() == [[0, 0]]
    line = principal(token_points(labelled([[[0, 1]], [[2, 3]]], [0, 1], ["", ""])))
    np.testing.assert_allclose(line.place_nc, [[0.5**0.5, 0], [-(0.5**0.5), 0]], atol=1e-12)


def test_the_length_of_documents_shows_where_it_alone_decides():
    """An even router: the shorter a document, the fewer experts it has met and the further out it lies."""
    generator = np.random.default_rng(0)
    document_t = np.repeat(np.arange(80), np.repeat([2, 60], 40))
    uneven = labelled(top_two(generator.random((len(document_t), EXPERTS)) ** 0.2), document_t, [""] * 80)
    even = labelled(top_two(generator.random((1600, EXPERTS))), np.repeat(np.arange(80), 20), [""] * 80)
    spread_n = np.linalg.norm(principal(unit_points(tally(uneven))).place_nc, axis=1)
    size_n = unit_points(tally(uneven)).slots_n
    assert spread_n[size_n < 10].mean() > 2 * spread_n[size_n > 10].mean()
    assert np.isnan(principal(unit_points(tally(even))).size_told)
    points = unit_points(tally(uneven))
    told = principal(replace(points, slots_n=np.exp(principal(points).place_nc @ [1.0, -2.0] + 5))).size_told
    assert told == pytest.approx(1.0)


def slow_purity(points, by, neighbours, generator, draws=40):
    """Average over random ways to break ties, one point after another."""
    far_nn, label_n, document_n = squared(points).round(9), points.labels[by], points.document_n
    value = []
    for n in range(len(points)):
        other = [m for m in range(len(points)) if document_n[m] != document_n[n] and label_n[m] >= 0]
        if label_n[n] < 0 or not other:
            continue
        hits = []
        for _ in range(draws):
            order = sorted(other, key=lambda m, n=n: (far_nn[n, m], generator.random()))[:neighbours]
            hits.append(np.mean([label_n[m] == label_n[n] for m in order]))
        value.append(np.mean(hits))
    return np.mean(value)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("by", ["domain", "language", "token"])
def test_purity_agrees_with_going_from_point_to_point(seed, by):
    points = token_points(random_record(seed, documents=8), facets=ALL)
    found = purity(points, by, neighbours=4, permutations=5)
    assert found.value == pytest.approx(slow_purity(points, by, 4, np.random.default_rng(seed)), abs=0.03)
    counted = Counter(zip(points.labels[by].tolist(), points.document_n.tolist(), strict=True))
    most = []
    for label, document in zip(points.labels[by].tolist(), points.document_n.tolist(), strict=True):
        if label >= 0:
            alike = sum(n for (one, two), n in counted.items() if one == label and two != document)
            most.append(min(alike, 4) / 4)
    assert found.greatest == pytest.approx(np.mean(most))
    assert found.value <= found.greatest + 1e-12


def test_points_may_have_fewer_neighbours_than_asked_for_beside_points_that_have_them_all():
    place_n = np.array([0.0, 1.0, 2.0, 1.4])
    points = projection.Points(
        product_nn=np.outer(place_n, place_n),
        row_n=np.arange(4),
        document_n=np.array([0, 0, 0, 1]),
        slots_n=np.ones(4, np.int64),
        labels={"token": np.array([0, 1, 0, 1])},
        names={"token": ("a", "b")},
    )
    # the first three have the last alone, of like label once; the last has the points at 1 and 2, of like label once
    assert purity(points, "token", neighbours=2, permutations=5).value == pytest.approx((0 + 1 + 0 + 0.5) / 4)


def test_planted_domains_are_pure_whatever_the_words():
    record = planted_domains(0)
    for points in (unit_points(tally(record)), token_points(record)):
        found = purity(points, "domain")
        assert found.value > found.chance + 0.2 and found.p_value == 1 / 201
        assert abs(found.chance - 0.5) < 0.05
    words = purity(token_points(record), "token")
    assert words.value < words.chance + 0.03


def test_the_confound_shows_where_words_alone_decide():
    """Domains look pure here because they use different words; the words are purer by far."""
    points = token_points(planted_words(1))
    domain, words = purity(points, "domain"), purity(points, "token")
    assert domain.p_value == words.p_value == 1 / 201
    assert words.value == words.greatest == 1.0 and words.chance < 0.2
    assert domain.value == pytest.approx((1 + 11 / 23) / 2, abs=0.03)  # half the words are of both: 11 of 23 documents
    assert abs(domain.chance - 11 / 23) < 0.03


def test_neighbours_in_the_own_document_do_not_count():
    """Every document has an expert of its own, and all have one word: only the document is the same."""
    document_t = np.repeat(np.arange(8), 10)
    record = labelled(document_t[:, None, None], document_t, ["law", "code"] * 4)
    found = purity(token_points(record), "domain")
    assert found.value == pytest.approx(3 / 7)  # all other documents are equally far: 3 of 7 are of the domain


def test_what_documents_alone_explain_is_in_the_chance_of_words():
    """Pairs of documents share an expert and four words, which do not decide it: 1 in 4 neighbours has the word."""
    document_t = np.repeat(np.arange(8), 40)
    token_t = (4 * (document_t // 2) + np.random.default_rng(0).integers(0, 4, 320)).astype(np.int32)
    record = labelled((document_t // 2)[:, None, None], document_t, [""] * 8, token_t=token_t)
    found = purity(token_points(record), "token")
    assert found.value == pytest.approx(1 / 4, abs=0.03)
    assert abs(found.value - found.chance) < 3 * found.chance_spread + 1e-3


def test_labels_that_mean_nothing_are_as_pure_as_chance():
    """The p-values of domains shuffled at random to documents are uniform."""
    points = token_points(planted_words(2), most=200)
    generator = np.random.default_rng(0)
    p_values = []
    for seed in range(60):
        shuffled_d = generator.permutation(np.arange(24) % 2)
        shuffled_points = replace(points, labels={"domain": shuffled_d[points.document_n]})
        p_values.append(purity(shuffled_points, "domain", permutations=39, seed=seed).p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_purity_does_not_depend_on_the_order_or_the_shards():
    record = random_record(7, documents=12)
    whole = tally(record)
    merged = merge(*(tally(part(record, [d for d in range(12) if d % 2 == side])) for side in (1, 0)))
    one, two = (purity(unit_points(each, facets=ALL), "domain", seed=3) for each in (whole, merged))
    assert one == two
    names = np.random.default_rng(0).permutation(record.experts)
    renamed = replace(record, ids_tlk=names[record.ids_tlk].astype(np.uint8))
    three, four = (purity(token_points(each, facets=ALL), "token", seed=3) for each in (record, renamed))
    assert three.value == pytest.approx(four.value, abs=1e-12) and three.p_value == four.p_value


def test_where_purity_is_undefined_it_says_why():
    alone = labelled(top_two(np.random.default_rng(0).random((9, EXPERTS))), np.zeros(9, int), ["law"])
    found = purity(token_points(alone), "domain")
    assert np.isnan([found.value, found.chance, found.p_value, found.greatest]).all() and found.points == 0
    assert found.warnings == ("No purity by domain: labelled points are of 1 documents, and 2 are needed.",)
    assert "of 0 documents" in purity(token_points(alone), "language").warnings[0]
    same = purity(token_points(replace(planted_domains(0), documents=(Document("a", domain="law"),) * 24)), "domain")
    assert (same.value, same.chance, same.p_value) == (1, 1, 1) and "says nothing" in same.warnings[0]


def test_the_nearest_neighbours_stay_together_on_the_plane_and_it_is_repeatable():
    points = unit_points(tally(planted_domains(3, documents=30, tokens=40, lean=3)))
    one, two, other = (neighbourhood(points, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.place_nc, two.place_nc)
    assert not np.allclose(one.place_nc, other.place_nc)
    centre_g = [one.place_nc[points.labels["domain"] == g].mean(axis=0) for g in (0, 1)]
    nearer_n = np.argmin([np.linalg.norm(one.place_nc - centre, axis=1) for centre in centre_g], axis=0)
    assert (nearer_n == points.labels["domain"]).mean() == 1 and np.isnan(one.share_c).all()


def test_what_cannot_be_laid_out_is_refused():
    record, points = random_record(0), token_points(random_record(0), facets=ALL)
    few = token_points(record, facets=ALL, most=4)
    refused = {
        "4 points": lambda: neighbourhood(few),
        "1 neighbours": lambda: neighbourhood(points, neighbours=1),
        "no weights": lambda: token_points(replace(record, weight_tlk=None), by_weight=True),
        "layer 2": lambda: unit_points(tally(record), layer=2),
        "at most 0 points": lambda: token_points(record, most=0),
        "at most 4001 points": lambda: unit_points(tally(record), most=projection.MOST_POINTS + 1),
        "purity by 'tongue'": lambda: purity(points, "tongue"),
        "0 neighbours": lambda: purity(points, "domain", neighbours=0),
        "no statistic 'assignments'": lambda: unit_points(tally(record, only=["tokens"])),
    }
    for said, attempt in refused.items():
        with pytest.raises(OptionError, match=said):
            attempt()
    nothing = unit_points(tally(record), facets=(TokenRole.ENCODER,))
    assert len(nothing) == 0 and principal(nothing).place_nc.shape == (0, 2)
    assert np.isnan(purity(nothing, "domain").value)
