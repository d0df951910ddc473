"""Languages by their experts: on passages said in several of them, by hand and against an independent divergence."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, Ask
from gatescope.analysis.tally import tally as tallying
from gatescope.corpora.bundled import languages
from gatescope.routing import Document
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

TONGUES = ("de", "en", "fi")


def passages_record(route, names=TONGUES, passages=6, tokens=8, experts=6):
    """Top-1 routes of passages in languages; `route(generator, passage, language)` gives a document's shares."""
    generator = np.random.default_rng(0)
    documents, ids = [], []
    for passage in range(passages):
        for tongue, name in enumerate(names):
            documents.append(Document("text", id=f"p{passage}-{name}", source="probe", language=name))
            ids.append(generator.choice(experts, size=tokens, p=route(generator, passage, tongue)))
    record = make_record(
        np.concatenate(ids)[:, None, None],
        experts=experts,
        documents=np.repeat(np.arange(len(documents)), tokens),
        weight_tlk=np.ones((len(documents) * tokens, 1, 1), np.float16),
    )
    return replace(record, documents=tuple(documents))


def asked(name, record, **options):
    return METRICS[name](tally(record), Ask(**({"by": "language", "resamples": 99} | options)))


def test_divergence_by_hand():
    """One passage: a half on expert 0 and 1 each, against all on expert 0, of 4 experts."""
    record = make_record([[[0]], [[1]], [[0]], [[0]]], experts=4, documents=[0, 0, 1, 1])
    documents = (Document("a", id="p-en", language="en"), Document("b", id="p-de", language="de"))
    result = asked("language_divergence", replace(record, documents=documents))
    mixed = -0.75 * np.log2(0.75) - 0.25 * np.log2(0.25)
    assert result.groups == ("de", "en")
    assert result.value[0, 0, 1] == result.value[0, 1, 0] == pytest.approx((mixed - 0.5) / (2 - 0.5))
    assert result.value[0].diagonal().tolist() == [0, 0]
    assert np.isnan(result.low[0, 0, 1]) and np.isnan(result.null).all()


@pytest.mark.parametrize("name", ["language_divergence", "language_divergence_by_weight"])
def test_divergence_agrees_with_an_independent_implementation(name):
    record = passages_record(lambda generator, _passage, _tongue: generator.dirichlet(np.full(6, 0.7)))
    record = replace(record, documents=(*record.documents[:-1], replace(record.documents[-1], id="alone-fi")))
    result = asked(name, record)
    share_de = np.zeros((18, 6))
    np.add.at(share_de, (record.document_t, record.ids_tlk[:, 0, 0]), 1 / 8)
    for g, h in ((0, 1), (0, 2), (1, 2)):
        found = []
        for passage in range(6 if h == 1 else 5):
            one, two = share_de[3 * passage + g], share_de[3 * passage + h]
            found.append(
                jensenshannon(one, two, base=2) ** 2 / (np.log2(6) - (entropy(one, base=2) + entropy(two, base=2)) / 2)
            )
        assert result.value[0, g, h] == pytest.approx(np.mean(found))
        assert result.low[0, g, h] < result.value[0, g, h] < result.high[0, g, h]


def test_passages_that_decide_the_route_bring_languages_below_the_null():
    own_pe = np.random.default_rng(1).dirichlet(np.full(6, 0.3), 6)
    result = asked("language_divergence", passages_record(lambda _, passage, _tongue: own_pe[passage], tokens=60))
    off = ~np.eye(3, dtype=bool)
    assert (result.value[0][off] < 0.1).all() and (result.high[0][off] < result.null[0][off]).all()


def test_languages_that_decide_the_route_lie_above_the_null():
    own_ge = np.random.default_rng(2).dirichlet(np.full(6, 0.3), 3)
    record = passages_record(lambda _, _passage, tongue: own_ge[tongue], tokens=60)
    result = asked("language_divergence", record)
    off = ~np.eye(3, dtype=bool)
    assert (result.low[0][off] > result.null[0][off]).all()


def test_exclusive_and_shared_experts():
    """Expert 0 takes half of every language's tokens, expert 1 + g half of language g's."""
    record = passages_record(lambda _, _passage, tongue: np.eye(6)[0] / 2 + np.eye(6)[1 + tongue] / 2, tokens=40)
    exclusive, reach = asked("exclusive_experts", record), asked("language_reach", record)
    np.testing.assert_allclose(exclusive.value[:, 0], 1 / 6)
    np.testing.assert_allclose(reach.value[0], [1, 1 / 3, 1 / 3, 1 / 3, 0, 0])


def test_what_is_no_passage_is_said():
    result = asked("language_divergence", random_record(0))
    assert result.value.tolist() == [[[0]], [[0]]] and "no passage is said" in result.warnings[0]
    apart = passages_record(lambda *_: np.full(6, 1 / 6), names=("de", "en"))
    ids = [document.id.replace("p", "q") if document.language == "en" else document.id for document in apart.documents]
    renamed = tuple(replace(document, id=name) for document, name in zip(apart.documents, ids, strict=True))
    result = asked("language_divergence", replace(apart, documents=renamed))
    assert np.isnan(result.value[0, 0, 1]) and result.warnings == ("some languages have no passage in common",)


def test_documents_in_blocks_have_no_passages(monkeypatch):
    monkeypatch.setattr(tallying, "MOST_UNITS", 4)
    result = asked("language_divergence", passages_record(lambda *_: np.full(6, 1 / 6)))
    assert "folded into blocks" in result.warnings[0]


def test_the_bundled_passages_are_recognised():
    """Twenty-four passages in thirteen languages, all of whose ids name passage and language."""
    documents = tuple(languages())
    record = make_record(np.zeros((len(documents), 1, 1)), experts=2, documents=np.arange(len(documents)))
    numbers = tally(replace(record, documents=documents)).table("passages")
    assert len(set(numbers.tolist())) == 24 and (np.unique(numbers, return_counts=True)[1] == 13).all()
