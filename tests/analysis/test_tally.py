"""A tally is the same however documents are spread over records and records to merges."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatescope.analysis.tally.count_statistics  # noqa: F401  # declares its statistics
from gatescope.analysis.counting import tally
from gatescope.analysis.tally import tally as tallying
from gatescope.analysis.tally.files import from_bytes, to_bytes
from gatescope.analysis.tally.tally import FIXED, STATISTICS, Group, TokenRole, merge
from gatescope.routing import Document, Flag
from gatescope.routing.errors import OptionError, RecordError
from tests.analysis.conftest import make_record

EXPERTS, LAYERS, SLOTS = 5, 2, 2


def random_record(seed, documents=6):
    """Documents of a few tokens each, of two domains and languages, with flags, weights and losses."""
    generator = np.random.default_rng(seed)
    length_d = generator.integers(1, 6, documents)
    rows = int(length_d.sum())
    ids = np.argsort(generator.random((rows, LAYERS, EXPERTS)), axis=-1)[..., :SLOTS].astype(np.uint8)
    weight = np.sort(generator.random((rows, LAYERS, SLOTS)), axis=-1)[..., ::-1].astype(np.float16)
    document_t = np.repeat(np.arange(documents), length_d)
    loss_t = generator.random(rows).astype(np.float32)
    loss_t[generator.random(rows) < 0.2] = np.nan
    logit = generator.normal(size=(rows, LAYERS, EXPERTS)).astype(np.float16)
    record = make_record(
        ids,
        experts=EXPERTS,
        logit_tle=logit,
        lse_tl=np.log(np.exp(logit.astype(float)).sum(axis=-1)).astype(np.float16),
        margin_tl=generator.random((rows, LAYERS)).astype(np.float16),
        entropy_tl=(generator.random((rows, LAYERS)) * np.log(EXPERTS)).astype(np.float16),
        documents=document_t,
        weight_tlk=weight,
        loss_t=loss_t,
        token_t=generator.integers(0, 9, rows).astype(np.int32),
        flag_t=generator.choice(np.array([0, Flag.GENERATED, Flag.SPECIAL], np.uint8), rows),
    )
    labelled = tuple(
        Document(f"text {n}", id=str(n), domain=["law", "code"][n % 2], language=["en", ""][n % 3 == 0])
        for n in range(documents)
    )
    return replace(record, documents=labelled)


def part(record, documents):
    """The record of some of its documents, numbered anew."""
    rows = np.isin(record.document_t, documents)
    number = {old: new for new, old in enumerate(sorted(documents))}
    taken = record.take(rows)
    document_t = np.array([number[d] for d in taken.document_t.tolist()], np.int32)
    return replace(taken, documents=tuple(record.documents[d] for d in sorted(documents)), document_t=document_t)


def equal(one, other):
    assert (one.layers, one.provenance, one.units) == (other.layers, other.provenance, other.units)
    assert one.by_unit.keys() == other.by_unit.keys() and one.by_group.keys() == other.by_group.keys()
    for name, table in one.by_unit.items():
        np.testing.assert_array_equal(table, other.by_unit[name], err_msg=name)
    for name, tables in one.by_group.items():
        assert tables.keys() == other.by_group[name].keys(), name
        for group, table in tables.items():
            np.testing.assert_array_equal(table, other.by_group[name][group], err_msg=f"{name} {group}")


@pytest.mark.parametrize("most_units", [2048, pytest.param(4, marks=pytest.mark.slow)])
@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    shards=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    order=st.permutations(range(4)),
)
def test_whatever_the_shards_and_the_order_of_merging(most_units, seed, shards, order):
    tallying.MOST_UNITS, before = most_units, tallying.MOST_UNITS
    try:
        record = random_record(seed)
        whole = tally(record)
        parts = [part(record, [d for d in range(6) if shards[d] == shard]) for shard in order if shard in shards]
        tallies = [tally(each) for each in parts]
        equal(reduce(merge, tallies), whole)
        equal(reduce(lambda one, other: merge(other, one), tallies), whole)
        if len(tallies) > 2:
            equal(merge(tallies[0], reduce(merge, tallies[1:])), whole)
        equal(from_bytes(to_bytes(whole)), whole)
        assert whole.documents == 6 and len(whole.units) <= max(most_units, len({unit[1:3] for unit in whole.units}))
    finally:
        tallying.MOST_UNITS = before


def test_counts_by_hand():
    record = make_record(
        [[[0, 2]], [[2, 1]], [[1, 255]]],
        experts=3,
        documents=[0, 0, 1],
        weight_tlk=np.array([[[0.75, 0.25]], [[0.5, 0.5]], [[1, 0]]], np.float16),
        loss_t=np.array([1.5, np.nan, 0.25], np.float32),
        flag_t=np.array([Flag.SPECIAL, 0, Flag.GENERATED], np.uint8),
    )
    found = tally(record)
    first = next(u for u in range(2) if found.table("tokens")[u].sum() == 2)
    assert found.table("tokens")[first].tolist() == [1, 0, 1, 0]
    assert found.table("tokens")[1 - first].tolist() == [0, 1, 0, 0]
    assert found.table("assignments")[first, :, 0].tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert (found.table("gate_mass")[first, TokenRole.FORMAT, 0] / FIXED).tolist() == [0.75, 0, 0.25]
    assert found.table("losses")[first].tolist() == [[0, 0], [0, 0], [1, int(1.5 * 2**20)], [0, 0]]


def test_facets_are_added_up_as_the_whole_table_is():
    """Of narrow tables as of wide ones, without a facet, and beyond what the narrow numbers hold."""
    whole = tally(random_record(3))
    for name in ("assignments", "tokens"):
        for facets in ((), (TokenRole.FORMAT,), tuple(TokenRole)):
            expected = whole.table(name)[:, list(facets)].sum(axis=1)
            np.testing.assert_array_equal(whole.summed(name, facets), expected, err_msg=f"{name} {facets}")
    full = replace(whole, by_unit={"tokens": np.full((1, len(TokenRole)), 255, np.uint8)})
    assert full.summed("tokens", tuple(TokenRole)).tolist() == [255 * len(TokenRole)]
    with pytest.raises(OptionError, match="no statistic 'none'"):
        whole.summed("none", ())


def test_no_text_is_in_a_tally():
    record = random_record(0)
    secret = replace(record, documents=tuple(replace(d, text="the secret text") for d in record.documents))
    assert b"secret" not in to_bytes(tally(secret)) and "secret" not in repr(tally(secret))


def test_a_record_without_weights_has_no_mass():
    record = replace(random_record(0), weight_tlk=None, loss_t=None)
    found = tally(record)
    assert "gate_mass" not in found.by_unit and "losses" not in found.by_unit
    with pytest.raises(OptionError, match="no statistic 'gate_mass' in this tally"):
        found.table("gate_mass")


def test_what_does_not_belong_together_is_not_merged():
    one, other = tally(random_record(0)), tally(random_record(1), only=["tokens"])
    with pytest.raises(RecordError, match="different statistics"):
        merge(one, other)
    with pytest.raises(RecordError, match="different layers"):
        merge(one, replace(one, layers=one.layers[:1]))
    with pytest.raises(OptionError, match="some of"):
        tally(random_record(0), only=["tokns"])


def test_every_statistic_says_what_it_is():
    assert all(each.meaning.endswith(".") and each.axes[0] in "ug" for each in STATISTICS.values())
    assert Group("law", "en", TokenRole.PROMPT) < Group("law", "en", TokenRole.GENERATED)
