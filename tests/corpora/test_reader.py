"""The reader takes what docs/corpora.md promises, and says of everything else what, where and what to do."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatescope.corpora import read_jsonl
from gatescope.routing import Document
from gatescope.routing.errors import CorpusError

GOOD = b'{"text": "one"}\n'


@dataclass(frozen=True)
class Bad:
    """A file's bytes, the line at fault, and what the error must say."""

    content: bytes
    line: int
    found: str
    do: str


BAD = {
    "not json": Bad(GOOD + b"text, law\n", 2, "not JSON from column 1", "on one line"),
    "object over two lines": Bad(b'{"text":\n"one"}\n', 1, "not JSON", "on one line"),
    "truncated object": Bad(GOOD + b'{"text": "tw', 2, "not JSON from column 10", "on one line"),
    "nested too deeply": Bad(b"[" * 200_000, 1, "not JSON", "on one line"),
    "a list": Bad(GOOD + b'["two"]\n', 2, "a list", "docs/corpora.md"),
    "a string": Bad(b'"one"\n', 1, "the string 'one'", "docs/corpora.md"),
    "a number": Bad(b"12\n", 1, "the value '12'", "docs/corpora.md"),
    "no text": Bad(GOOD + b'{"domain": "law"}\n', 2, "no text, only domain", "add the field text"),
    "no field": Bad(b"{}\n", 1, "no text, only no field at all", "add the field text"),
    "blank text": Bad(b'{"text": " \\n"}\n', 1, "a blank text", "remove the line"),
    "text is a number": Bad(GOOD + b'{"text": 7}\n', 2, "text is the value '7'", "double quotes"),
    "text is null": Bad(b'{"text": null}\n', 1, "text is null", "double quotes"),
    "label is a list": Bad(b'{"text": "a", "domain": ["law"]}\n', 1, "domain is a list", "leave it out"),
    "label is an object": Bad(b'{"text": "a", "language": {}}\n', 1, "language is an object", "leave it out"),
    "label is true": Bad(b'{"text": "a", "id": true}\n', 1, "id is the value 'True'", "leave it out"),
    "label with spaces": Bad(b'{"text": "a", "domain": "law "}\n', 1, "domain 'law '", "remove the spaces"),
    "unknown field": Bad(GOOD + b'{"text": "a", "lang": "en"}\n', 2, "the field 'lang'", "rename or remove"),
    "field twice": Bad(b'{"text": "a", "text": "b"}\n', 1, "the field 'text' twice", "keep one"),
    "id twice": Bad(b'{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}\n', 2, "already on line 1", "another id"),
    "empty line inside": Bad(GOOD + b"\n" + GOOD, 2, "an empty line", "remove the line"),
    "empty line at the end": Bad(GOOD + b"  \n", 2, "an empty line", "remove the line"),
    "latin-1": Bad(GOOD + '{"text": "café"}\n'.encode("latin-1"), 2, "byte 0xe9 at byte 14", "UTF-8"),
    "byte order mark inside": Bad(GOOD + b"\xef\xbb\xbf" + GOOD, 2, "not JSON", "on one line"),
    "half a surrogate pair": Bad(b'{"text": "\\ud83d"}\n', 1, "half a surrogate pair in text", "whole characters"),
}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "mine.jsonl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_line_is_named_with_its_place_and_a_remedy(tmp_path: Path, bad: Bad) -> None:
    path = write(tmp_path, bad.content)
    with pytest.raises(CorpusError) as caught:
        read_jsonl(path)
    assert caught.value.found.startswith(f"{path}, line {bad.line}: ")
    assert bad.found in caught.value.found
    assert bad.do in caught.value.expected + caught.value.do
    assert len(caught.value.found) < len(str(path)) + 200
    assert pickle.loads(pickle.dumps(caught.value)).found == caught.value.found


def test_empty_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="an empty file") as caught:
        read_jsonl(write(tmp_path, b""))
    assert "at least one line" in caught.value.do


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.jsonl: No such file"):
        read_jsonl(tmp_path / "none.jsonl")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="directory"):
        read_jsonl(tmp_path)


def test_every_field_arrives_as_written(tmp_path: Path) -> None:
    line = {"text": " two\n", "domain": "law", "language": "de", "source": "mine", "id": "b", "passage": "p"}
    path = write(tmp_path, json.dumps(line).encode())
    assert read_jsonl(path) == [Document(text=" two\n", id="b", source="mine", domain="law", language="de")]


def test_text_alone_gets_its_place_as_id(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + b'{"text": "two", "domain": "", "id": ""}\n')
    one, two = read_jsonl(path)
    assert (one.id, one.source, one.domain, one.language) == ("mine.jsonl:1", "mine.jsonl", "", "")
    assert (two.id, two.domain) == ("mine.jsonl:2", "")


def test_windows_file_reads_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b'{"text": "two"}\r\n')
    assert [document.text for document in read_jsonl(path)] == ["one", "two"]


def test_a_file_in_utf16_with_its_mark_reads_the_same(tmp_path: Path) -> None:
    assert read_jsonl(write(tmp_path, GOOD.decode().encode("utf-16")))[0].text == "one"


def test_unicode_line_separators_do_not_end_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c"
    path = write(tmp_path, json.dumps({"text": text}, ensure_ascii=False).encode())
    assert read_jsonl(str(path))[0].text == text


def test_escaped_pair_is_one_character(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"text": "\\ud83d\\ude00"}')
    assert read_jsonl(path)[0].text == "\U0001f600"
