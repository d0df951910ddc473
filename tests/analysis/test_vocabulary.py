"""Words and experts: published values, chance by simulation, the sample that adds up, words that are whose."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.labels.vocabulary import (
    TAKEN,
    largest_by_chance,
    log_odds,
    sample_of,
    specialisation,
    specialisation_of_counts,
    token_table,
)
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.tally import tally as tallying
from gatescope.analysis.tally.tally import TokenRole, merge
from gatescope.routing import Document
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import part, random_record

EVERY = tuple(TokenRole)
ONLY = ("sampled", "tokens")
OLMOE = {  # published counts of four domains: mean over ids of the largest share, ids with 1, 10, 100 tokens or more
    "L0": [0.97, 0.92, 0.83],
    "L7": [0.97, 0.94, 0.91],
    "L15": [0.96, 0.92, 0.91],
}
CHANCE = [  # experts, k, tokens, share: simulated from an even router
    (64, 8, [(1, 1.00), (5, 0.55), (10, 0.42), (20, 0.32), (50, 0.25), (100, 0.21), (1000, 0.15)]),
    (64, 1, [(1, 1.00), (5, 0.24), (10, 0.16), (20, 0.11), (50, 0.07), (100, 0.05), (1000, 0.03)]),
    (8, 2, [(1, 1.00), (5, 0.57), (10, 0.47), (20, 0.40), (50, 0.34), (100, 0.31), (1000, 0.27)]),
]


@pytest.mark.parametrize(("experts", "k", "published"), CHANCE)
def test_chance_agrees_with_published_simulations(experts, k, published):
    found = largest_by_chance(np.array([tokens for tokens, _ in published]), np.full(experts, k / experts))
    assert found == pytest.approx([share for _, share in published], abs=0.015)


def test_chance_with_uneven_loads_agrees_with_a_simulation():
    rate_e = np.array([0.7, 0.4, 0.3, 0.2, 0.2, 0.1, 0.05, 0.05])  # two experts a token
    generator = np.random.default_rng(0)
    weight_e = np.log(rate_e / (1 - rate_e))
    sets = np.argsort(weight_e + generator.gumbel(size=(40_000, 8)), axis=1)[:, -2:]
    rate_e = np.bincount(sets.ravel(), minlength=8) / len(sets)
    for tokens in (3, 10, 40, 200):
        runs = sets[: len(sets) // tokens * tokens].reshape(-1, tokens * 2)
        largest = np.mean([np.bincount(run, minlength=8).max() / tokens for run in runs])
        assert largest_by_chance(np.array([tokens]), rate_e)[0] == pytest.approx(largest, abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize("layer", OLMOE)
def test_olmoe_vocabulary_specialisation_agrees_with_the_published_counts(realdata, layer):
    counts = np.load(realdata / "olmoe" / "expert_token_counts.npz")
    rows = np.concatenate([counts[f"{domain}_{layer}"] for domain in ("arxiv", "book", "github", "wikipedia")])
    word_x, place = np.unique(rows[:, 1], return_inverse=True)
    count_xe = np.zeros((len(word_x), 64), np.int64)
    np.add.at(count_xe, (place, rows[:, 0]), rows[:, 2])
    found = [specialisation_of_counts(count_xe, count_xe.sum(axis=1) // 8, least=n) for n in (1, 10, 100)]
    assert [round(each.share_ids, 2) for each in found] == OLMOE[layer]
    assert all(0.7 < each.excess_ids < each.share_ids for each in found)


WORDS = st.lists(st.tuples(st.integers(-1, 4), st.permutations(range(4))), min_size=1, max_size=60)


@settings(max_examples=60)
@given(WORDS, st.integers(1, 4))
def test_shares_agree_with_counting_by_dictionaries(tokens, least):
    ids_tlk = np.array([[route[:2]] for _, route in tokens], np.uint8)
    word_t = np.array([word for word, _ in tokens])
    used, number = defaultdict(Counter), Counter(word for word, _ in tokens if word >= 0)
    for word, route in tokens:
        used[word].update(route[:2])
    often = {word: n for word, n in number.items() if n >= least}
    layer = specialisation(ids_tlk, word_t, 4, least=least)[0]
    assert layer.ids == len(often)
    if not often:
        assert np.isnan(layer[:4]).all()
        return
    share = {word: max(used[word].values()) / n for word, n in often.items()}
    assert layer.share_ids == pytest.approx(np.mean(list(share.values())))
    assert layer.share_tokens == pytest.approx(np.average(list(share.values()), weights=list(often.values())))
    assert layer.covered == pytest.approx(sum(often.values()) / number.total())


@pytest.mark.slow
def test_routing_that_does_not_see_the_word_has_no_excess_on_average():
    """232 words of three tokens or more, most of them rare: no excess over 24 draws, whatever the published share."""
    excess, shares = [], []
    for seed in range(24):
        generator = np.random.default_rng(seed)
        word_t = generator.zipf(1.5, 20_000).clip(max=500)
        blind = np.argsort(generator.random((20_000, 1, 16)) ** np.linspace(1, 3, 16), axis=2)[..., :2]
        layer = specialisation(blind.astype(np.uint8), word_t, 16, least=3)[0]
        excess.append((layer.excess_ids, layer.excess_tokens))
        shares.append(layer.share_ids)
    assert np.abs(np.mean(excess, axis=0)).max() < 0.02 and min(shares) > 0.3


def test_routing_by_word_has_all_the_excess():
    word_t = np.random.default_rng(0).zipf(1.5, 2000).clip(max=500)
    seeing = (word_t % 16).astype(np.uint8)[:, None, None]
    assert specialisation(seeing, word_t, 16, least=3)[0].excess_ids == pytest.approx(1.0)
    with pytest.raises(OptionError, match="at least 0 tokens"):
        specialisation(seeing, word_t, 16, least=0)


def test_the_sample_holds_tokens_as_recorded_and_all_of_a_short_document():
    record = random_record(4, documents=9)
    record = replace(record, predicted_t=(record.token_t + 3).astype(np.int32))
    sample = sample_of(tally(record, only=ONLY), MetricOptions(facets=EVERY))
    assert len(sample.token_n) == record.tokens  # no document is longer than TAKEN
    following_t = [
        int(record.token_t[t + 1]) if t + 1 < record.tokens and record.document_t[t] == record.document_t[t + 1] else -1
        for t in range(record.tokens)
    ]
    told = zip(record.token_t, following_t, record.predicted_t, record.ids_tlk.reshape(record.tokens, -1), strict=True)
    expected = Counter((int(x), y, int(z), *map(int, route)) for x, y, z, route in told)
    columns = (sample.token_n, sample.following_n, sample.predicted_n, sample.ids_nlk.reshape(record.tokens, -1))
    assert Counter((int(x), int(y), int(z), *map(int, r)) for x, y, z, r in zip(*columns, strict=True)) == expected
    assert len(set(sample.document_n.tolist())) == 9


def test_a_long_document_gives_few_tokens_and_blocks_give_those_of_single_documents(monkeypatch):
    generator = np.random.default_rng(0)
    document_t = np.arange(4000) // 40
    token_t = np.arange(4000, dtype=np.int32)
    record = make_record(generator.integers(0, 5, (4000, 1, 1)), experts=5, documents=document_t, token_t=token_t)
    record = replace(record, documents=tuple(Document(str(n), id=str(n)) for n in range(100)))
    whole = sample_of(tally(record, only=ONLY), MetricOptions())
    assert len(whole.token_n) == 100 * TAKEN
    assert abs((whole.token_n % 40).mean() - 19.5) < 1.5  # anywhere in the document
    monkeypatch.setattr(tallying, "MOST_UNITS", 8)
    halves = [tally(part(record, list(range(n, 100, 2))), only=ONLY) for n in (0, 1)]
    folded = sample_of(merge(*halves), MetricOptions())
    routes = {(int(x), int(e)) for x, e in zip(whole.token_n, whole.ids_nlk[:, 0, 0], strict=True)}
    assert {(int(x), int(e)) for x, e in zip(folded.token_n, folded.ids_nlk[:, 0, 0], strict=True)} <= routes
    assert len(folded.token_n) >= 5 * TAKEN
    per_document = Counter(folded.document_n.tolist())
    assert set(per_document.values()) == {TAKEN}
    for number in per_document:
        assert len({int(x) // 40 for x in folded.token_n[folded.document_n == number]}) == 1


def test_the_metric_tells_the_word_read_from_the_word_that_follows():
    """Routes by the next word, words drawn independently: the word read has nothing, the one that follows all."""
    generator = np.random.default_rng(1)
    token_t = generator.integers(0, 12, 3000).astype(np.int32)
    route = np.append(token_t[1:] % 6, 0)
    record = make_record(route[:, None, None], experts=6, documents=np.arange(3000) // 20, token_t=token_t)
    record = replace(record, documents=tuple(Document(str(n), id=str(n)) for n in range(150)))
    result = METRICS["vocabulary_specialisation"](tally(record, only=ONLY))
    assert abs(result.value[0, 0]) < 0.05 and result.value[1, 0] > 0.95 and np.isnan(result.value[2, 0])
    assert any("the word predicted: not recorded" in said for said in result.warnings)


def test_log_odds_by_hand_and_no_prize_for_words_seen_once():
    """Word 0: 30 of 100 with expert 0 and 10 of 100 with expert 1; prior of 10 with the mix of both, 20 %."""
    count_xe = np.array([[30, 10], [70, 90]])
    odds = np.log(32 / (110 - 32)) - np.log(12 / (110 - 12))
    assert log_odds(count_xe, prior=10)[0, 0] == pytest.approx(odds / np.sqrt(1 / 32 + 1 / 12))
    z_xe = log_odds(np.array([[1, 0], [40, 10], [59, 90]]))
    assert z_xe[1, 0] > 2 > z_xe[0, 0] > 0
    assert np.isnan(log_odds(np.array([[3, 0]]))).all()


def test_each_expert_gets_the_words_that_are_its_own():
    token_t = np.array([1] * 8 + [2] * 8 + [3] * 8, np.int32)
    route = np.array([0] * 8 + [1] * 8 + [0, 1] * 4)
    record = replace(make_record(route[:, None, None], experts=3, token_t=token_t), pieces={1: " one", 2: " two"})
    tables = token_table(record, 0)
    assert [[word.piece for word in table] for table in tables] == [[" one"], [" two"], []]
    assert (tables[0][0].here, tables[0][0].tokens) == (8, 8)
    with pytest.raises(OptionError, match="layer 1"):
        token_table(record, 1)
