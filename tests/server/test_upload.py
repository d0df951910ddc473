"""Uploaded files as documents: every format, packed or not; bad rows are named, hostile names and sizes refused."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatescope.routing.errors import CorpusError
from gatescope.server import upload
from gatescope.server.upload import Limits, guessed, laid_out, look, read, safe_name

MANY = Limits(documents=100, characters=10_000)
ROWS = [
    {"id": "a", "text": "The judge spoke.", "label": "law", "lang": "en"},
    {"id": "b", "text": "=SUM(A1:A9)", "label": "data", "lang": "en"},
    {"id": "c", "text": "Grüße, 世界!", "label": "law", "lang": "de"},
]


def as_jsonl(rows=ROWS) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(separator: str = ",") -> bytes:
    lines = [ROWS[0].keys(), *(row.values() for row in ROWS)]
    return "\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines).encode()


def as_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


FILES = {
    "mine.jsonl": as_jsonl(),
    "mine.csv": as_csv(),
    "mine.tsv": as_csv("\t"),
    "semicolons.csv": as_csv(";"),
    "mine.parquet": as_parquet(),
    "mine.jsonl.gz": gzip.compress(as_jsonl()),
    "mine.csv.zst": zstd(as_csv()),
    "MINE.JSONL": as_jsonl(),
    "utf16.csv": "\ufeff".encode("utf-16-le") + as_csv().decode().encode("utf-16-le"),
}


def texts_of(name: str, content: bytes, **more):
    with laid_out([(name, content)]) as place:
        return read(place, more.pop("mapped", None) or look(place).guess, limits=more.pop("limits", MANY), **more)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_documents(name):
    found = texts_of(name, FILES[name])
    said = [(each.id, each.text, each.domain, each.language) for each in found.documents]
    assert said == [tuple(row.values()) for row in ROWS]
    assert (found.bad, found.twice, found.is_cut, found.characters) == (0, 0, False, 16 + 11 + 10)


@pytest.mark.parametrize("name", FILES)
def test_the_first_rows_are_shown_as_they_are_written(name):
    with laid_out([(name, FILES[name])]) as place:
        seen = look(place)
    assert seen.columns == ("id", "text", "label", "lang")
    assert seen.guess == {"text": "text", "domain": "label", "language": "lang", "id": "id"}
    assert seen.rows == tuple(tuple(row.values()) for row in ROWS)


def test_five_rows_are_shown_and_long_cells_cut():
    with laid_out([("a.jsonl", as_jsonl([{"text": "x" * 1000}] * 9))]) as place:
        rows = look(place).rows
    assert [len(row[0]) for row in rows] == [160] * 5


def test_plain_text_is_one_document_or_its_paragraphs_or_words():
    content = b"one two three\nfour\n\nfive six\n"
    assert [each.text for each in texts_of("a.txt", content).documents] == [content.decode()]
    found = texts_of("a.txt", content, cut="paragraphs").documents
    assert [each.text for each in found] == ["one two three\nfour", "five six"]
    assert [each.text for each in texts_of("a.md", b"a b c d e", cut=2).documents] == ["a b", "c d", "e"]


def test_bad_rows_are_named_and_the_others_go_on():
    lines = [
        '{"text": "good"}',
        '{"text": ',
        '{"text": "   "}',
        '{"text": 7}',
        "[1]",
        '{"text": "good too", "id": "x"}',
        '{"text": "again", "id": "x"}',
    ]
    found = texts_of("mine.jsonl", "\n".join(lines).encode())
    assert [each.text for each in found.documents] == ["good", "good too"]
    assert found.bad == 5
    assert [fault.place for fault in found.faults] == [f"mine.jsonl, line {line}" for line in (2, 3, 4, 5, 7)]
    assert all(fault.found and fault.expected and fault.do for fault in found.faults)
    assert found.faults[1].found == "a blank text"


def test_a_row_of_other_letters_is_one_bad_row():
    content = b"id,text\n1,plain\n2,caf\xe9\n3,after\n"
    found = texts_of("latin.csv", content)
    assert [each.text for each in found.documents] == ["plain", "after"]
    assert (found.bad, found.faults[0].place) == (1, "latin.csv, line 3")
    assert "UTF-8" in found.faults[0].expected


def test_nothing_that_can_be_read_says_why():
    with pytest.raises(CorpusError, match="0xe9"):
        texts_of("latin.txt", b"caf\xe9", mapped={"text": "text"})
    with pytest.raises(CorpusError, match="not text"):
        texts_of("a.csv", b"\x00\x01\x02")
    with pytest.raises(CorpusError, match="empty"):
        texts_of("a.jsonl", b"")


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(CorpusError, match=r"no column 'body'.*id, text, label, lang"):
        texts_of("mine.csv", as_csv(), mapped={"text": "body"})
    with pytest.raises(CorpusError, match="no column for the text"):
        texts_of("mine.csv", as_csv(), mapped={"text": None, "domain": "label"})


def test_columns_can_be_mapped_otherwise_than_they_are_called():
    mapped = {"text": "label", "domain": "lang", "language": None, "id": None}
    found = texts_of("mine.csv", as_csv(), mapped=mapped).documents
    assert [(each.text, each.domain, each.language) for each in found][2] == ("law", "de", "")
    assert found[2].id == "mine.csv:4"


def test_no_column_is_guessed_to_be_the_text_without_a_reason():
    assert guessed(["a", "b"]) == dict.fromkeys(("text", "domain", "language", "id"))
    assert guessed(["anything"])["text"] == "anything"
    assert guessed(["content", "TEXT"])["text"] == "TEXT"  # its own name goes before others


def test_texts_that_are_there_twice_are_kept_and_counted():
    found = texts_of("a.jsonl", as_jsonl([{"text": "same"}, {"text": "other"}, {"text": "same"}]))
    assert (len(found.documents), found.twice) == (3, 1)


def test_limits_take_the_first_and_say_that_there_is_more():
    rows = [{"text": "x" * 10}] * 5
    found = texts_of("a.jsonl", as_jsonl(rows), limits=Limits(3, 1000))
    assert (len(found.documents), found.is_cut) == (3, True)
    found = texts_of("a.jsonl", as_jsonl(rows), limits=Limits(5, 49))
    assert (len(found.documents), found.is_cut) == (4, True)
    assert not texts_of("a.jsonl", as_jsonl(rows), limits=Limits(5, 50)).is_cut


def test_several_files_are_one_corpus_also_where_two_are_called_alike():
    with laid_out([("a/x.txt", b"first"), ("b/x.txt", b"second")]) as place:
        found = read(place, look(place).guess, limits=MANY)
    assert sorted(each.text for each in found.documents) == ["first", "second"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd.csv",
        "..\\..\\x.csv",
        "/abs.csv",
        "<script>.csv",
        "a\x00b.csv",
        "-rf.csv",
        "数据 ö.csv",
        ".csv",
    ],
)
def test_a_hostile_name_stays_within_the_folder(name):
    with laid_out([(name, as_csv())]) as place:
        files = list(place.iterdir())
        assert len(files) == 1
        assert files[0].parent == place
        assert set(files[0].name) <= set(safe_name(name))
        assert read(place, look(place).guess, limits=MANY).documents[0].source == files[0].name
    assert not place.exists()


def test_no_folder_of_this_machine_is_named_to_a_visitor():
    for name, content in {"a.csv": b"\x00", "b.parquet": b"PAR1", "c.jsonl": b"{"}.items():
        with pytest.raises(CorpusError) as refused, laid_out([(name, content)]) as place:
            look(place)
        assert "gatescope-upload" not in str(refused.value)


@pytest.mark.parametrize(("name", "content"), [("a.exe", b"MZ"), ("a", b"x"), ("a.pkl", b"x")])
def test_a_format_nobody_knows_is_refused(name, content):
    with pytest.raises(CorpusError, match="no known format"), laid_out([(name, content)]):
        pass


def test_a_torn_archive_is_refused():
    with pytest.raises(CorpusError, match="cannot be unpacked"), laid_out([("a.csv.gz", gzip.compress(b"text")[:-6])]):
        pass
    with pytest.raises(CorpusError, match="cannot be unpacked"), laid_out([("a.csv.zst", b"no archive at all")]):
        pass


def test_what_unpacks_to_too_much_is_refused_before_it_fills_the_disk(monkeypatch):
    monkeypatch.setattr(upload, "MOST_UNPACKED", 3 * upload._CHUNK)
    bomb = gzip.compress(bytes(40 * upload._CHUNK))
    assert len(bomb) < 50_000
    with pytest.raises(CorpusError, match="once unpacked"), laid_out([("a.txt.gz", bomb)]):
        pass


def test_a_parquet_file_that_says_it_unpacks_to_too_much_is_refused(monkeypatch):
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["x" * 100_000 + str(n) for n in range(50)]}), file, use_dictionary=False)
    assert len(file.getvalue()) < 1_000_000  # it is compressed, but says what it holds: 5 MB
    monkeypatch.setattr(upload, "MOST_UNPACKED", 2_000_000)
    with pytest.raises(CorpusError, match="once unpacked"), laid_out([("a.parquet", file.getvalue())]):
        pass


def test_no_file_and_too_many_files_are_refused():
    for files in ([], [("a.txt", b"x")] * 201):
        with pytest.raises(CorpusError, match=f"{len(files)} files"), laid_out(files):
            pass
