"""Corpora that would never end, or would lose rows unsaid: told in a sentence, in bounded time and memory."""

import os
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatescope.corpora import open_corpus
from gatescope.corpora.reader import read_jsonl
from gatescope.routing.errors import CorpusError
from tests.parquet_forgery import forge_rows

ROWS = 12_345


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.csv", "texts.txt", "texts.jsonl.gz", "texts.parquet"])
def test_a_pipe_is_no_file(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CorpusError, match="it is a pipe"):
        list(open_corpus(tmp_path / name))
    if name == "texts.jsonl":
        with pytest.raises(CorpusError, match="it is a pipe"):
            read_jsonl(tmp_path / name)


def test_a_device_is_no_file():
    with pytest.raises(CorpusError, match="it is a device"):
        list(open_corpus("/dev/zero", format="text"))


@pytest.mark.parametrize("beginning", ['text,domain\n"open', '"text,domain\n'], ids=["row", "header"])
def test_a_quotation_mark_that_nobody_closes_is_told_before_sixty_megabytes_are_read(tmp_path, beginning):
    path = tmp_path / "open.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(beginning)
        for _ in range(60):
            file.write("x\n" * 500_000)
    started = time.process_time()
    with pytest.raises(CorpusError, match="a row of more than 100,000 lines") as caught:
        list(open_corpus(path))
    assert time.process_time() - started < 5 and "never closed" in caught.value.do


def test_a_row_of_many_lines_is_a_row_and_what_follows_an_open_mark_is_counted(tmp_path):
    (tmp_path / "long.csv").write_text('text\n"' + "x\n" * 90_000 + '"\n', encoding="utf-8")
    assert [document.text for document in open_corpus(tmp_path / "long.csv")] == ["x\n" * 90_000]
    (tmp_path / "open.csv").write_text('text\ngood\n"' + "x\n" * 100_001 + "good\n", encoding="utf-8")
    corpus = open_corpus(tmp_path / "open.csv", bad="skip")
    assert sum(document.text == "good" for document in corpus) == 2 and corpus.report.bad["too long"] == 1


FORGED = [(said, where) for said in (100, ROWS - 1, 20_000, 10**9, 2**40) for where in ("first", "last")]
FORGED += [(said, "all") for said in (20_000, 10**9, 2**40)]


@pytest.mark.parametrize(("said", "where"), FORGED)
def test_a_parquet_file_that_says_another_number_of_rows_is_refused(tmp_path, said, where):
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(ROWS)]}), path, store_schema=False)
    assert sum(1 for _ in open_corpus(path)) == ROWS
    forge_rows(path, ROWS, said, where=where)
    with pytest.raises(CorpusError, match="rows"):
        list(open_corpus(path))


def test_a_folder_passes_over_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.txt").write_text("text", encoding="utf-8")
    assert [document.text for document in open_corpus(tmp_path)] == ["text"]
