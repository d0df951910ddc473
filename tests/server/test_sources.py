"""Where numbers come from: ids are told apart, scopes count what they say, what was analysed is what is computed."""

import time

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions, Result
from gatescope.analysis.tally.files import from_bytes
from gatescope.routing import Document, Flag
from gatescope.routing.errors import CaptureNotFoundError, OptionError
from gatescope.server.document_ranges import slice_of
from gatescope.server.measures import measure, own_tokens, table, tally_of
from gatescope.server.memo_cache import invalidate
from gatescope.server.sources import (
    ANALYSED,
    CAPTURED,
    TALLY,
    Scope,
    Source,
    document_of,
    documents_of,
    read_shipped,
    read_study,
    scope_of,
    shipped_ids,
)
from gatescope.server.view import Span, View
from gatescope.studies import results
from gatescope.studies.adding_up import first_routes
from tests.records import build_record
from tests.small_studies import captured, write

LABELS = [("d0", "code", "en"), ("d1", "law", "de"), ("d2", "code", "de")]


@pytest.fixture
def corpus():
    """Three documents of 2, 3 and 1 tokens; the first token of the first is the model's format."""
    record = build_record(
        ["a", "b", "c", "d", "e", "f"],
        document_t=np.array([0, 0, 1, 1, 1, 2], np.int32),
        position_t=np.array([0, 1, 0, 1, 2, 0], np.int32),
        flag_t=np.array([Flag.SPECIAL, 0, 0, 0, Flag.GENERATED, 0], np.uint8),
        documents=tuple(Document("x", id=id, domain=domain, language=language) for id, domain, language in LABELS),
    )
    yield Source(id="hand", name="by hand", kind="corpus", record=record)
    invalidate("hand")


def view(**parts: object) -> View:
    return View(quantity="margin", model="sift-softmax", **parts)


def test_a_slice_by_label_and_by_number_names_its_documents(corpus):
    assert documents_of(corpus.record, "domain:code") == (0, 2)
    assert documents_of(corpus.record, "language:de") == (1, 2)
    assert documents_of(corpus.record, "documents:0-1.7") == (0, 1)
    with pytest.raises(OptionError, match="domain:poetry"):
        documents_of(corpus.record, "domain:poetry")


@pytest.mark.parametrize("numbers", [[0], [3, 1, 2], [0, 1, 2, 5, 7, 8]])
def test_numbers_of_documents_read_back_from_their_slice(numbers):
    record = build_record(["a"] * 9, document_t=np.arange(9, dtype=np.int32), documents=(Document("x"),) * 9)
    assert documents_of(record, slice_of(numbers)) == tuple(sorted(numbers))


def test_a_link_that_names_the_same_documents_many_times_costs_no_more_than_once(corpus):
    """201 ranges of 100,000 numbers each, as long as a link may be: 20 million steps where each is counted out."""
    ranges = ".".join(["0-99999"] * 201)
    started = time.process_time()
    assert documents_of(corpus.record, f"documents:{ranges}") == (0, 1, 2)
    assert time.process_time() - started < 0.05
    assert documents_of(corpus.record, "documents:2.1-9999999.0") == (0, 1, 2)
    assert documents_of(corpus.record, "documents:2-1.0-0.2") == (0, 2)


def test_a_scope_counts_the_tokens_of_its_documents_range_and_facet(corpus):
    assert own_tokens(corpus) == 5
    assert own_tokens(corpus, Scope(facet="generated")) == 1
    assert own_tokens(corpus, Scope(facet="format")) == 1
    assert own_tokens(corpus, scope_of(corpus, view(slice="domain:code"))) == 2
    assert own_tokens(corpus, scope_of(corpus, view(document=1, span=Span(0, 1)))) == 2
    assert own_tokens(corpus, scope_of(corpus, view(document=1, span=Span(0, 2), facet="prompt"))) == 2


def test_a_document_is_its_tokens_counted_from_0(corpus):
    own = document_of(corpus, 1)
    assert own.token_t.tolist() == [2, 3, 4]
    assert own.document_t.tolist() == [0, 0, 0]
    assert [document.id for document in own.documents] == ["d1"]


def test_a_metric_speaks_of_its_scope(corpus):
    """Expert e of layer 0 is first for token e mod 4, and e + 1 second: token 4 takes the experts 0 and 1."""
    load = measure(corpus, "relative_load", scope=Scope(facet="generated"))
    assert load.value[0].tolist() == [2, 2, 0, 0]
    assert load.tokens == 1


def test_captures_that_differ_in_one_route_are_never_taken_for_each_other():
    one = build_record(["a"] * 4)
    other_ids = one.ids_tlk.copy()
    other_ids[0, 0] = [3, 2]
    other = build_record(["a"] * 4, ids_tlk=other_ids)
    sources = [Source(id=name, name=name, kind="text", record=record) for name, record in (("1", one), ("2", other))]
    first, second = (measure(source, "relative_load", scope=Scope(facet="format")).value for source in sources)
    assert not np.array_equal(first, second)
    for source in sources:
        invalidate(source.id)


