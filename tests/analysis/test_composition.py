"""Words against labels: by hand, against counting with dictionaries, planted causes, calibration, published counts."""

from collections import Counter, defaultdict
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from gatescope.analysis.labels.composition import composition
from gatescope.analysis.statistics.information import excess_information
from gatescope.analysis.statistics.load import counts_by_document
from gatescope.routing import EMPTY8, EMPTY16
from gatescope.routing.errors import OptionError


def flat(experts_t, kind=np.uint8):
    """Routes of one layer and one slot."""
    return np.asarray(experts_t).astype(kind)[:, None, None]


def numbers(layers):
    """Every number of some results, in a row."""
    return np.array([number for layer in layers for part in layer for number in np.atleast_1d(part)], dtype=float)


def one(experts_t, token_t, document_t, labels_d, **options):
    """The only layer's result."""
    options = {"permutations": 99, "least_tokens": 2} | options
    return composition(flat(experts_t), np.asarray(token_t), np.asarray(document_t), np.asarray(labels_d), **options)[0]


def bits_of(weights):
    """Mutual information of the pairs in a dictionary of weights."""
    total, left, right = sum(weights.values()), defaultdict(float), defaultdict(float)
    for (one_side, other), weight in weights.items():
        left[one_side] += weight
        right[other] += weight
    parts = [w * log2(w * total / (left[a] * right[b])) for (a, b), w in weights.items() if w > 0]
    return sum(parts) / total if total else float("nan")


def words_by_dictionaries(pairs, labels):
    """Word bits, and the shares backed off and of one label, from (token, id, document, expert) of labelled ones."""
    words, lone, ones = defaultdict(float), 0, 0
    for _, word, document, _ in pairs:
        elsewhere = [pair for pair in pairs if pair[1] == word and pair[2] != document]
        ones += len({labels[pair[2]] for pair in pairs if pair[1] == word}) == 1
        lone += not elsewhere
        elsewhere = elsewhere or [pair for pair in pairs if pair[2] != document] or pairs
        for pair in elsewhere:
            words[labels[document], pair[3]] += 1 / len(elsewhere)
    return bits_of(words), lone / len(pairs), ones / len(pairs)


def conditional_by_dictionaries(pairs, labels, least, ids):
    """Bits at the same id over some ids, and how many assignments each covered id has."""
    bits, covered = 0.0, {}
    tokens = Counter((word, labels[document]) for _, word, document in {pair[:3] for pair in pairs})
    for word in ids:
        often = {label for (other, label), number in tokens.items() if other == word and number >= least}
        if len(often) >= 2:
            table = Counter((labels[d], e) for _, other, d, e in pairs if other == word and labels[d] in often)
            bits += bits_of(table) * table.total()
            covered[word] = table.total()
    return bits / sum(covered.values()) if covered else 0.0, covered


def test_by_hand_half_of_the_difference_between_labels_is_the_words():
    """Experts follow the word for words 0 and 1, and the label at word 2; each word is in every document."""
    words = [0, 0, 0, 1, 2, 2, 2, 2], [0, 1, 1, 1, 2, 2, 2, 2]
    token_t = np.array([*words[0], *words[0], *words[1], *words[1]])
    document_t, labels_d = np.arange(32) // 8, np.array([0, 0, 1, 1])
    experts_t = np.where(token_t == 2, labels_d[document_t], token_t)
    layer = one(experts_t, token_t, document_t, labels_d, least_tokens=3)

    def entropy(p):
        return -p * log2(p) - (1 - p) * log2(1 - p)

    assert layer.label.observed_bits == pytest.approx(1 - entropy(7 / 8))
    # at word 2 a document of label 0 expects what the three others do: label 0 once, label 1 twice, so expert 0 at 1/3
    assert layer.words.observed_bits == pytest.approx(1 - entropy((3 + 4 / 3) / 8))
    assert layer.given_words.observed_bits == pytest.approx(1.0)  # over word 2 alone: words 0 and 1 are too rare once
    assert layer.covered == pytest.approx(16 / 32)
    assert (layer.backed_off, layer.one_label) == (0, 0)


