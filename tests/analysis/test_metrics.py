"""What holds of every metric, whatever it measures: checked over the whole registry."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.tally.tally import STATISTICS, Tally, merge
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from tests.analysis.test_tally import part, random_record

CASES = [(name, by) for name, found in METRICS.items() for by in (found.by or ("",))]
QUICK = {"resamples": 40, "seed": 3}


def asked(name: str, counted: Tally, by: str):
    return METRICS[name](counted, MetricOptions(by=by, **QUICK))


def relabelled(record: RoutingRecord, seed: int = 5) -> tuple[RoutingRecord, np.ndarray]:
    """The same routes with every layer's experts called otherwise, the same way in all layers."""
    new_e = np.random.default_rng(seed).permutation(record.experts)
    ids_tlk = new_e[record.ids_tlk].astype(record.ids_tlk.dtype)
    logit_tle = np.empty_like(record.logit_tle)
    logit_tle[..., new_e] = record.logit_tle
    return replace(record, ids_tlk=ids_tlk, logit_tle=logit_tle), new_e


@pytest.fixture(scope="module")
def record():
    return random_record(11, documents=12)


@pytest.fixture(scope="module")
def counted(record):
    return tally(record)


@pytest.fixture(scope="module")
def renamed(record):
    """The tally of the same routes under other names of experts, and those names."""
    other, new_e = relabelled(record)
    return tally(other), new_e


@pytest.fixture(scope="module")
def merged(record):
    """The tally of the same documents from three shards, in another order."""
    pieces = [tally(part(record, [d for d in range(12) if d % 3 == shard])) for shard in (2, 0, 1)]
    return merge(merge(pieces[0], pieces[1]), pieces[2])


@pytest.fixture(scope="module")
def poor():
    return {name: tally(record) for name, record in poor_records().items()}


def test_there_are_metrics_and_each_is_explained():
    assert METRICS
    for found in METRICS.values():
        assert found.meaning.endswith(".") and found.source and found.unit
        assert set(found.needs) <= set(STATISTICS)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_values_lie_within_the_stated_range_and_carry_their_numbers(name, by, counted):
    result, found = asked(name, counted, by), METRICS[name]
    assert result.value.ndim == len(found.axes)
    assert result.documents == 12 and result.tokens > 0
    known = result.value[np.isfinite(result.value)]
    assert known.size, "a metric that is undefined everywhere"
    if found.range.least is not None:
        assert known.min() >= found.range.least - 1e-9
    if found.range.greatest is not None:
        assert known.max() <= found.range.greatest + 1e-9
    if result.low is not None:
        assert (result.low <= result.high + 1e-12)[np.isfinite(result.low)].all()
    if result.p is not None:
        assert ((result.p > 0) & (result.p <= 1))[np.isfinite(result.p)].all()


@pytest.mark.parametrize(("name", "by"), CASES)
def test_names_of_experts_do_not_matter(name, by, counted, renamed):
    other, new_e = renamed
    one, two = asked(name, counted, by).value, asked(name, other, by).value
    for axis, letter in enumerate(METRICS[name].axes):
        if letter in "ef":
            two = np.take(two, new_e, axis=axis)
    np.testing.assert_allclose(one, two, atol=1e-9)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_the_order_of_documents_and_the_shards_do_not_matter(name, by, counted, merged):
    one, two = asked(name, counted, by), asked(name, merged, by)
    np.testing.assert_array_equal(one.value, two.value)
    for what in ("low", "high", "null", "p", "q"):
        if getattr(one, what) is not None:
            np.testing.assert_array_equal(getattr(one, what), getattr(two, what), err_msg=what)


def poor_records():
    """Records that lack something: documents, labels, weights, losses, experts in some layers, any routes at all."""
    whole = random_record(7, documents=6)
    bare = dict.fromkeys(("weight_tlk", "loss_t"))
    unlabelled = tuple(replace(document, domain="", language="") for document in whole.documents)
    half = tuple(replace(d, domain=d.domain * (n > 1)) for n, d in enumerate(whole.documents))
    ids_tlk = whole.ids_tlk.copy()
    ids_tlk[:, 1] %= 2
    ids_tlk[:, 1, 1] = whole.empty
    weight_tlk = whole.weight_tlk.copy()
    weight_tlk[:, 1, 1] = 0
    fewer = (whole.layers[0], replace(whole.layers[1], experts=2, k=1))
    nothing = np.full_like(whole.ids_tlk, whole.empty)
    return {
        "one document": part(whole, [0]),
        "one domain": replace(whole, documents=tuple(replace(d, domain="law") for d in whole.documents)),
        "no labels": replace(whole, documents=unlabelled),
        "some labels": replace(whole, documents=half),
        "no weights or losses": replace(whole, **bare),
        "losses that are no numbers": replace(whole, loss_t=np.full_like(whole.loss_t, np.nan)),
        "layers of different sizes": replace(whole, layers=fewer, ids_tlk=ids_tlk, weight_tlk=weight_tlk),
        "no routes": replace(whole, ids_tlk=nothing, weight_tlk=np.zeros_like(whole.weight_tlk)),
    }


@pytest.mark.parametrize(("name", "by"), CASES)
def test_what_is_missing_gives_a_defined_result_or_a_reason(name, by, poor):
    of_tokens = name in (
        "token_share_of_group",
        "usage_difference",
    )  # of all tokens, none used the expert: 0 is the truth
    for lacking, counted in poor.items():
        try:
            result = asked(name, counted, by)
        except OptionError as reason:
            assert reason.found and reason.expected and reason.do, lacking
            continue
        assert result.value.ndim == len(METRICS[name].axes), lacking
        if lacking == "no routes" and "le" in METRICS[name].axes and not of_tokens:
            assert not (result.value == 0).all(), "a silent zero"


def test_nulls_are_named_in_the_words_of_the_field(subtests):
    """Labels are shuffled or permuted, as papers say; nothing is dealt."""
    for name, one in METRICS.items():
        with subtests.test(name):
            assert "deal" not in f"{one.null} {one.uniform} {one.meaning}"
    assert "labels shuffled among documents" in METRICS["mutual_information"].null
