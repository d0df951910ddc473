"""Input that is broken: refused with its place and a remedy, or counted and left out, and never read wrong."""

import gzip
import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatescope.corpora import Columns, open_corpus, read_jsonl
from gatescope.corpora.report import BEYOND, MAX_LABELS, SHOWN
from gatescope.routing.errors import CorpusError

GOOD = b'{"text": "good"}\n'
PARQUET_HEAD = b"PAR1"


@dataclass(frozen=True)
class Bad:
    """A file whose rows are one good, one bad and, where it can be read on, one good."""

    name: str
    content: bytes
    line: int
    reason: str
    found: str
    kept: int = 2


ROWS = {
    "not json": Bad("a.jsonl", GOOD + b"nonsense\n" + GOOD, 2, "not JSON", "not JSON from column 1"),
    "an array over lines": Bad("a.jsonl", GOOD + b"[\n" + GOOD, 2, "not JSON", "'['"),
    "an empty line": Bad("a.jsonl", GOOD + b"\n" + GOOD, 2, "empty line", "an empty line"),
    "latin-1": Bad("a.jsonl", GOOD + b'{"text": "caf\xe9"}\n' + GOOD, 2, "encoding", "byte 0xe9 at byte 14"),
    "no text": Bad("a.jsonl", GOOD + b'{"id": "b"}\n' + GOOD, 2, "no text", "text is null"),
    "null": Bad("a.jsonl", GOOD + b'{"text": null}\n' + GOOD, 2, "no text", "text is null"),
    "NaN": Bad("a.jsonl", GOOD + b'{"text": NaN}\n' + GOOD, 2, "no text", "text is the value 'nan'"),
    "a number": Bad("a.jsonl", GOOD + b'{"text": 7}\n' + GOOD, 2, "text not a string", "the value '7'"),
    "blank": Bad("a.jsonl", GOOD + b'{"text": "\\u3000 "}\n' + GOOD, 2, "blank text", "a blank text"),
    "surrogate": Bad("a.jsonl", GOOD + b'{"text": "\\ud800"}\n' + GOOD, 2, "half a character", "half a surrogate"),
    "field twice": Bad("a.jsonl", GOOD + b'{"text": "a", "text": "b"}\n' + GOOD, 2, "field twice", "'text' twice"),
    "label a list": Bad("a.jsonl", GOOD + b'{"text": "a", "domain": []}\n' + GOOD, 2, "domain not a word", "a list"),
    "label a text": Bad("a.csv", b"text,domain\na,b\na," + b"x" * 201 + b"\na,b\n", 3, "domain too long", "201"),
    "short row": Bad("a.csv", b"text,domain\na,b\nc\nd,e\n", 3, "ragged row", "a row of 1", 2),
    "long row": Bad("a.csv", b"text,domain\na,b\nc,d,e\nd,e\n", 3, "ragged row", "a row of 3", 2),
    "blank row": Bad("a.csv", b"text,domain\na,b\n\nd,e\n", 3, "empty line", "an empty line"),
    "bad quotes": Bad("a.csv", b'text,domain\na,b\n"c"d,e\nd,e\n', 3, "not CSV", "not CSV", 2),
    "csv in latin-1": Bad("a.csv", b"text,domain\na,b\ncaf\xe9,e\nd,e\n", 3, "encoding", "byte 0xe9 at byte 4"),
    "open quote": Bad("a.csv", b'text,domain\na,b\n"c,d\ne,f\n', 3, "not CSV", "unexpected end of data", 1),
    "blank cell": Bad("a.csv", b"text,domain\na,b\n ,c\nd,e\n", 3, "blank text", "a blank text"),
}

