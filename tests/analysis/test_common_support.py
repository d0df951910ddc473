"""Labels under one mix of words: by hand, against counting with dictionaries, and against published counts."""

from collections import Counter, defaultdict
from math import log2, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.labels.common_support import common_support, support_of_pairs
from gatescope.analysis.statistics.information import shuffled
from gatescope.routing import EMPTY8, EMPTY16
from gatescope.routing.errors import OptionError


def flat(experts_t, kind=np.uint8):
    """Routes of one layer and one slot."""
    return np.asarray(experts_t).astype(kind)[:, None, None]


def numbers(layers):
    """Every number of some results, in a row."""
    parts = [part for layer in layers for part in layer[:-1]]
    return np.array([number for part in parts for number in np.atleast_1d(part)], dtype=float)


def one(experts_t, token_t, document_t, labels_d, **options):
    """The only layer's result."""
    options = {"permutations": 99, "least_tokens": 2} | options
    arrays = flat(experts_t), np.asarray(token_t), np.asarray(document_t), np.asarray(labels_d)
    return common_support(*arrays, **options)[0]


def entropy(*shares):
    return -sum(share * log2(share) for share in shares if share > 0)


def even_bits(profiles):
    """Entropy of the mean profile less the mean entropy; profiles are dictionaries of weights."""
    scaled = [{e: w / sum(p.values()) for e, w in p.items()} for p in profiles if sum(p.values()) > 0]
    experts = {expert for profile in scaled for expert in profile}
    mean = [sum(profile.get(expert, 0) for profile in scaled) / len(scaled) for expert in experts]
    return entropy(*mean) - sum(entropy(*profile.values()) for profile in scaled) / len(scaled)


