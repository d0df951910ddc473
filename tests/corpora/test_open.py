"""A file or folder of one's own becomes documents: every format, option and encoding that docs/corpora.md promises."""

import csv
import gzip
import itertools
import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.corpora import FOLDER, Columns, Constant, open_corpus
from gatescope.corpora.formats.delimited import delimited
from gatescope.routing import Document
from gatescope.routing.errors import CorpusError, OptionError

ROWS = [{"text": "one", "domain": "law"}, {"text": 'a "b",\nc', "domain": ""}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = 'text,domain\none,law\n"a ""b"",\nc",\n'


def as_jsonl(path: Path) -> None:
    path.write_text(JSONL)


def as_csv(path: Path) -> None:
    path.write_text(CSV)


def as_tsv(path: Path) -> None:
    path.write_text(CSV.replace("one,", "one\t").replace("text,", "text\t").replace('c",', 'c"\t'))


def as_semicolons(path: Path) -> None:
    path.write_text(CSV.replace("one,", "one;").replace("text,", "text;").replace('c",', 'c";'))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def as_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(JSONL.encode()))


def as_zstd(path: Path) -> None:
    path.write_bytes(pa.compress(CSV.encode(), codec="zstd", asbytes=True))


def as_utf16(path: Path) -> None:
    path.write_bytes(CSV.encode("utf-16"))


def as_big_endian(path: Path) -> None:
    path.write_bytes(b"\xfe\xff" + JSONL.encode("utf-16-be"))


def as_marked(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + CSV.encode())


FORMS = {
    "a.jsonl": as_jsonl,
    "a.ndjson": as_jsonl,
    "A.CSV": as_csv,
    "a.tsv": as_tsv,
    "semicolons.csv": as_semicolons,
    "a.parquet": as_parquet,
    "a.jsonl.gz": as_gzip,
    "a.csv.zst": as_zstd,
    "utf16.csv": as_utf16,
    "big_endian.jsonl": as_big_endian,
    "marked.csv": as_marked,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """law/a.csv, law/old/b.jsonl, zoo/c.txt, d.txt, and three files that are not read."""
    for name in ("law/old", "zoo", ".git"):
        (tmp_path / name).mkdir(parents=True)
    as_csv(tmp_path / "law" / "a.csv")
    as_jsonl(tmp_path / "law" / "old" / "b.jsonl")
    (tmp_path / "zoo" / "c.txt").write_text("lions\n")
    (tmp_path / "d.txt").write_text("none")
    (tmp_path / "picture.png").touch()
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / ".git" / "e.txt").write_text("no")
    return tmp_path


def texts(*arguments, **options) -> list[str]:
    return [document.text for document in open_corpus(*arguments, **options)]


@pytest.mark.parametrize(("name", "write"), FORMS.items(), ids=FORMS)
def test_every_form_of_the_same_rows_reads_alike(tmp_path, name, write):
    write(tmp_path / name)
    first, second = open_corpus(tmp_path / name)
    assert first == Document("one", id=f"{name}:{1 if '.csv' not in name.lower() and 'tsv' not in name else 2}",
                             source=name, domain="law")  # fmt: skip
    assert (second.text, second.domain) == ('a "b",\nc', "")


def test_a_record_over_two_lines_is_placed_on_its_first(tmp_path):
    as_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open("a") as file:
        file.write("three,zoo\n")
    assert [one.id for one in open_corpus(tmp_path / "a.csv")] == ["a.csv:2", "a.csv:3", "a.csv:5"]


def test_the_corpus_is_read_anew_on_every_pass_and_lazily(tmp_path):
    as_jsonl(tmp_path / "a.jsonl")
    corpus = open_corpus(str(tmp_path / "a.jsonl"))
    assert next(iter(corpus)).text == "one"
    assert corpus.report.read == 1
    assert len(list(corpus)) == corpus.report.read == corpus.report.kept == 2


def test_nested_columns_constants_and_ids(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"doc": {"body": "x"}, "meta": {"url": "u", "n": 7}}\n{"doc": {"body": "y"}, "meta": 3}\n')
    columns = Columns(text="doc.body", domain=Constant("law"), id="meta.n", source="meta.url")
    first, second = open_corpus(path, columns=columns)
    assert first == Document("x", id="7", source="u", domain="law")
    assert second == Document("y", id="a.jsonl:2", source="a.jsonl", domain="law")


def test_nested_parquet_columns_are_reached_and_others_left_on_disk(tmp_path, monkeypatch):
    row = {"a.b": "dotted", "meta": {"d": "law", "e": "x"}, "big": "y"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    asked, read = [], pq.ParquetFile.iter_batches
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *a, **k: asked.append(k["columns"]) or read(*a, **k))
    corpus = open_corpus(tmp_path / "a.parquet", columns=Columns(text="a.b", domain="meta.d"))
    assert [(one.text, one.domain) for one in corpus] == [("dotted", "law")]
    assert asked == [["a.b", "meta.d"]]


