"""Every rule fires where its artefact was planted, with the figures counted by hand, and not where it is absent."""

import gzip
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.quality.data_warnings import RULES, lint, unchecked
from gatescope.analysis.tally import tally as tallying
from gatescope.analysis.tally.tally import TokenRole, Unit, merge
from gatescope.routing import Document, Flag
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_domains import tally_of_counts
from tests.analysis.test_tally import random_record


def corpus(sizes, *, domains=None, languages=None, token_t=None, seed=0, experts=8, ids=None, **arrays):
    """Documents of some sizes, routed at random to 2 of 8 experts, of random words."""
    generator = np.random.default_rng(seed)
    rows = sum(sizes)
    if ids is None:
        ids = np.argsort(generator.random((rows, 2, experts)), axis=-1)[..., :2]
    drawn_t = generator.integers(0, 40, rows) if token_t is None else token_t
    record = make_record(
        ids,
        experts=experts,
        documents=np.repeat(np.arange(len(sizes)), sizes),
        token_t=np.asarray(drawn_t, np.int32),
        **arrays,
    )
    named = zip(domains or ["law"] * len(sizes), languages or ["en"] * len(sizes), strict=True)
    return replace(
        record,
        documents=tuple(
            Document(f"text {d}", id=str(d), domain=one, language=two) for d, (one, two) in enumerate(named)
        ),
    )


def said(name, record, *, results=None, with_record=True, **options):
    """The sentences of one rule."""
    found = lint(tally(record, only=["tokens", "assignments"]), results, record if with_record else None, **options)
    assert all(warning.do == RULES[warning.rule].do and warning.sentence.endswith(".") for warning in found)
    return [warning.sentence for warning in found if warning.rule == name]


def sized(tokens_u, domains, experts=64, documents=1):
    """A tally of documents of one layer whose tokens all count."""
    count_ule = np.zeros((len(tokens_u), 1, experts), np.int64)
    count_ule[:, 0] = np.array(tokens_u)[:, None] // experts
    return tally_of_counts(count_ule, tokens_u, domains, 1, documents)


def of(name, found_tally, **given):
    return [warning.sentence for warning in lint(found_tally, **given) if warning.rule == name]


def test_few_texts():
    enough = sized([2048] * 50, ["law"] * 50)
    assert of("few_texts", enough) == []
    assert of("few_texts", sized([2048] * 49, ["law"] * 49)) == [
        "2 of 2 groups have fewer than 50 documents or 100,000 tokens, the least for a model of 64 experts: "
        "domain law (49 and 100,352), language en (49 and 100,352)."
    ]
    assert "fewer than 50 documents or 300,000 tokens" in of("few_texts", sized([2048] * 60, ["law"] * 60, 256))[0]
    assert of("few_texts", sized([6144] * 50, ["law"] * 50, 256)) == []
    assert of("few_texts", sized([102400] * 2, ["law"] * 2, documents=25)) == []  # blocks of 25 documents each
    mixed = sized([4096] * 100, ["law"] * 51 + ["code"] * 49)
    assert "1 of 3 groups" in of("few_texts", mixed)[0] and "domain code (49 and 200,704)" in of("few_texts", mixed)[0]
    bare = replace(enough, units=tuple(Unit(unit.key, "", "", 1) for unit in enough.units[:49]))
    bare = replace(bare, by_unit={name: table[:49] for name, table in enough.by_unit.items()})
    assert "all texts (49 and 100,352)" in of("few_texts", bare)[0]


def test_dominant_document():
    found = said(
        "dominant_document", corpus([61, 20, 19], domains=["law", "law", "code"], languages=["en", "de", "de"])
    )
    assert found == [
        "In 2 of 2 groups of several documents one has over half: "
        "domain law (75.3 %, 2 documents), language de (51.3 %, 2 documents)."
    ]
    assert said("dominant_document", corpus([30, 30, 30])) == []
    assert said("dominant_document", corpus([90, 10], domains=["law", "code"], languages=["en", "de"])) == []
    blocks = sized([900, 100], ["law"] * 2, documents=2)
    assert of("dominant_document", blocks) == []  # of a block it is not known


def test_dominant_document_counts_the_facets_that_count():
    flag_t = np.where(np.arange(40) < 20, Flag.SPECIAL, 0).astype(np.uint8)
    record = corpus([30, 10], flag_t=flag_t)
    assert said("dominant_document", record) == []
    found = said("dominant_document", record, facets=tuple(TokenRole))
    assert "domain law (75 %, 2 documents)" in found[0]


