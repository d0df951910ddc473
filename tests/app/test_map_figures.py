"""The map's sentences and marks: shares as counted, labels told apart twice, foreign text never markup."""

import numpy as np
import pytest

from gatescope.analysis.comparison.document_points import document_points
from gatescope.analysis.comparison.projection import Layout, Purity, token_points
from gatescope.app.views.map.points_figure import (
    MOST_NAMED,
    OTHER,
    Places,
    document_frame,
    labels_of,
    map_words,
    matching,
    purity_figure,
    purity_frame,
    purity_plot,
    scatter,
    token_frame,
)
from gatescope.routing import Document
from tests.records import build_record

LABELS = [("d0", "code", "en"), ("<b>d1", "law", "de"), ("", "", "de")]


def layout(points: int, **parts: object) -> Layout:
    place_nc = np.arange(points * 2, dtype=float).reshape(points, 2)
    return Layout(place_nc, np.array([0.3, 0.2]), 0.25)._replace(**parts)


@pytest.fixture
def record():
    """Three documents of 2, 3 and 1 tokens."""
    return build_record(
        ["a", "<i>", " c", "a", "e", "f"],
        document_t=np.array([0, 0, 1, 1, 1, 2], np.int32),
        position_t=np.array([0, 1, 0, 1, 2, 0], np.int32),
        flag_t=np.zeros(6, np.uint8),
        documents=tuple(Document("Some Text", id=id, domain=domain, language=tongue) for id, domain, tongue in LABELS),
    )


@pytest.fixture
def documents(record):
    points = document_points(record)
    return Places("documents", document_frame(record, points, layout(3)), layout(3), {}, ())


@pytest.fixture
def tokens(record):
    points = token_points(record)
    frame = token_frame(record, points, layout(6), (7, 8, 9), 0)
    return Places("tokens", frame, layout(6), {}, ())


def test_documents_keep_their_numbers_lengths_and_labels(documents):
    rows = documents.frame[["document", "name", "domain", "language", "length"]].values.tolist()
    assert rows == [[0, "d0", "code", "en", 2], [1, "<b>d1", "law", "de", 3], [2, "document 2", "not said", "de", 1]]


def test_tokens_of_a_part_are_numbered_as_in_their_source(tokens):
    assert tokens.frame["document"].tolist() == [7, 7, 8, 8, 8, 9]
    assert tokens.frame["token"].tolist() == [0, 1, 0, 1, 2, 0]


def test_tokens_of_a_range_are_counted_from_its_document(record):
    part = record.take(slice(3, 5))
    frame = token_frame(part, token_points(part), layout(2), None, 1)
    assert frame["token"].tolist() == [1, 2]


def test_the_search_reads_texts_names_and_labels(documents):
    texts = ["Some Text", "another", "third"]
    assert matching(documents.frame, texts, " TEXT ").tolist() == [True, False, False]
    assert matching(documents.frame, texts, "law").tolist() == [False, True, False]
    assert matching(documents.frame, texts, "").tolist() == [False] * 3


def test_no_two_labels_share_hue_and_shape(documents):
    frame = documents.frame.iloc[np.zeros(40, int)].assign(domain=[f"domain {n % 20:02}" for n in range(40)])
    many = Places("documents", frame, layout(40), {}, ())
    drawn = scatter(many, "domain", inside_n=np.ones(40, bool), found_n=np.zeros(40, bool), pinned=None)
    looks = [(trace.marker.color, trace.marker.symbol) for trace in drawn.data]
    assert len(looks) == len(set(looks)) == MOST_NAMED + 1
    assert len({hue for hue, _ in looks[:-1]}) == 8
    assert drawn.data[-1].name == OTHER
    assert sum(len(trace.x) for trace in drawn.data) == 40


def test_the_most_frequent_labels_have_a_name(tokens):
    frame = tokens.frame.iloc[[0, 3, 1]].assign(token_id=[0, 0, 1])
    assert labels_of(frame, "token").tolist() == ["a · 0", "a · 0", "<i> · 1"]


def test_foreign_text_is_no_markup_in_the_chart(tokens):
    drawn = scatter(tokens, "token", inside_n=np.ones(6, bool), found_n=np.ones(6, bool), pinned=2)
    said = " ".join([trace.name for trace in drawn.data] + [t for trace in drawn.data for t in trace.hovertext or ()])
    assert "<i>" not in said
    assert "&lt;i&gt;" in said


def test_points_that_do_not_count_are_faint(documents):
    inside_n = np.array([True, False, True])
    drawn = scatter(documents, "length", inside_n=inside_n, found_n=np.zeros(3, bool), pinned=None)
    opacity = drawn.data[0].marker.opacity
    assert opacity[0] == opacity[2] > 2 * opacity[1]


def test_the_sentence_says_what_the_plane_holds(documents):
    words = map_words(documents, plane="", layer="", population="", shown=3, found=2)
    assert "3 documents by the experts they use: the plane holds 50% of how they differ" in words.takeaway
    assert "tells 25% of how long it is" in words.takeaway
    assert "2 hold what is sought" in words.takeaway
    laid = Places("documents", documents.frame, layout(3, share_c=np.full(2, np.nan)), {}, ())
    assert "distances are not" in map_words(laid, plane="", layer="", population="", shown=3, found=None).takeaway


def found(value: float, chance: float, p: float) -> Purity:
    return Purity(value, chance, 0.01, p, 0.5, 30, 3, 2)


def test_the_neighbours_are_said_with_chance_and_earn_their_badge(tokens):
    pure = {"token": found(0.18, 0.018, 0.005), "domain": found(0.14, 0.12, 0.005)}
    told = Places("tokens", tokens.frame, tokens.layout, pure, ())
    words = purity_figure(told, population="N = 6 tokens")
    assert "18% bear its own token id (chance 1.8%, at most 50%); 14% bear its own domain" in words.takeaway
    assert words.badge == "beyond null"
    weaker = Places("tokens", tokens.frame, tokens.layout, pure | {"domain": found(0.13, 0.12, 0.2)}, ())
    assert purity_figure(weaker, population="").badge == "observed"
    assert purity_frame(told).values.tolist()[0] == ["token id", 0.18, 0.018, 0.5, 0.005, 30, 3]
    assert [list(trace.y) for trace in purity_plot(told).data] == [
        pytest.approx([0.18, 0.14]),
        pytest.approx([0.018, 0.12]),
        [0.5, 0.5],
    ]