def test_labels_are_written_as_people_write_them(tmp_path):
    said = [' "law "', "3", "3.0", "2.5", "true", "null", "NaN", '""']
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "x", "label": {label}}}\n' for label in said))
    assert [one.domain for one in open_corpus(path)] == ["law", "3", "3", "2.5", "true", "", "", ""]


def test_a_text_is_kept_exactly(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "  a\t\u2028\r\n "}) + "\n")
    assert texts(path) == ["  a\t\u2028\r\n "]


@pytest.mark.parametrize(
    ("cut", "pieces"),
    [
        ("file", [(1, "one two\r\nthree\n\n \nfour  five\n")]),
        ("paragraphs", [(1, "one two\r\nthree"), (5, "four  five")]),
        (2, [(1, "one two"), (2, "three\n\n \nfour"), (5, "five")]),
        (3, [(1, "one two\r\nthree"), (5, "four  five")]),
        (9, [(1, "one two\r\nthree\n\n \nfour  five")]),
    ],
)
def test_plain_text_is_one_document_or_cut(tmp_path, cut, pieces):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one two\r\nthree\n\n \nfour  five\n")
    assert [(one.id, one.text) for one in open_corpus(path, cut=cut)] == [
        (f"a.txt:{line}", text) for line, text in pieces
    ]


@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=9), max_size=9), st.integers(1, 4))
def test_cutting_by_words_loses_none(tmp_path_factory, parts, count):
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_text("".join(parts) + "\nend")
    words = path.read_text().split()
    cut = [text.split() for text in texts(path, cut=count)]
    assert list(itertools.chain(*cut)) == words
    assert [len(piece) for piece in cut[:-1]] == [count] * (len(cut) - 1)


def test_a_folder_is_read_in_order_and_names_its_files(folder):
    corpus = open_corpus(folder, columns=Columns(domain=FOLDER))
    assert [(one.id, one.source, one.domain) for one in corpus] == [
        ("d.txt:1", "d.txt", ""),
        ("law/a.csv:2", "law/a.csv", "law"),
        ("law/a.csv:3", "law/a.csv", "law"),
        ("law/old/b.jsonl:1", "law/old/b.jsonl", "law"),
        ("law/old/b.jsonl:2", "law/old/b.jsonl", "law"),
        ("zoo/c.txt:1", "zoo/c.txt", "zoo"),
    ]
    assert corpus.report.files == {"text": 2, "csv": 1, "jsonl": 1}
    assert corpus.report.passed_over == ["picture.png"]
    assert corpus.report.domains == {"": 1, "law": 4, "zoo": 1}


def test_of_a_folder_only_the_files_that_fit_a_pattern(folder):
    assert texts(folder, only="*.txt") == ["none", "lions\n"]
    assert texts(folder / "zoo", columns=Columns(domain=FOLDER)) == ["lions\n"]


def test_a_format_may_be_said_where_the_name_does_not(tmp_path):
    as_csv(tmp_path / "data")
    with pytest.raises(CorpusError, match=r"no known format[\s\S]*\.csv \.tsv"):
        open_corpus(tmp_path / "data")
    assert texts(tmp_path / "data", format="csv") == ["one", 'a "b",\nc']


def test_the_report_says_what_was_found(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("content,label,lang\nabc,law,en\nabcde,law,\n,law,en\n")
    corpus = open_corpus(path, bad="skip")
    list(corpus)
    report = corpus.report
    assert (report.read, report.kept, report.bad) == (3, 2, {"blank text": 1})
    assert (report.domains, report.languages) == ({"law": 2}, {"en": 1, "": 1})
    assert (report.characters.shortest, report.characters.longest, report.characters.total) == (3, 5, 8)
    assert [str(layout) for layout in report.layouts] == ["text = content, domain = label, language = lang"]
    assert [(one.place, one.reason) for one in report.problems] == [(f"{path}, line 4", "blank text")]


@pytest.mark.parametrize(
    "options",
    [{"bad": "ignore"}, {"cut": "words"}, {"cut": 0}, {"split": "train"}, {"revision": "main"}, {"config": "x"}],
    ids=str,
)
def test_options_that_are_none_are_refused(tmp_path, options):
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(OptionError):
        list(open_corpus(tmp_path / "a.txt", **options))


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"a format 'xml'[\s\S]*jsonl"):
        open_corpus(tmp_path, format="xml")


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.text("ab;\"',\t")), min_size=1
    )
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, cells):

    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "domain"), *cells])
    rows = [fields for _, fields in delimited(path, "file").rows(())]
    assert [(row["text"], row["domain"]) for row in rows] == cells


def test_memory_stays_flat_over_many_rows(tmp_path):
    """Ten times as many rows: the peak of what Python holds grows by less than a tenth of the data."""
    text = "".join(random.Random(0).choices("abcdefghij", k=300))
    peaks = {}
    for rows in (2_000, 20_000):
        path = tmp_path / f"{rows}.jsonl"
        path.write_text("".join(json.dumps({"text": text, "domain": f"d{n % 5}"}) + "\n" for n in range(rows)))
        tracemalloc.start()
        assert sum(1 for _ in open_corpus(path)) == rows
        peaks[rows] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[20_000] - peaks[2_000] < 18_000 * 300 / 10
