"""`corpora/schema.json` and the strict reader agree on what a line may be."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gatescope import corpora
from gatescope.corpora.line import FIELDS, parse_line, strict_document
from gatescope.corpora.place import Place
from gatescope.routing.errors import CorpusError

HERE = Path(corpora.__file__).parent
SCHEMA = json.loads((HERE / "schema.json").read_text(encoding="utf-8"))
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SPACE = st.text(st.sampled_from(" \t\n\u00a0\u2003"), max_size=2)
STRING = st.tuples(SPACE, TEXT, SPACE).map("".join)
VALUE = STRING | st.none() | st.booleans() | st.integers() | st.lists(TEXT, max_size=1) | st.just({})
LINE = st.dictionaries(st.sampled_from([*FIELDS, "title"]), STRING | VALUE, max_size=4)


def accepts(line: object) -> bool:
    place = Place(Path("mine.jsonl"), 1)
    try:
        strict_document(parse_line(json.dumps(line).encode(), place), place)
    except CorpusError:
        return False
    return True


@given(LINE | VALUE)
def test_the_schema_takes_what_the_reader_takes(line):
    assert Draft202012Validator(SCHEMA).is_valid(line) == accepts(line)


@pytest.mark.parametrize(
    ("line", "is_good"),
    [
        ({"text": "a"}, True),
        ({"text": " a\n", "domain": "", "passage": "p"}, True),
        ({"text": "\n"}, False),
        ({"domain": "law"}, False),
        ({"text": "a", "domain": "law\n"}, False),
        ({"text": "a", "title": "b"}, False),
        ({"text": None}, False),
    ],
)
def test_lines_known_to_be_good_and_bad(line, is_good):
    assert Draft202012Validator(SCHEMA).is_valid(line) == accepts(line) == is_good


def test_the_schema_is_one_and_names_every_field():
    Draft202012Validator.check_schema(SCHEMA)
    assert tuple(SCHEMA["properties"]) == FIELDS


@pytest.mark.parametrize("name", ["domains.jsonl", "languages.jsonl"])
def test_the_labelled_files_of_the_probe_keep_it(name):
    lines = (HERE / "probe" / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not Draft202012Validator(SCHEMA).is_valid(json.loads(line))] == []