@pytest.mark.parametrize("model", ["sift-softmax", pytest.param("sift-sigmoid", marks=pytest.mark.slow)])
def test_what_ships_analysed_is_what_its_routes_give(model):
    shipped = read_shipped(f"probe.{model}")
    again = tally(shipped.record)
    kept, do = from_bytes((shipped.analysis / TALLY).read_bytes()), "run `python -m gatescope.training.ship_analysis`"
    assert (kept.units, kept.layers, kept.provenance) == (again.units, again.layers, again.provenance), do
    assert kept.by_unit.keys() == again.by_unit.keys() and kept.by_group.keys() == again.by_group.keys(), do
    assert all(np.array_equal(kept.by_unit[name], table) for name, table in again.by_unit.items()), do
    for name, tables_g in again.by_group.items():
        assert tables_g.keys() == kept.by_group[name].keys(), do
        assert all(np.array_equal(kept.by_group[name][group], table) for group, table in tables_g.items()), do
    for name, by in (("relative_load", ""), ("load_gini", ""), ("token_share_of_group", "domain")):
        found = METRICS[name](again, MetricOptions(by=by, resamples=0))
        np.testing.assert_allclose(measure(shipped, name, by=by).value, found.value, rtol=1e-12, err_msg=name)
    assert len(table(shipped, "composition.domain")) == len(shipped.record.layers)


def test_of_a_tally_that_was_kept_what_a_metric_needs_is_read():
    shipped = read_shipped("probe.sift-softmax")
    whole = results.read_tally(shipped.analysis / TALLY)
    for name in ("relative_load", "transition_information", "prompt_against_generated"):
        found, needs = tally_of(shipped, name), set(METRICS[name].needs)
        assert {*found.by_unit, *found.by_group} == needs < {*whole.by_unit, *whole.by_group}
        assert (found.units, found.layers, found.provenance) == (whole.units, whole.layers, whole.provenance)
        one, other = (METRICS[name](each, MetricOptions(resamples=20)) for each in (found, whole))
        for what in results.ARRAYS:
            np.testing.assert_array_equal(getattr(one, what), getattr(other, what), err_msg=f"{name} {what}")


def test_every_shipped_id_can_be_read_and_no_other():
    ids = shipped_ids("sift-softmax")
    assert ids[:2] == ["probe.sift-softmax", "welcome.sift-softmax"]
    assert len(ids) > 5
    assert {read_shipped(id).id for id in (ids[0], ids[1], ids[-1])} == {ids[0], ids[1], ids[-1]}
    assert shipped_ids("another/model") == []
    for id in ("step1.sift-softmax", "probe.another", "recipe.sift-softmax"):
        with pytest.raises(CaptureNotFoundError):
            read_shipped(id)


def test_a_study_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CaptureNotFoundError, match="no study abc"):
        read_study("abc", tmp_path)


def test_what_is_computed_of_a_study_before_it_changed_is_not_served_afterwards(tmp_path, make_record):
    """A page that read the study before goes on counting while a block comes in and all that is kept is dropped."""
    study = captured(tmp_path / CAPTURED, make_record, blocks=1)
    before = read_study("grown", tmp_path)
    write(study, 1, make_record)
    invalidate("grown")
    assert measure(before, "relative_load").tokens == 3  # of 4 in the block, the first is the model's format
    after = read_study("grown", tmp_path)
    try:
        assert measure(after, "relative_load").tokens == 3 + 4
    finally:
        invalidate("grown")


def test_results_that_were_written_anew_are_read_anew(tmp_path, make_record):
    captured(tmp_path / CAPTURED, make_record, blocks=1)
    analysed = tmp_path / ANALYSED
    analysed.mkdir()
    path, load = analysed / results.NAME, ("relative_load", "")
    path.write_bytes(results.to_bytes({load: Result(value=np.full((2, 4), 1.0), tokens=1, documents=2)}))
    before = read_study("anew", tmp_path)
    (analysed / "new").write_bytes(results.to_bytes({load: Result(value=np.full((2, 4), 2.0), tokens=2, documents=2)}))
    (analysed / "new").replace(path)
    invalidate("anew")
    after = read_study("anew", tmp_path)
    assert before.version != after.version == read_study("anew", tmp_path).version
    try:
        assert measure(after, "relative_load").tokens == 2
    finally:
        invalidate("anew")


def test_of_a_large_study_as_many_blocks_are_at_hand_as_fit(tmp_path, make_record):
    """Blocks of 4, 5 and 4 tokens: the last block that begins within the limit is the last one read."""
    study = captured(tmp_path / "study", make_record)
    whole = first_routes(study, 100)
    assert whole.tokens == 13 and [document.text for document in whole.documents[:3]] == ["0 law", "0 code", "1 law"]
    a_token = sum(array.nbytes for _, array in whole.arrays()) // 13
    for most, tokens in ((0, 4), (4 * a_token, 4), (5 * a_token, 9), (9 * a_token, 9), (100 * a_token, 13)):
        assert first_routes(study, 100, most_bytes=most).tokens == tokens
    assert first_routes(study, 5).tokens == first_routes(study, 5, most_bytes=100 * a_token).tokens == 9
    assert np.array_equal(first_routes(study, 5).ids_tlk, whole.ids_tlk[:9])