def test_ids_of_one_document_are_predicted_as_the_average_of_the_others():
    """Every document has a word of its own: the words explain nothing, however well they fit their document."""
    document_t = np.arange(40) // 4
    labels_d = np.arange(10) % 2
    layer = one(labels_d[document_t], document_t, document_t, labels_d)
    assert layer.label.observed_bits == 1.0 and layer.backed_off == layer.one_label == 1.0
    lean = 4 / 9  # of the nine other documents, four have the label
    assert layer.words.observed_bits == pytest.approx(1 + lean * log2(lean) + (1 - lean) * log2(1 - lean))
    assert layer.agreement == pytest.approx(-1.0)
    assert np.isnan(layer.given_words.observed_bits) and layer.covered == 0


def test_words_of_one_label_explain_and_are_said_to_be_of_one_label():
    """Each label has its own words, in all its documents: word and label are one, and the words get it all."""
    document_t, labels_d = np.arange(40) // 4, np.arange(10) % 2
    layer = one(labels_d[document_t], labels_d[document_t], document_t, labels_d)
    assert layer.share == layer.agreement == pytest.approx(1.0)
    assert (layer.backed_off, layer.one_label, layer.covered) == (0.0, 1.0, 0.0)
    assert np.isnan(layer.given_words.p_value)


