"""Texts of every kind through `gatescope capture`: each is captured whole, in parts, or left out by name."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatescope.cache.study import StudyFolder
from gatescope.corpora import open_corpus
from gatescope.hooks import CaptureOptions, attach, load_model
from gatescope.routing.record import Document, Flag
from gatescope.studies import blocks
from gatescope.studies.blocks import Seen, cut, halves
from gatescope.studies.capturing import capture_block, capture_study, pieces_of
from gatescope.studies.plan import Plan, longest_text
from tests.studies.captures import GOOD, accounted, command, contents, line

PLAN = Plan(options=CaptureOptions(), batch_tokens=128)


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of 4 documents, so that a small corpus has several."""
    monkeypatch.setattr(blocks, "MOST_DOCUMENTS", 4)


LONG = "The harbour kettle sings at dawn while quartz pebbles shine.\n" * 60


def test_a_text_that_is_too_long_is_captured_in_parts_and_every_token_of_it_once(tiny_model, model, tmp_path):
    corpus, study = tmp_path / "texts.jsonl", tmp_path / "study"
    rows = [{"text": GOOD, "id": "short"}, {"text": LONG, "id": "tome"}, {"text": "é" * 900, "id": "no spaces"}]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = command(corpus, tiny_model, study)
    assert ran.exit_code == 0, ran.output
    read, texts, left_out = accounted(study)
    assert (read, left_out) == (3, [])
    assert texts[0] == GOOD and "".join(texts[1:]) == LONG + "é" * 900
    record = StudyFolder.open(study).routes(StudyFolder.open(study).finished()[0])
    ids = [document.id for document in record.documents]
    parts = sum(id.startswith("tome") for id in ids)
    assert parts > 2 and ids[1 : parts + 1] == [f"tome (part {n} of {parts})" for n in range(1, parts + 1)]
    assert f"cut texts.jsonl: tome: captured in {parts} parts" in ran.output and "no spaces: captured in" in ran.output
    assert f"3 documents: 3 captured, as {len(ids)} texts; 0 left out" in ran.output
    assert np.bincount(record.document_t).max() <= 512
    said_t = record.token_t[record.flag_t & Flag.SPECIAL == 0]  # what the model read, without the mark before each part
    assert model.tokenizer.decode(said_t) == GOOD + LONG + "é" * 900
    assert all(document.text[0].isspace() for document in record.documents[2 : parts + 1])  # cut at white space


@pytest.mark.parametrize("spaces", ["", " ", "\n", "\u3000"])
def test_halves_lose_nothing_and_are_cut_at_white_space_where_there_is_any(spaces):
    text = spaces.join(["word"] * 301)
    parts = halves(text, lambda part: len(part) <= 100)
    assert "".join(parts) == text and max(map(len, parts)) <= 100 and min(map(len, parts)) >= 25
    assert not spaces or all(part[0] == spaces for part in parts[1:])
    assert halves("ab", lambda _part: False) == ["a", "b"] and halves("", lambda _part: False) == [""]


def test_parts_of_nothing_but_white_space_are_left_out_and_counted(model):
    document = Document("begin" + " \n" * 3000 + "end", id="gap", source="made")
    (texts,) = cut([document], Seen())
    record, left = capture_block(model, texts, PLAN)
    said = [each.text.strip() for each in record.documents]
    ((name, how),) = left.was_cut
    assert name == "made: gap" and left.left_out == () and "".join(said) == "beginend" and all(said)
    blank = int(re.fullmatch(rf"captured in {len(said)} parts, (\d+) more were blank and are left out", how)[1])
    assert record.documents[-1].id == f"gap (part {len(said) + blank} of {len(said) + blank})"


def test_too_long_a_text_is_left_out_and_named_when_asked(tiny_model, tmp_path):
    corpus, study = tmp_path / "texts.jsonl", tmp_path / "study"
    corpus.write_text(line(0) + line(1, LONG) + line(2))
    ran = command(corpus, tiny_model, study, "--long", "skip")
    assert ran.exit_code == 0 and re.search(
        r"left out texts\.jsonl: id-1: .* is too long; needs at most 512", ran.output
    )
    assert "3 documents: 2 captured, as 2 texts; 1 left out" in ran.output
    assert accounted(study) == (3, [f"{GOOD} 0", f"{GOOD} 2"], ["texts.jsonl: id-1"])
    again = command(corpus, tiny_model, study, "--long", "skip")
    assert "left out texts.jsonl: id-1" in again.output  # said by every run, not only by the one that met it