FILES = {
    "empty": ("a.jsonl", b"", "an empty file"),
    "a mark alone": ("a.csv", b"\xef\xbb\xbf", "an empty file"),
    "a utf-16 mark alone": ("a.csv", b"\xff\xfe", "an empty file"),
    "empty gzip": ("a.csv.gz", gzip.compress(b""), "an empty file"),
    "header alone": ("a.csv", b"text,domain\n", "an empty file"),
    "header twice": ("a.csv", b"text,text\na,b\n", "the column 'text' twice"),
    "old line ends": ("a.csv", b"text,domain\ra,b\r", "not CSV"),
    "utf-16 without a mark": ("a.jsonl", GOOD.decode().encode("utf-16-le"), "a zero byte at byte 2"),
    "utf-32": ("a.txt", "text".encode("utf-32"), "a zero byte"),
    "utf-16 cut short": ("a.txt", "text".encode("utf-16") + b"x", "not UTF-16 from byte 11"),
    "latin-1 text": ("a.txt", b"caf\xe9", "byte 0xe9 at byte 4 of the file"),
    "picture": ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a zero byte at byte 9"),
    "torn gzip": ("a.jsonl.gz", gzip.compress(GOOD * 99)[:-9], "cannot be unpacked"),
    "no gzip": ("a.jsonl.gz", GOOD, "cannot be unpacked"),
    "torn zstd": ("a.txt.zst", pa.compress(GOOD * 9, codec="zstd", asbytes=True)[:-4], "cannot be unpacked"),
    "no zstd": ("a.txt.zst", GOOD, "cannot be unpacked"),
    "no parquet": ("a.parquet", GOOD, "damaged, or no Parquet"),
    "empty parquet": ("a.parquet", b"", "damaged, or no Parquet"),
    "packed parquet": ("a.parquet.gz", gzip.compress(PARQUET_HEAD), "damaged, or no Parquet"),
    "no object": ("a.jsonl", b"1\n2\n", "the value '1'"),
}


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("bad", ROWS.values(), ids=ROWS)
def test_a_bad_row_is_refused_with_its_place(tmp_path, bad):
    path = write(tmp_path, bad.name, bad.content)
    with pytest.raises(CorpusError) as caught:
        list(open_corpus(path))
    assert caught.value.found.startswith(f"{path}, line {bad.line}: ")
    assert bad.found in caught.value.found
    assert "--bad skip" in caught.value.do
    assert pickle.loads(pickle.dumps(caught.value)).found == caught.value.found


@pytest.mark.parametrize("bad", ROWS.values(), ids=ROWS)
def test_a_bad_row_is_counted_and_left_out_when_asked(tmp_path, bad):
    path = write(tmp_path, bad.name, bad.content)
    corpus = open_corpus(path, bad="skip")
    assert len(list(corpus)) == bad.kept
    assert corpus.report.bad == {bad.reason: 1}
    (problem,) = corpus.report.problems
    assert problem.place == f"{path}, line {bad.line}" and bad.found in problem.found


@pytest.mark.parametrize(("name", "content", "found"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("policy", ["refuse", "skip"])
def test_a_file_that_cannot_be_read_is_refused_either_way(tmp_path, name, content, found, policy):
    path = write(tmp_path, name, content)
    with pytest.raises(CorpusError) as caught:
        list(open_corpus(path, bad=policy))
    assert found in caught.value.found


def test_one_damaged_file_of_a_folder_is_counted_and_the_others_read(tmp_path):
    write(tmp_path, "a.parquet", b"PAR1 nonsense")
    write(tmp_path, "b.jsonl", GOOD)
    write(tmp_path, "c.txt", b"caf\xe9")
    corpus = open_corpus(tmp_path, bad="skip")
    assert [one.text for one in corpus] == ["good"]
    assert corpus.report.bad == {"damaged file": 1, "encoding": 1}
    with pytest.raises(CorpusError, match=r"a\.parquet: damaged"):
        list(open_corpus(tmp_path))


@pytest.mark.parametrize("damage", [b"\0" * 20_000, b"!"], ids=["a stretch", "one byte of a text"])
def test_a_parquet_file_damaged_in_the_middle_is_refused_not_read_wrong(tmp_path, damage):
    path = tmp_path / "a.parquet"
    texts = [f"{n} {os.urandom(40).hex()}" for n in range(5000)]
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, **options)
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + len(damage)] = damage
    path.write_bytes(whole)
    corpus, read = open_corpus(path), []
    with pytest.raises(CorpusError, match="damaged"):
        read.extend(one.text for one in corpus)
    assert read == texts[: len(read)]


@pytest.mark.parametrize(("row", "reason"), [(None, "no text"), (b"x", "text not a string"), ("", "blank text")])
def test_bad_values_of_parquet_are_placed_by_row(tmp_path, row, reason):
    path = tmp_path / "a.parquet"
    good = b"good" if isinstance(row, bytes) else "good"
    pq.write_table(pa.table({"text": pa.array([good, row])}), path)
    corpus = open_corpus(path, bad="skip")
    if isinstance(row, bytes):
        with pytest.raises(CorpusError, match="text is bytes"):
            list(corpus)
    else:
        assert len(list(corpus)) == 1
        assert corpus.report.problems[0].place == f"{path}, row 2"
    assert reason in corpus.report.bad