def test_one_document_labels():
    record = corpus([9] * 4, domains=["law", "law", "code", ""], languages=["en"] * 4)
    assert said("one_document_labels", record) == ["1 of 2 domains have one document only: code."]
    assert said("one_document_labels", corpus([9])) == []  # nothing is compared
    assert said("one_document_labels", corpus([9] * 4, domains=["law", "code"] * 2)) == []
    many = corpus([9] * 5, languages=["ar", "de", "en", "fr", "ja"])
    assert said("one_document_labels", many) == ["5 of 5 languages have one document only: ar, de, en and 2 more."]


def test_unlabelled_documents():
    record = corpus([9] * 20, domains=["law"] * 18 + ["", ""], languages=[""] + ["en"] * 19)
    assert said("unlabelled_documents", record) == ["2 of 20 documents (10 %) name no domain."]
    assert said("unlabelled_documents", corpus([9] * 4)) == []


def test_last_token_readout():
    record = corpus([1] * 10, token_t=[7] * 9 + [8])
    assert said("last_token_readout", record) == [
        "10 of 10 documents have one token; 90 % of the tokens are one and the same."
    ]
    assert said("last_token_readout", record, with_record=False) == ["10 of 10 documents have one token."]
    assert said("last_token_readout", corpus([1] * 8 + [2, 2])) == []
    assert said("last_token_readout", corpus([1])) == []


def test_last_token_readout_of_documents_in_blocks(monkeypatch):
    monkeypatch.setattr(tallying, "MOST_UNITS", 4)
    assert said("last_token_readout", corpus([1] * 30), with_record=False) == ["30 of 30 documents have one token."]


def test_pooled_phases():
    def phases(generated, special=0):
        flag_t = np.zeros(100, np.uint8)
        flag_t[:generated] = Flag.GENERATED
        flag_t[100 - special :] = Flag.SPECIAL
        return corpus([50, 50], flag_t=flag_t)

    assert said("pooled_phases", phases(40)) == ["Figures pool 60 % tokens of prompts and 40 % that were generated."]
    assert said("pooled_phases", phases(40, special=20)) == [
        "Figures pool 50 % tokens of prompts and 50 % that were generated."
    ]
    assert said("pooled_phases", phases(5)) == said("pooled_phases", phases(95)) == []
    assert said("pooled_phases", phases(40), facets=(TokenRole.PROMPT,)) == []
    assert said("pooled_phases", phases(0)) == []


def test_mixed_denominators():
    record = random_record(0)
    found_tally = tally(record, only=["tokens", "assignments", "paths"])
    ask = MetricOptions(by="domain", resamples=20)
    found = {name: METRICS[name](found_tally, ask) for name in ("token_share_of_group", "core_coverage")}
    assert said("mixed_denominators", record, results=found) == [
        "Shares of tokens (Share of a group's tokens; 2/5 of an even router) stand beside shares of assignments "
        "(Work done by the invariant core; 1/5)."
    ]
    for name in found:
        assert said("mixed_denominators", record, results={name: found[name]}) == []
    plain = METRICS["path_coverage"](found_tally, MetricOptions(resamples=0))  # a share of tokens, but not of experts
    assert said("mixed_denominators", record, results={"path_coverage": plain, "core_coverage": plain}) == []


def test_truncated_profiles():
    """Two documents of 40 tokens that only ever use two experts, beside two that use all."""
    ids = np.argsort(np.random.default_rng(0).random((80, 2, 8)), axis=-1)[..., :2]
    cut = ids.copy()
    cut[:, 1] = [3, 5]
    assert said("truncated_profiles", corpus([40, 40], ids=cut), with_record=False) == [
        "In 1 layers no document uses more than k experts: layer 1 (k=2 of 8)."
    ]
    assert said("truncated_profiles", corpus([40, 40], ids=ids)) == []
    one = cut.copy()
    one[0, 1] = [3, 6]
    assert said("truncated_profiles", corpus([40, 40], ids=one)) == []
    assert said("truncated_profiles", corpus([9, 9], ids=cut[:18])) == []  # too short to tell


def test_slots_that_are_never_filled():
    ids = np.argsort(np.random.default_rng(0).random((80, 2, 8)), axis=-1)[..., :3].astype(np.uint8)
    ids[:, 1, 2] = 255
    record = corpus([40, 40], ids=ids)
    assert [layer.k for layer in record.layers] == [3, 2] and said("truncated_profiles", record) == []
    promised = replace(record, layers=tuple(replace(layer, k=3) for layer in record.layers))
    assert said("truncated_profiles", promised) == ["In 1 layers no token fills all slots: layer 1 (2 of 3)."]