def test_too_long_a_text_ends_the_run_when_asked_and_what_came_before_is_kept(tiny_model, tmp_path):
    corpus, study = tmp_path / "texts.jsonl", tmp_path / "study"
    corpus.write_text("".join(line(number) for number in range(9)) + line(9, LONG))
    ran = command(corpus, tiny_model, study, "--long", "stop")
    assert ran.exit_code == 1 and "texts.jsonl: id-9" in ran.output and "--long split" in ran.output, ran.output
    assert list(StudyFolder.open(study).finished()) == [0, 1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc: runs on Linux only")
def test_fifty_megabytes_in_one_line_are_left_out_or_cut_in_bounded_memory(model, tiny_model, tmp_path):
    """Counting the tokens of all of it takes 11 GB; three copies of the text itself are 150 MB."""
    corpus = tmp_path / "texts.jsonl"
    text = ("sing, harbour kettle; " * 2_300_000)[:50_000_000]
    corpus.write_text(line(0) + json.dumps({"text": text, "id": "fifty"}) + "\n" + line(2))
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    ran = command(corpus, tiny_model, tmp_path / "study", "--long", "skip")
    assert ran.exit_code == 0, ran.output
    assert re.search(r"left out texts\.jsonl: fifty: .* of 50,000,000 characters is too long", ran.output)
    assert accounted(tmp_path / "study")[1:] == ([f"{GOOD} 0", f"{GOOD} 2"], ["texts.jsonl: fifty"])
    longest = longest_text(model, "split")
    portions = [each for each in cut(open_corpus(corpus), Seen(), longest) if each.portion]
    assert "".join(each.documents[0].text for each in portions) == text and longest == blocks.MOST_CHARACTERS
    assert max(len(each.documents[0].text) for each in portions) <= longest
    assert [each.read for each in portions] == [1] + [0] * (len(portions) - 1)
    pieces = pieces_of(model, portions[7].documents[0], PLAN).documents
    assert "".join(each.text for each in pieces) == portions[7].documents[0].text
    assert memory("VmHWM") - before < 700


def memory(name: str) -> float:
    """Megabytes this process holds, or has held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def test_a_text_of_many_blocks_is_captured_whole_and_gone_on_with_in_its_middle(model, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_CHARACTERS", 1000)
    plan = replace(PLAN, longest=1000)
    documents = [Document(GOOD, id="a"), Document(LONG, id="tome"), Document(GOOD, id="b"), Document(GOOD, id="c")]
    study = StudyFolder.create(tmp_path / "study", plan.recipe(model, "made"))
    capture_study(model, iter(documents), study, plan)
    read, texts, left_out = accounted(tmp_path / "study")
    assert (read, left_out) == (4, []) and "".join(texts) == GOOD + LONG + GOOD + GOOD
    whole = contents(tmp_path / "study")
    for name in ("00000002.json", "00000003.json"):
        (tmp_path / "study" / "blocks" / name).unlink()
    done = capture_study(model, iter(documents), study, plan)
    assert done.blocks - done.there == 2 and contents(tmp_path / "study") == whole
    portion = StudyFolder.open(tmp_path / "study").routes(study.finished()[2]).documents[0]
    assert re.fullmatch(r"tome \(portion 2 of \d+\)( \(part 1 of \d+\))?", portion.id)


BAD_ROWS = {
    "invalid UTF-8": (b'{"text": "caf\xe9", "id": "x"}\n', "line 2: byte 0xe9 at byte 14 of the line"),
    "no text": (b'{"text": 7}\n', "line 2: text is the value '7'"),
    "blank": (b'{"text": " \\n"}\n', "line 2: a blank text"),
    "half a surrogate": (b'{"text": "\\ud800"}\n', "line 2: half a surrogate pair in text"),
    "not JSON": (b"{\n", "line 2: not JSON"),
    "an id twice": (b'{"text": "other", "id": "id-0"}\n', "line 2: id 'id-0', already on line 1"),
}


@pytest.mark.parametrize(("row", "said"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_ends_the_run_before_it_begins_or_is_named_and_left_out(tiny_model, tmp_path, row, said):
    corpus, study = tmp_path / "texts.jsonl", tmp_path / "study"
    corpus.write_bytes(line(0).encode() + row + line(2).encode())
    ran = command(corpus, tiny_model, study)
    assert ran.exit_code == 1 and said in ran.output and "--bad skip" in ran.output and not study.exists(), ran.output
    ran = command(corpus, tiny_model, study, "--bad", "skip")
    assert ran.exit_code == 0 and f"not read {corpus}, {said}" in ran.output, ran.output
    assert accounted(study) == (2, [f"{GOOD} 0", f"{GOOD} 2"], [])


def test_of_many_bad_rows_the_first_are_named_and_the_others_counted(tiny_model, tmp_path):
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text(line(0) + '{"text": ""}\n' * 25)
    ran = command(corpus, tiny_model, tmp_path / "study", "--bad", "skip")
    assert ran.exit_code == 0 and ran.output.count("not read") == 21 and "… and 5 more" in ran.output, ran.output


def test_files_that_are_no_corpus_are_named_and_a_name_that_is_no_text_is_shown(tiny_model, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text(LONG)
    ran = command(folder, tiny_model, tmp_path / "study")
    assert ran.exit_code == 0, ran.output
    assert "not read picture.png: no known format" in ran.output
    assert re.search(r"cut caf\\udce9\.txt: caf\\udce9\.txt:1: captured in \d+ parts", ran.output), ran.output


@pytest.mark.parametrize("content", ["", '{"text": " "}\n'])
@pytest.mark.parametrize("bad", ["stop", "skip"])
def test_a_corpus_without_a_document_is_refused(tiny_model, tmp_path, content, bad):
    (tmp_path / "texts.jsonl").write_text(content)
    ran = command(tmp_path / "texts.jsonl", tiny_model, tmp_path / "study", "--bad", bad)
    assert ran.exit_code == 1 and not (tmp_path / "study").exists(), ran.output


@pytest.mark.parametrize("text", ["a", "Ω≈ç√∫˜µ 🜁 \U0010ffff", "ﷺ" * 30, "a\u0000b\u200d\ufeff", "👩‍👩‍👧‍👦"])
def test_a_corpus_of_one_short_or_strange_text_is_a_study(tiny_model, tmp_path, text):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": text}))
    ran = command(tmp_path / "texts.jsonl", tiny_model, tmp_path / "study")
    assert ran.exit_code == 0 and "1 documents: 1 captured, as 1 texts; 0 left out" in ran.output, ran.output
    assert accounted(tmp_path / "study") == (1, [text], [])


def test_texts_that_say_the_same_are_captured_each_and_counted(tiny_model, tmp_path):
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": GOOD, "id": str(n)}) + "\n" for n in range(5)))
    ran = command(tmp_path / "texts.jsonl", tiny_model, tmp_path / "study")
    assert ran.exit_code == 0 and "of which 4 texts twice" in ran.output and ran.output.count("second time") == 4
    assert accounted(tmp_path / "study") == (5, [GOOD] * 5, [])


def test_a_text_in_which_the_model_reads_nothing_is_left_out_and_named():
    """A tokenizer that drops what it does not know, and puts nothing in front."""
    from tokenizers import Regex, Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    from tests.hooks.conftest import tiny

    core = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1}, unk_token="<pad>"))
    core.normalizer = normalizers.Replace(Regex("[^a]"), "")
    loaded = attach(tiny("olmoe"), PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>"), name="few")
    (texts,) = cut([Document("a", id="one"), Document("bcd", id="none"), Document(" ", id="blank")], Seen())
    record, left = capture_block(loaded, texts, PLAN)
    assert [document.id for document in record.documents] == ["one"]
    assert left.left_out == (("none", "blank, left out"), ("blank", "blank, left out"))


def test_a_text_with_half_a_character_is_left_out_and_named(model):
    (texts,) = cut([Document("a\ud800b", id="half"), Document("a🜁b", id="whole")], Seen())
    record, left = capture_block(model, texts, PLAN)
    assert [document.id for document in record.documents] == ["whole"]
    assert left.left_out == (("half", "half holds half a character; needs whole characters"),)
