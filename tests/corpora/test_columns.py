"""Columns: obvious names are found, others are named, and a choice that is not there says what is."""

import pytest

from gatescope.corpora.columns import FOLDER, Columns, Constant, Layout, find
from gatescope.routing.errors import CorpusError

OBVIOUS = {
    "own names": (("text", "domain", "language", "id", "source"), Layout(
        text="text", domain="domain", language="language", id="id", source="source")),
    "other names": (("n", "content", "label", "lang"), Layout(text="content", domain="label", language="lang")),
    "any case": (("Text", "SUBJECT", "Locale"), Layout(text="Text", domain="SUBJECT", language="Locale")),
    "the own name before others": (("content", "text", "label", "domain"), Layout(text="text", domain="domain")),
    "the written case before others": (("TEXT", "text"), Layout(text="text")),
    "the only column is the text": (("body",), Layout(text="body")),
    "nested ones are not guessed": (("text", "meta.domain"), Layout(text="text")),
}  # fmt: skip

REFUSED = {
    "two texts": (Columns(), ("content", "document"), "the columns content and document", "--text content"),
    "two domains": (Columns(), ("text", "label", "category"), "the columns label and category", "--domain label"),
    "no text": (Columns(), ("body", "subject"), "only body, subject", "--text body"),
    "nothing": (Columns(), (), "only none at all", "--text body"),
    "text misspelt": (Columns(text="txet"), ("text", "b"), "no column 'txet', only text, b", "given as text"),
    "label misspelt": (Columns(domain="d"), ("text", "b"), "no column 'd', only text, b", "given as domain"),
    "nested misspelt": (Columns(domain="meta.d"), ("text", "meta.e"), "only text, meta.e", "given as domain"),
    "many": (Columns(text="x"), tuple(f"c{n}" for n in range(40)), "c29 and 10 more", "given as text"),
}


@pytest.mark.parametrize(("offered", "layout"), OBVIOUS.values(), ids=OBVIOUS)
def test_obvious_names_are_found(offered, layout):
    assert find(Columns(), offered, "mine.csv") == layout


@pytest.mark.parametrize(("columns", "offered", "found", "do"), REFUSED.values(), ids=REFUSED)
def test_what_is_absent_or_could_be_several_is_refused_with_the_columns_listed(columns, offered, found, do):
    with pytest.raises(CorpusError) as caught:
        find(columns, offered, "mine.csv")
    assert caught.value.found.startswith("mine.csv: ")
    assert found in caught.value.found and do in caught.value.do


def test_named_columns_constants_and_folders_are_taken_as_said():
    columns = Columns(text="a", domain=FOLDER, language=Constant("en"), id=None, source="meta.url")
    layout = find(columns, ("a", "id", "meta.url"), "mine.jsonl")
    assert layout == Layout(text="a", domain=FOLDER, language=Constant("en"), source="meta.url")
    assert layout.wanted() == ("a", "meta.url")
    assert str(layout) == "text = a, domain = the folder's name, language = 'en' throughout, source = meta.url"


def test_a_nested_object_may_be_named_whole_and_reached_into():
    assert find(Columns(text="a.b"), ("a.b.c",), "mine.jsonl").text == "a.b"
    assert find(Columns(text="a.b.c.d.e.f.g.h"), ("a.b.c.d.e.f",), "mine.jsonl").text == "a.b.c.d.e.f.g.h"