def test_by_hand_labels_that_prefer_one_word_each_and_differ_at_one_of_them():
    """Word 0 goes to expert 0; word 1 to the expert of the label. Three to one against one to three."""
    token_t = [0, 0, 0, 1] * 2 + [0, 1, 1, 1] * 2
    layer = one([0, 0, 0, 0] * 2 + [0, 1, 1, 1] * 2, token_t, np.arange(16) // 4, [0, 0, 1, 1])
    assert layer.raw.observed_bits == pytest.approx(entropy(5 / 8, 3 / 8) - entropy(1 / 4, 3 / 4) / 2)
    assert layer.standardised.observed_bits == pytest.approx(entropy(3 / 4, 1 / 4) - 1 / 2)  # (1, 0), (1/2, 1/2)
    assert (layer.ids, layer.covered, layer.least_covered, layer.alone, layer.reason) == (2, 1.0, 1.0, 0.0, "")
    assert layer.overall == layer.raw and layer.raw.label_entropy_bits == 1.0
    assert layer.left == pytest.approx(layer.standardised.excess_bits / layer.raw.excess_bits)


def test_by_hand_what_only_one_label_says_is_not_compared():
    """Half of what label 0 says, and a third of what label 1 says, is of its own words: they go to experts 2 and 3."""
    token_t = [7, 7, 8, 8, 7, 7, 8, 8, *[7, 7, 7, 7, 9, 9] * 2]
    document_t = [0] * 4 + [1] * 4 + [2] * 6 + [3] * 6
    experts_t = [0, 0, 2, 2, 0, 0, 2, 2, *[1, 1, 1, 0, 3, 3] * 2]
    layer = one(experts_t, token_t, document_t, [0, 0, 1, 1])
    assert (layer.ids, layer.raw.assignments, layer.overall.assignments) == (1, 12, 20)
    assert (layer.covered, layer.least_covered) == pytest.approx(((1 / 2 + 2 / 3) / 2, 1 / 2))
    kept = entropy(5 / 8, 3 / 8) - entropy(1 / 4, 3 / 4) / 2  # (1, 0) and (1/4, 3/4)
    assert layer.standardised.observed_bits == pytest.approx(kept) == layer.raw.observed_bits
    assert layer.overall.observed_bits == pytest.approx(
        even_bits([{0: 1 / 2, 2: 1 / 2}, {0: 1 / 6, 1: 1 / 2, 3: 1 / 3}])
    )


def test_moves_that_cancel_over_words_are_not_seen():
    """Two words swap their experts with the label: under one mix the profiles are alike."""
    document_t, labels_d = np.arange(80) // 4, np.arange(20) % 2
    token_t = np.tile([0, 1, 0, 1], 20)
    layer = one(token_t ^ labels_d[document_t], token_t, document_t, labels_d)
    assert layer.standardised.observed_bits == pytest.approx(0.0, abs=1e-12) and np.isnan(layer.left)


def test_how_much_text_a_label_has_changes_nothing_that_is_observed():
    generator = np.random.default_rng(0)
    token_t, document_t, labels_d = generator.integers(0, 4, 200), np.arange(200) // 10, np.arange(20) % 2
    experts_t = generator.integers(0, 3, 200)
    again_t = labels_d[document_t] == 1
    more_t = np.concatenate([document_t, document_t[again_t] + 20])
    more = one(
        np.concatenate([experts_t, experts_t[again_t]]),
        np.concatenate([token_t, token_t[again_t]]),
        more_t,
        np.concatenate([labels_d, labels_d]),
    )
    once = one(experts_t, token_t, document_t, labels_d)
    for name in ("overall", "raw", "standardised"):
        assert getattr(more, name).observed_bits == pytest.approx(getattr(once, name).observed_bits)


class Slow:
    """The same with dictionaries and matrices, from (document, word, experts) of labelled tokens with an assignment."""

    def __init__(self, tokens, labels, strata, least):
        self.tokens, self.labels, self.strata = tokens, labels, strata
        self.named = sorted({labels[document] for document, _, _ in tokens})
        said = Counter((word, labels[document]) for document, word, _ in tokens)
        words = {word for word, _ in said}
        self.shared = {w for w in words if all(said[w, g] >= least for g in self.named) and len(self.named) > 1}
        self.of_word = Counter((w, labels[d]) for d, w, experts in tokens for _ in experts if w in self.shared)
        self.of_label = Counter(labels[d] for d, w, experts in tokens for _ in experts if w in self.shared)
        self.mix = {
            w: sum(self.of_word[w, g] / self.of_label[g] for g in self.named) / len(self.named) for w in self.shared
        }

    def weight(self, word, label):
        return self.mix[word] / self.of_word[word, label]

    def raw(self, shared):
        count = defaultdict(Counter)
        for document, word, experts in self.tokens:
            if word in self.shared or not shared:
                count[self.labels[document]].update(experts)
        return even_bits([count[label] for label in self.named])

    def observed(self):
        profile = {label: defaultdict(float) for label in self.named}
        for document, word, experts in self.tokens:
            for expert in experts if word in self.shared else ():
                profile[self.labels[document]][expert] += self.weight(word, self.labels[document])
        return even_bits(list(profile.values()))

    def flipped(self, signs, experts):
        """The information when each document's departures bear its sign."""
        rows = {label: np.zeros(experts) for label in self.named}
        for word in self.shared:
            for stratum in set(self.strata):
                for label, row in self.cell(word, stratum, signs, experts):
                    rows[label] += row
        centre = sum(rows.values()) / len(rows) - self.predicted(experts)
        return even_bits([dict(enumerate(np.maximum(row - centre, 0))) for row in rows.values()])

    def predicted(self, experts):
        """Mean profile over labels when no document departs."""
        nothing = dict.fromkeys(range(len(self.labels)), 0.0)
        parts = [
            row
            for word in self.shared
            for stratum in set(self.strata)
            for _, row in self.cell(word, stratum, nothing, experts)
        ]
        return sum(parts) / len(self.named)

    def cell(self, word, stratum, signs, experts):
        """What one id in one stratum adds to each label's profile."""
        count = defaultdict(lambda: np.zeros(experts))
        for document, other, chosen in self.tokens:
            if other == word and self.strata[document] == stratum:
                count[document] += np.bincount(chosen, minlength=experts)
        if not count:
            return
        whole = sum(count.values())
        word_e = whole / whole.sum()
        free = self.freedom(word, count)
        for document, own_e in count.items():
            label, leverage = self.labels[document], own_e.sum() / whole.sum()
            departure_e = own_e - own_e.sum() * word_e
            factor = 0.0 if leverage == 1 else signs[document] * sqrt(free / (1 - leverage))
            yield label, self.weight(word, label) * (own_e.sum() * word_e + factor * departure_e)

    def freedom(self, word, count):
        """Noise between labels that is not in the prediction, over that of independent documents: by matrices."""
        size = len(self.named)
        n_g = np.array([sum(own.sum() for d, own in count.items() if self.labels[d] == g) for g in self.named])
        m_g = n_g * [self.weight(word, g) for g in self.named]
        centre, noise = np.eye(size) - 1 / size, np.diag([1 / n if n else 0.0 for n in n_g])
        kept = centre @ np.diag(m_g) @ (np.eye(size) - np.outer(np.ones(size), n_g / n_g.sum()))
        free = centre @ np.diag(m_g)
        total = sum((m / sqrt(n)) ** 2 for m, n in zip(m_g, n_g, strict=True) if n) * (1 - 1 / size)
        known = np.diag([1.0 if n else 0.0 for n in n_g])
        assert np.trace(free @ noise @ free.T) == pytest.approx(total)
        return np.trace(kept @ known @ noise @ kept.T) / total


DOCUMENTS = 5
TOKENS = st.tuples(
    st.integers(0, DOCUMENTS - 1), st.integers(0, 2), st.lists(st.integers(0, 2), unique=True, min_size=0, max_size=2)
)


@settings(max_examples=150)
@given(
    st.lists(TOKENS, min_size=1, max_size=30),
    st.lists(st.integers(-1, 2), min_size=DOCUMENTS, max_size=DOCUMENTS),
    st.lists(st.integers(0, 1), min_size=DOCUMENTS, max_size=DOCUMENTS),
    st.integers(1, 2),
)
def test_agrees_with_counting_by_dictionaries(tokens, labels, strata, least):
    ids_tlk = np.array([[[*experts, EMPTY8, EMPTY8][:2]] for *_, experts in tokens], np.uint8)
    token_t, document_t = np.array([word for _, word, _ in tokens]), np.array([number for number, *_ in tokens])
    options = {"least_tokens": least, "permutations": 4, "seed": 4, "strata_d": np.array(strata)}
    layer = common_support(ids_tlk, token_t, document_t, np.array(labels), **options)[0]
    slow = Slow([each for each in tokens if each[2] and labels[each[0]] >= 0], labels, strata, least)
    if slow.tokens:
        assert layer.overall.observed_bits == pytest.approx(slow.raw(shared=False), abs=1e-9)
    assert layer.ids == len(slow.shared) and bool(layer.reason) == (not slow.shared)
    if not slow.shared:
        assert np.isnan([layer.raw.observed_bits, *layer.standardised[:5], layer.left, layer.alone]).all()
        return
    assert layer.raw.observed_bits == pytest.approx(slow.raw(shared=True), abs=1e-9)
    assert layer.standardised.observed_bits == pytest.approx(slow.observed(), abs=1e-9)
    met = sorted({document for document, *_ in slow.tokens}, key=lambda document: (strata[document], document))
    generator = np.random.default_rng(4)
    shuffled(np.array(labels)[met], np.array(strata)[met], 4, generator)
    signs = generator.choice([-1.0, 1.0], (4, len(met)))
    null = [slow.flipped(dict(zip(met, row, strict=True)), 3) for row in signs]
    assert layer.standardised.null_mean_bits == pytest.approx(np.mean(null), abs=1e-9)
    assert layer.standardised.p_value == pytest.approx((1 + sum(n >= slow.observed() - 1e-9 for n in null)) / 5)


def test_strata_of_one_label_tell_nothing_of_the_label():
    """Two languages, one domain each: what parts the domains parts the languages, and is not told of the domains."""
    generator = np.random.default_rng(4)
    labels_d, document_t = np.arange(20) // 10, np.arange(400) // 20
    token_t = generator.integers(0, 4, 400)
    within = one(labels_d[document_t], token_t, document_t, labels_d, strata_d=labels_d)
    free = one(labels_d[document_t], token_t, document_t, labels_d)
    assert (within.alone, within.standardised.p_value) == (pytest.approx(1.0), 1.0)
    assert within.standardised.excess_bits == pytest.approx(0.0, abs=1e-9) and within.standardised.observed_bits == 1.0
    assert free.alone == 0.0 and free.standardised.p_value == 0.01


def test_what_lies_between_strata_is_absorbed():
    """Experts follow the stratum at every word, and labels prefer a stratum each."""
    generator = np.random.default_rng(5)
    strata_d = np.repeat([0, 1], 20)
    labels_d = np.where(np.arange(40) % 5 == 0, 1 - strata_d, strata_d)
    document_t, token_t = np.arange(800) // 20, generator.integers(0, 3, 800)
    experts_t = np.where(generator.random(800) < 0.9, strata_d[document_t], 2)
    free = one(experts_t, token_t, document_t, labels_d, permutations=199)
    within = one(experts_t, token_t, document_t, labels_d, permutations=199, strata_d=strata_d)
    assert free.standardised.p_value < 0.01 and free.standardised.excess_bits > 0.2
    assert within.standardised.p_value > 0.05 and abs(within.standardised.excess_bits) < 0.02


@pytest.mark.parametrize(
    ("labels_d", "token_t", "reason"),
    [
        ([0, 0, 1, 1], [1, 1, 1, 1, 2, 2, 2, 2], "no word has 2 tokens under each of 2 labels"),
        ([3, 3, 3, 3], [1, 1, 1, 1, 2, 2, 2, 2], "fewer than two labels"),
        ([-1, -1, -1, -1], [1, 1, 1, 1, 2, 2, 2, 2], "no assignments"),
    ],
)
def test_where_nothing_is_shared_it_is_said_why(labels_d, token_t, reason):
    layer = one([0, 1] * 4, token_t, np.arange(8) // 2, labels_d)
    assert layer.reason == reason and layer.ids == 0
    assert np.isnan([layer.standardised.observed_bits, layer.standardised.p_value, layer.left, layer.alone]).all()
    assert layer.covered == 0 or reason == "no assignments"


def test_layers_are_independent_of_each_other_and_empty_ones_undefined():
    generator = np.random.default_rng(6)
    token_t, document_t, labels_d = generator.integers(0, 6, 160), np.arange(160) // 20, np.arange(8) % 2
    ids_tlk = np.argsort(generator.random((160, 3, 5)), axis=2)[:, :, :2].astype(np.uint8)
    ids_tlk[:, 1] = EMPTY8
    ids_tlk[token_t == 0, 2] = EMPTY8
    options = {"least_tokens": 2, "permutations": 19}
    layers = common_support(ids_tlk, token_t, document_t, labels_d, **options)
    for n in (0, 2):
        alone = common_support(ids_tlk[:, n : n + 1], token_t, document_t, labels_d, **options)
        np.testing.assert_allclose(numbers(alone), numbers(layers[n : n + 1]), atol=1e-9)
    assert layers[1].reason == "no assignments" and np.isnan(layers[1].overall.p_value)
    assert layers[0].ids == layers[2].ids + 1
    wide_tlk = np.where(ids_tlk == EMPTY8, EMPTY16, ids_tlk.astype(np.uint16))
    again = common_support(wide_tlk, token_t, document_t, labels_d, **options)
    np.testing.assert_array_equal(numbers(again), numbers(layers))


def test_a_word_is_shared_by_its_tokens_that_have_an_assignment_at_the_layer():
    """Two tokens of each label; at the second layer only one of them goes anywhere, to two experts."""
    ids_tlk = np.array([[[0, 1], [0, 1]], [[0, 2], [EMPTY8, EMPTY8]]] * 2, np.uint8)
    arrays = ids_tlk, np.zeros(4, int), np.arange(4) // 2, np.array([0, 1])
    layers = common_support(*arrays, least_tokens=2, permutations=9)
    assert [layer.ids for layer in layers] == [1, 0] and [layer.covered for layer in layers] == [1.0, 0.0]


OLMOE = ("arxiv", "book", "github", "wikipedia")


def published(realdata, layer):
    """Counts of four domains as a table, and as tokens of eight assignments of one id."""
    counts = np.load(realdata / "olmoe" / "expert_token_counts.npz")
    table_gxe = np.zeros((4, 60_000, 64))
    ids_tk, token_t, domain_t = [], [], []
    for domain, name in enumerate(OLMOE):
        rows = counts[f"{name}_L{layer}"]
        expert, token, times = rows[np.argsort(rows[:, 1], kind="stable")].T
        table_gxe[domain, token, expert] += times
        ids_tk.append(np.repeat(expert, times).astype(np.uint8).reshape(-1, 8))
        token_t.append(np.repeat(token, times).reshape(-1, 8)[:, 0])
        domain_t.append(np.full(len(ids_tk[-1]), domain))
    return table_gxe, np.concatenate(ids_tk), np.concatenate(token_t), np.concatenate(domain_t)


def jensen_shannon_nats(share_gxe):
    """Of profiles that count alike, along the last axis."""
    mean_xe = share_gxe.mean(axis=0)
    return sum((p * np.log(np.where(p > 0, p / mean_xe.clip(1e-300), 1))).sum(axis=-1) for p in share_gxe) / 4


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 7, 15])
def test_olmoe_has_the_published_support_and_the_plain_sums_over_it(realdata, layer):
    """Recomputed from the released counts before: 32 ids with 50 tokens in every domain, 12 to 28 % of a domain; at the
    same id .22, .28 and .36 nats, which bound what is left under one mix; .126, .286 and .345 nats overall."""
    at_same_id, overall = {0: (0.22, 0.126), 7: (0.28, 0.286), 15: (0.36, 0.345)}[layer]
    table_gxe, ids_tk, token_t, domain_t = published(realdata, layer)
    count_gx = table_gxe.sum(axis=2)
    shared_x = (count_gx >= 8 * 50).all(axis=0)
    given_gxe = table_gxe[:, shared_x] / count_gx[:, shared_x, None]
    share_gx = count_gx[:, shared_x] / count_gx[:, shared_x].sum(axis=1, keepdims=True)
    pooled_x = count_gx[:, shared_x].sum(axis=0) / count_gx[:, shared_x].sum()
    assert pooled_x @ jensen_shannon_nats(given_gxe) == pytest.approx(at_same_id, abs=0.005)
    left = jensen_shannon_nats((share_gx.mean(axis=0)[:, None] * given_gxe).sum(axis=1))
    raw = jensen_shannon_nats((share_gx[:, :, None] * given_gxe).sum(axis=1))

    generator = np.random.default_rng(0)
    document_t = 100 * domain_t + generator.integers(0, 100, len(domain_t))
    options = {"least_tokens": 50, "permutations": 9}
    found = common_support(ids_tk[:, None], token_t, document_t, np.arange(400) // 100, **options)[0]
    assert found.ids == 32 and found.overall.observed_bits * np.log(2) == pytest.approx(overall, abs=0.001)
    covered_g = count_gx[:, shared_x].sum(axis=1) / count_gx.sum(axis=1)
    assert (covered_g.min().round(2), covered_g.max().round(2)) == (0.12, 0.28)
    assert (found.covered, found.least_covered) == pytest.approx((covered_g.mean(), covered_g.min()))
    assert found.standardised.observed_bits * np.log(2) == pytest.approx(left)
    assert found.raw.observed_bits * np.log(2) == pytest.approx(raw)
    assert left < share_gx.mean(axis=0) @ jensen_shannon_nats(given_gxe)
    assert found.standardised.p_value == 0.1 and found.standardised.null_mean_bits < 0.005


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"token_t": np.array([1])}, "token ids"),
        ({"labels_d": np.array([0])}, "documents 0…1 for 1 labels"),
        ({"labels_d": np.array([0.0, 1.0])}, "float64"),
        ({"strata_d": np.array([0])}, "strata"),
        ({"permutations": 0}, "0 permutations"),
        ({"least_tokens": 0}, "at least 0 tokens"),
    ],
)
@pytest.mark.parametrize("function", [common_support, support_of_pairs])
def test_arguments_that_do_not_fit_are_named(function, change, complaint):
    fits = {"token_t": np.array([1, 1]), "document_t": np.array([0, 1]), "labels_d": np.array([0, 1])}
    with pytest.raises(OptionError, match=complaint):
        function(**({"ids_tlk": flat([0, 1])} | fits | change))