def text(generator, *, documents=40, length=60, words=30, labels=4, tilt=0.0):
    """Tokens, documents and labels; with a tilt, each label prefers words of its own."""
    labels_d, document_t = np.arange(documents) % labels, np.repeat(np.arange(documents), length)
    preferred_t = generator.integers(0, words // labels, len(document_t)) * labels + labels_d[document_t]
    any_t = generator.integers(0, words // labels * labels, len(document_t))
    return np.where(generator.random(len(document_t)) < tilt, preferred_t, any_t), document_t, labels_d


def drawn(generator, p_te):
    return (p_te.cumsum(axis=1) > generator.random((len(p_te), 1))).argmax(axis=1)


def test_routing_by_word_is_explained_by_words_and_nothing_is_left_at_the_same_word():
    generator = np.random.default_rng(0)
    token_t, document_t, labels_d = text(generator, documents=60, length=200, tilt=0.8)
    p_xe = generator.dirichlet(np.full(6, 0.3), size=30)
    layer = one(drawn(generator, p_xe[token_t]), token_t, document_t, labels_d, least_tokens=5, permutations=199)
    assert layer.label.p_value == layer.words.p_value == 1 / 200
    assert layer.share_excess == pytest.approx(1.0, abs=0.15) and layer.agreement > 0.95
    assert layer.given_words.p_value > 0.05 and layer.given_words.excess_bits < 0.1 * layer.label.excess_bits


def test_routing_by_label_over_shared_words_is_not_explained_by_words():
    generator = np.random.default_rng(1)
    token_t, document_t, labels_d = text(generator)
    p_ge = generator.dirichlet(np.full(6, 0.5), size=4)
    experts_t = drawn(generator, p_ge[labels_d[document_t]])
    layer = one(experts_t, token_t, document_t, labels_d, least_tokens=5, permutations=199)
    assert layer.label.p_value == layer.given_words.p_value == 1 / 200
    assert abs(layer.share_excess) < 0.02
    assert layer.given_words.excess_bits == pytest.approx(layer.label.excess_bits, rel=0.2)


def test_routing_by_both_is_partly_explained_and_something_is_left():
    generator = np.random.default_rng(2)
    token_t, document_t, labels_d = text(generator, documents=60, length=100, tilt=0.8)
    p_xe, p_ge = generator.dirichlet(np.full(6, 0.3), size=30), generator.dirichlet(np.full(6, 0.3), size=4)
    p_te = 0.8 * p_xe[token_t] + 0.2 * p_ge[labels_d[document_t]]
    layer = one(drawn(generator, p_te), token_t, document_t, labels_d, least_tokens=5, permutations=199)
    assert layer.words.p_value == layer.given_words.p_value == 1 / 200
    assert 0.1 < layer.share_excess < 0.9


def test_moves_that_cancel_over_words_are_seen_at_the_word():
    """Two words swap their experts with the label: the labels' profiles are alike, the routes are not."""
    document_t, labels_d = np.arange(80) // 4, np.arange(20) % 2
    token_t = np.tile([0, 1, 0, 1], 20)
    layer = one(token_t ^ labels_d[document_t], token_t, document_t, labels_d)
    assert layer.label.observed_bits == 0 and np.isnan(layer.share) and np.isnan(layer.agreement)
    assert layer.given_words.observed_bits == 1.0 and layer.given_words.p_value == 0.01


DOCUMENTS = 4
TOKENS = st.tuples(
    st.integers(0, DOCUMENTS - 1), st.integers(0, 3), st.lists(st.integers(0, 2), unique=True, min_size=0, max_size=2)
)


@settings(max_examples=80)
@given(st.lists(TOKENS, min_size=1, max_size=24), st.lists(st.integers(-1, 2), min_size=DOCUMENTS, max_size=DOCUMENTS))
def test_agrees_with_counting_by_dictionaries(tokens, labels):
    tokens.sort(key=lambda token: token[0])
    ids_tlk = np.array([[[*experts, EMPTY8, EMPTY8][:2]] for *_, experts in tokens], np.uint8)
    token_t, document_t = np.array([word for _, word, _ in tokens]), np.array([number for number, *_ in tokens])
    pairs = [(n, word, d, e) for n, (d, word, experts) in enumerate(tokens) for e in experts if labels[d] >= 0]
    layer = composition(ids_tlk, token_t, document_t, np.array(labels), least_tokens=2, permutations=3, seed=4)[0]
    if not pairs:
        assert layer.label.assignments == 0
        assert np.isnan([*layer[3:], layer.words.observed_bits, layer.given_words.observed_bits]).all()
        return
    words, lone, ones = words_by_dictionaries(pairs, labels)
    given_words, covered = conditional_by_dictionaries(pairs, labels, 2, set(token_t))
    assert layer.label.observed_bits == pytest.approx(bits_of(Counter((labels[d], e) for *_, d, e in pairs)), abs=1e-9)
    assert layer.words.observed_bits == pytest.approx(words, abs=1e-9)
    assert [layer.backed_off, layer.one_label] == pytest.approx([lone, ones])
    assert layer.given_words.assignments == sum(covered.values())
    if not covered:
        assert np.isnan([layer.given_words.observed_bits, layer.given_words.null_mean_bits]).all()
        return
    assert layer.given_words.observed_bits == pytest.approx(given_words, abs=1e-9)


def test_by_hand_a_half_of_the_null_of_four_documents_is_of_one_sign():
    """One token each. Of 16 signs, 2 part the labels by 4/3 of what is observed, 8 by a third of it, 6 not at all."""
    layer = one([0, 0, 1, 1], np.zeros(4, int), np.arange(4), [0, 0, 1, 1], permutations=1999)
    given_words = layer.given_words
    assert given_words.observed_bits == 1.0 and given_words.documents == given_words.assignments == 4
    assert given_words.null_mean_bits == pytest.approx(1 / 3, abs=0.03)
    assert given_words.p_value == pytest.approx(1 / 8, abs=0.03)


def test_one_document_of_each_label_tells_nothing():
    """They differ as far as can be, but so may any two: half of the signs part them further, by twice as much."""
    document_t = np.arange(24) // 12
    given_words = one(document_t, np.zeros(24, int), document_t, [0, 1], permutations=1999).given_words
    assert given_words.observed_bits == pytest.approx(1.0)
    assert given_words.null_mean_bits == pytest.approx(1.0, abs=0.07)
    assert given_words.p_value == pytest.approx(0.5, abs=0.04)


def test_p_values_are_uniform_when_routing_follows_word_and_document_but_not_label():
    """Labels mean nothing, yet each document has a leaning of its own: the unit that is shuffled is the document."""
    p_values = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        token_t, document_t, labels_d = text(generator, documents=24, length=40, labels=3)
        p_xe, p_de = generator.dirichlet(np.full(5, 0.5), size=30), generator.dirichlet(np.full(5, 1.0), size=24)
        p_te = 0.6 * p_xe[token_t] + 0.4 * p_de[document_t]
        layer = one(drawn(generator, p_te), token_t, document_t, labels_d, least_tokens=5, seed=seed)
        p_values.append((layer.label.p_value, layer.words.p_value, layer.given_words.p_value))
    assert [kstest(column, "uniform").pvalue > 0.01 for column in np.transpose(p_values)] == [True] * 3


def test_p_values_at_the_same_word_are_uniform_when_the_common_words_differ_by_label():
    """The frequent words belong to one label each; those shared are rare. No routing by label, so none is seen."""
    p_values = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        token_t, document_t, labels_d = text(generator, documents=24, length=60, words=90, labels=3)
        own_t = 100 + 10 * labels_d[document_t] + generator.integers(0, 10, len(document_t))
        token_t = np.where(generator.random(len(token_t)) < 0.6, own_t, token_t % 40)
        p_xe, p_de = generator.dirichlet(np.full(5, 0.5), size=130), generator.dirichlet(np.full(5, 1.0), size=24)
        p_te = 0.7 * p_xe[token_t] + 0.3 * p_de[document_t]
        layer = one(drawn(generator, p_te), token_t, document_t, labels_d, least_tokens=4, seed=seed)
        assert 0.2 < layer.covered < 0.45 and layer.one_label > 0.5
        p_values.append(layer.given_words.p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_layers_are_independent_of_each_other_and_empty_ones_undefined():
    generator = np.random.default_rng(3)
    token_t, document_t, labels_d = text(generator, documents=8, length=20)
    ids_tlk = np.argsort(generator.random((160, 3, 5)), axis=2)[:, :, :2].astype(np.uint8)
    ids_tlk[:, 1] = EMPTY8
    options = {"least_tokens": 2, "permutations": 19}
    layers = composition(ids_tlk, token_t, document_t, labels_d, **options)
    for n in (0, 2):
        alone = composition(ids_tlk[:, n : n + 1], token_t, document_t, labels_d, **options)
        np.testing.assert_allclose(numbers(alone), numbers(layers[n : n + 1]), atol=1e-9)
    assert np.isnan([*layers[1][3:], layers[1].label.p_value, layers[1].words.p_value]).all()
    wide_tlk = np.where(ids_tlk == EMPTY8, EMPTY16, ids_tlk.astype(np.uint16))
    again = composition(wide_tlk, token_t, document_t, labels_d, **options)
    np.testing.assert_array_equal(numbers(again), numbers(layers))


def test_the_label_part_is_the_excess_information_of_the_record(records):
    generator = np.random.default_rng(4)
    token_t, document_t, labels_d = text(generator, documents=8, length=20)
    ids_tlk = np.argsort(generator.random((160, 2, 5)), axis=2)[:, :, :2]
    record = records(ids_tlk, experts=5, documents=document_t, token_t=token_t.astype(np.int32))
    options = {"permutations": 19, "seed": 5, "strata_d": np.arange(8) // 4}
    layers = composition(record.ids_tlk, record.token_t, record.document_t, labels_d, **options)
    assert [layer.label for layer in layers] == list(
        excess_information(counts_by_document(record), labels_d, **options)
    )


def test_a_negative_label_leaves_the_document_out():
    generator = np.random.default_rng(5)
    token_t, document_t, labels_d = text(generator, documents=8, length=20)
    experts_t = generator.integers(0, 4, 160)
    some_t = document_t < 6
    whole = one(experts_t, token_t, document_t, np.where(np.arange(8) < 6, labels_d, -1))
    part = one(experts_t[some_t], token_t[some_t], document_t[some_t], labels_d[:6])
    np.testing.assert_array_equal(numbers([whole]), numbers([part]))


def test_strata_absorb_a_difference_that_lies_between_them():
    generator = np.random.default_rng(6)
    strata_d = np.repeat([0, 1], 20)
    labels_d = np.where(np.arange(40) % 10 == 0, 1 - strata_d, strata_d)
    document_t, token_t = np.arange(400) // 10, generator.integers(0, 3, 400)
    options = {"permutations": 199, "least_tokens": 3}
    free = one(strata_d[document_t], token_t, document_t, labels_d, **options)
    within = one(strata_d[document_t], token_t, document_t, labels_d, strata_d=strata_d, **options)
    assert free.given_words.p_value < 0.01 and free.given_words.excess_bits > 0.3
    assert within.given_words.p_value > 0.05 and abs(within.given_words.excess_bits) < 0.05


def test_no_tokens_and_no_labels_are_undefined_not_errors():
    for labels_d in (np.array([-1, -1]), np.array([0, 1])):
        tokens = 0 if labels_d[0] == 0 else 4
        layer = one(np.zeros(tokens), np.zeros(tokens, int), np.arange(tokens) // 2, labels_d)
        assert np.isnan([*layer[3:], layer.label.observed_bits, layer.given_words.p_value]).all()


@pytest.mark.parametrize("layer", [0, 7, 15])
def test_olmoe_shares_agree_with_the_published_counts(realdata, layer):
    """Four domains, an eighth of their assignments spread over 400 documents. Pooled p(e | x), each domain predicting
    itself, gives 43, 49 and 52 %; leaving a document out takes about a point of it."""
    nats, pooled = {0: (0.126, 0.43), 7: (0.286, 0.49), 15: (0.345, 0.52)}[layer]
    generator = np.random.default_rng(0)
    counts = np.load(realdata / "olmoe" / "expert_token_counts.npz")
    experts_t, token_t, document_t = [], [], []
    for domain, name in enumerate(("arxiv", "book", "github", "wikipedia")):
        expert, token, times = counts[f"{name}_L{layer}"].T
        kept = generator.binomial(times, 1 / 8)
        experts_t.append(np.repeat(expert, kept))
        token_t.append(np.repeat(token, kept))
        document_t.append(generator.integers(100 * domain, 100 * domain + 100, kept.sum()))
    arrays = (np.concatenate(part) for part in (experts_t, token_t, document_t))
    result = one(*arrays, np.arange(400) // 100, permutations=2, least_tokens=50)
    assert result.label.observed_bits * np.log(2) == pytest.approx(nats, abs=0.0015)
    assert pooled - 0.02 < result.share < pooled and result.share == pytest.approx(result.share_excess, abs=0.002)
    assert result.agreement > 0.94 and result.given_words.excess_bits > 0.15


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ids_tlk": np.zeros((2, 1, 1))}, "float64"),
        ({"ids_tlk": np.zeros((2, 1), np.uint8)}, "shape"),
        ({"token_t": np.array([1])}, "token ids"),
        ({"labels_d": np.array([0])}, "documents 0…1 for 1 labels"),
        ({"labels_d": np.array([0.0, 1.0])}, "float64"),
        ({"strata_d": np.array([0])}, "strata"),
        ({"permutations": 0}, "0 permutations"),
        ({"least_tokens": 0}, "at least 0 tokens"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, complaint):
    fits = {"token_t": np.array([1, 1]), "document_t": np.array([0, 1]), "labels_d": np.array([0, 1])}
    with pytest.raises(OptionError, match=complaint):
        composition(**({"ids_tlk": flat([0, 1])} | fits | change))