def test_singleton_inflation():
    token_t = [0] * 20 + [1] * 20 + [2] * 8 + [3, 4]
    record = corpus([25, 25], token_t=token_t)
    sentence = ["2 of 5 token ids (40 %) occur once; they are 4 % of the tokens."]
    assert said("singleton_inflation", record) == sentence
    none = METRICS["load_gini"](tally(record, only=["tokens", "assignments"]), MetricOptions(resamples=0))
    assert said("singleton_inflation", record, results={"load_gini": none}) == []
    assert said("singleton_inflation", record, results={"vocabulary_specialisation": none}) == sentence
    assert said("singleton_inflation", corpus([25, 25], token_t=np.arange(50) // 2)) == []
    special = np.where(np.arange(50) > 47, Flag.SPECIAL, 0).astype(np.uint8)
    assert said("singleton_inflation", corpus([25, 25], token_t=token_t, flag_t=special)) == []


def test_probabilities_as_logits():
    generator = np.random.default_rng(0)
    logit_tle = generator.normal(size=(50, 2, 8))
    gate_tle = np.exp(logit_tle) / np.exp(logit_tle).sum(axis=2, keepdims=True)
    both = np.stack([logit_tle[:, 0], gate_tle[:, 1]], axis=1).astype(np.float16)
    found = said("probabilities_as_logits", corpus([25, 25], logit_tle=both))
    assert found == ["Logits are 0 or more and add up to 1 in 1 layers: layer 1."]
    for raw_tle in (logit_tle, np.abs(logit_tle), 1 / (1 + np.exp(-logit_tle))):
        assert said("probabilities_as_logits", corpus([25, 25], logit_tle=raw_tle.astype(np.float16))) == []
    without = corpus([25, 25])
    assert unchecked(tally(without), {}, without) == {"probabilities_as_logits": ("logit_tle",)}


@pytest.mark.parametrize("experts", [8, 256, 896])
def test_probabilities_of_many_experts_are_known_although_rounded(experts):
    score_te = np.random.default_rng(0).normal(size=(30, experts)) * 2
    gate_te = np.exp(score_te) / np.exp(score_te).sum(axis=1, keepdims=True)
    ids = np.argsort(-score_te, axis=1)[:, None, :2]
    record = make_record(
        ids,
        experts=experts,
        kind=np.uint16,
        logit_tle=gate_te[:, None].astype(np.float16),
        token_t=np.zeros(30, np.int32),
    )
    assert said("probabilities_as_logits", record) == ["Logits are 0 or more and add up to 1 in 1 layers: layer 0."]


def test_duplicated_documents():
    text = list(range(30))
    other = list(range(40, 60))
    record = corpus([30, 20, 30, 4, 4], token_t=text + other + text + [1, 2, 3, 4] * 2)
    assert said("duplicated_documents", record) == ["1 of 3 documents repeat another: 34.1 % of all tokens."]
    assert said("duplicated_documents", corpus([30, 20], token_t=text + other)) == []


def test_a_document_that_is_in_the_tally_twice(monkeypatch):
    one = tally(random_record(0))
    assert of("duplicated_documents", merge(one, tally(random_record(1)))) == []
    assert of("duplicated_documents", merge(one, one)) == ["6 of 12 documents are in the tally a second time."]
    monkeypatch.setattr(tallying, "MOST_UNITS", 2)
    assert of("duplicated_documents", merge(one, tally(random_record(1)))) == []  # in blocks it cannot be seen


def test_shared_prefixes():
    start = list(range(100, 125))
    texts = [[*start, *range(25)], [*start, *range(30, 45)], list(range(50, 80)), list(range(60, 90))]
    sizes, token_t = [len(text) for text in texts], np.concatenate(texts)
    assert said("shared_prefixes", corpus(sizes, token_t=token_t)) == [
        "2 documents begin with the same 20 tokens or more as another; these beginnings are 33.3 % of the tokens."
    ]
    short = [[*start[:19], *range(25)], [*start[:19], *range(30, 45)]]
    assert said("shared_prefixes", corpus([len(text) for text in short], token_t=np.concatenate(short))) == []
    same = corpus(sizes, token_t=token_t)
    again = replace(same, documents=tuple(replace(each, id="one") for each in same.documents))
    assert said("shared_prefixes", again) == []  # pieces of one document
    template = np.concatenate([np.arange(size) < 25 for size in sizes])
    flagged = corpus(sizes, token_t=token_t, flag_t=np.where(template, Flag.TEMPLATE, 0).astype(np.uint8))
    assert said("shared_prefixes", flagged) == []
    copies = corpus([50, 50], token_t=texts[0] + texts[0])
    assert said("shared_prefixes", copies) == [] != said("duplicated_documents", copies)
    filler = list(np.random.default_rng(0).integers(200, 10_000, 5000))
    assert said("shared_prefixes", corpus([*sizes, 5000], token_t=np.append(token_t, filler))) == []


def test_a_sound_corpus_has_no_warnings():
    generator = np.random.default_rng(3)
    sizes = [2000] * 100
    ids = np.argsort(generator.random((200_000, 1, 4)), axis=-1)[..., :2]
    record = corpus(
        sizes, ids=ids, experts=4, domains=["law", "code"] * 50, token_t=generator.integers(0, 300, 200_000)
    )
    assert lint(tally(record, only=["tokens", "assignments"]), {}, record) == ()


def test_what_could_not_be_checked_is_said():
    record = random_record(0)
    bare = tally(record, only=["assignments"])
    missing = unchecked(bare)
    assert missing["few_texts"] == ("tokens",) and missing["shared_prefixes"] == ("record",)
    assert missing["mixed_denominators"] == ("results",) and "truncated_profiles" not in missing
    assert not {warning.rule for warning in lint(bare)} & missing.keys()
    with pytest.raises(OptionError, match="results of \\['gini'\\]"):
        lint(bare, {"gini": None})


def test_every_rule_says_what_it_is():
    assert len(RULES) == 12
    for each in RULES.values():
        assert each.says.endswith(".") and each.do.endswith(".") and each.source and each.check.__doc__


@pytest.mark.slow
def test_generated_texts_of_a_real_model(gptoss, realdata):
    """703 answers of GPT-OSS-20B, their token strings numbered; counted again from the strings alone."""
    with gzip.open(realdata / "gptoss20b" / "generated_tokens.json.gz", "rt", encoding="utf-8") as file:
        strings = json.load(file)
    about = json.loads((realdata / "gptoss20b" / "examples.json").read_text(encoding="utf-8"))
    length_d = np.bincount(gptoss.document_t).tolist()
    texts = [tuple(text[:length]) for text, length in zip(strings, length_d, strict=True)]
    number = {string: at for at, string in enumerate(sorted({string for text in texts for string in text}))}
    record = replace(
        gptoss,
        token_t=np.array([number[string] for text in texts for string in text], np.int32),
        documents=tuple(Document("", id=str(at), domain=each["category"]) for at, each in enumerate(about)),
    )
    found = lint(tally(record, only=["tokens", "assignments"]), None, record)
    sentences = {name: [each.sentence for each in found if each.rule == name] for name in RULES}
    copies = len(texts) - len(set(texts))
    assert sentences["duplicated_documents"][0].startswith(f"{copies} of 703 documents repeat another: ")
    different = set(texts)
    starts = Counter(text[:20] for text in different if len(text) >= 20)
    alike = [text for text in different if len(text) >= 20 and starts[text[:20]] > 1]
    share = sum(
        next((at for at in range(20, len(text)) if len({o[: at + 1] for o in alike if o[:20] == text[:20]}) > 1), 20)
        for text in alike
    ) / sum(length_d)
    assert sentences["shared_prefixes"] == [
        f"{len(alike)} documents begin with the same 20 tokens or more as another; "
        f"these beginnings are {100 * share:.3g} % of the tokens."
    ]
    counts = Counter(string for text in texts for string in text)
    once = sum(1 for count in counts.values() if count == 1)
    assert sentences["singleton_inflation"][0].startswith(f"{once:,} of {len(counts):,} token ids ")
    categories = Counter(each["category"] for each in about)
    alone = sum(1 for count in categories.values() if count == 1)
    assert sentences["one_document_labels"][0].startswith(f"{alone} of {len(categories)} domains have one document")
    assert sentences["unlabelled_documents"] == ["703 of 703 documents (100 %) name no language."]
    assert not sentences["truncated_profiles"] and not sentences["pooled_phases"]


def test_nothing_at_all_breaks_no_rule():
    empty = random_record(0).take(np.zeros(0, int))
    assert "few_texts" in {warning.rule for warning in lint(tally(empty, only=["tokens", "assignments"]), {}, empty)}
