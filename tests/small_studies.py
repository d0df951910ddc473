"""Studies small enough to be made in no time and checked by hand: blocks of two documents, 4 and 5 tokens in turn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from gatescope.analysis.counting import tally
from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.block import Block
from gatescope.cache.schema import encode
from gatescope.cache.study import COUNTS, ROUTES, StudyFolder
from gatescope.cli.main import app
from gatescope.routing import Document


def captured(folder: Path, make_record: Callable, blocks: int = 3) -> StudyFolder:
    made = StudyFolder.create(folder, {"corpus": "texts.jsonl", "model": "small"})
    for number in range(blocks):
        write(made, number, make_record)
    made.end(blocks)
    return made


def write(study: StudyFolder, number: int, make_record: Callable) -> None:
    texts = tuple(Document(f"{number} {which}", domain=which) for which in ("law", "code"))
    pieces = ["a", "b", "c", "d", "e", "f"][: 4 + number % 2]
    record = make_record(pieces)
    half = len(pieces) // 2
    record = replace(record, documents=texts, document_t=(record.position_t >= half).astype("int32"))
    record = replace(record, position_t=record.position_t - half * record.document_t)
    block = Block(number=number, documents=2, tokens=record.tokens, digest=f"d{number}", read=2)
    study.write(block, {COUNTS: to_bytes(tally(record)), ROUTES: encode(record)})


def analyze(study: StudyFolder, out: Path, *more: str):
    words = ["analyze", str(study.folder), "--out", str(out), "--metrics", "relative_load", "--resamples", "2", *more]
    return CliRunner().invoke(app, words)