def test_an_id_used_twice_is_named_with_its_first_place_across_files(tmp_path):
    for name in "ab":
        write(tmp_path, f"{name}.jsonl", b'{"text": "t", "id": "x"}\n')
    with pytest.raises(CorpusError, match=r"b\.jsonl, line 1: id 'x', already in .*a\.jsonl, line 1"):
        list(open_corpus(tmp_path))
    corpus = open_corpus(tmp_path, bad="skip")
    assert len(list(corpus)) == 1
    assert corpus.report.bad == {"id twice": 1}


@pytest.mark.slow
def test_a_line_of_fifty_megabytes_is_read_and_a_longer_one_than_64_mib_refused_where_it_stands(tmp_path):
    long, longer = b"x" * 50_000_000, b"y" * (64 * 2**20 + 1)
    path = write(tmp_path, "a.jsonl", b'{"text": "' + long + b'"}\n{"text": "' + longer + b'"}\n' + GOOD)
    corpus = open_corpus(path, bad="skip")
    assert [len(one.text) for one in corpus] == [50_000_000, 4]
    assert corpus.report.problems[0].found == f"{path}, line 2: a line longer than 64 MiB"
    path = write(tmp_path, "a.csv", b"text,n\n" + long + b",1\n" + longer + b",2\na,3\n")
    corpus = open_corpus(path, bad="skip")
    assert [len(one.text) for one in corpus] == [50_000_000, 1]
    assert corpus.report.bad == {"too long": 1}
    with pytest.raises(CorpusError, match="a text longer than 64 MiB"):
        list(open_corpus(write(tmp_path, "a.txt", longer)))


def test_more_labels_than_a_label_has_are_counted_together(tmp_path):
    rows = MAX_LABELS + 500
    path = write(tmp_path, "a.csv", "".join(["text,domain\n", *(f"a,title {n}\n" for n in range(rows))]).encode())
    corpus = open_corpus(path)
    assert sum(1 for _ in corpus) == rows
    assert len(corpus.report.domains) == MAX_LABELS + 1
    assert corpus.report.domains[BEYOND] == 500


def test_of_many_bad_rows_the_first_are_kept_and_all_counted(tmp_path):
    corpus = open_corpus(write(tmp_path, "a.jsonl", GOOD + b"{}\n" * 500), bad="skip")
    assert len(list(corpus)) == 1
    assert corpus.report.bad == {"no text": 500}
    assert [one.place.rpartition(" ")[2] for one in corpus.report.problems] == [str(2 + n) for n in range(SHOWN)]


def test_a_label_first_said_late_in_the_file_is_looked_for_in_the_first_lines_only(tmp_path):
    late = b'{"text": "x", "subject": "law"}\n'
    with pytest.raises(CorpusError, match="no column 'subject', only text"):
        list(open_corpus(write(tmp_path, "a.jsonl", GOOD * 100 + late), columns=Columns(domain="subject")))
    path = write(tmp_path, "a.jsonl", GOOD * 99 + late)
    assert [one.domain for one in open_corpus(path, columns=Columns(domain="subject"))][-1] == "law"


def test_a_folder_without_a_file_to_read_says_what_it_holds(tmp_path):
    write(tmp_path, "picture.png", b"")
    with pytest.raises(CorpusError, match=r"without a file to read \(picture\.png"):
        list(open_corpus(tmp_path))


def test_a_path_that_is_not_there_is_refused_before_the_first_pass(tmp_path):
    with pytest.raises(CorpusError, match="No such file"):
        open_corpus(tmp_path / "none.csv")


def test_a_json_file_says_how_to_make_it_lines(tmp_path):
    with pytest.raises(CorpusError, match=r"jq -c"):
        open_corpus(write(tmp_path, "a.json", json.dumps([{"text": "a"}]).encode()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; run the tests as another user")
def test_a_file_without_permission_is_refused(tmp_path):
    path = write(tmp_path, "a.jsonl", GOOD)
    path.chmod(0)
    with pytest.raises(CorpusError, match="Permission denied"):
        list(open_corpus(path))


def test_a_link_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a.jsonl").symlink_to("a.jsonl")
    with pytest.raises(CorpusError, match="symbolic links"):
        open_corpus(tmp_path / "a.jsonl")


def test_the_strict_reader_and_the_open_one_agree_on_a_file_in_the_strict_form(tmp_path):
    lines = [{"text": " a\n", "domain": "law", "language": "en", "source": "s", "id": "1"}, {"text": "b"}]
    path = write(tmp_path, "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert read_jsonl(path) == list(open_corpus(path))
