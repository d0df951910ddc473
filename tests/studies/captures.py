"""What the tests of captured corpora share: lines of a corpus, the command, and what a study holds in the end."""

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from gatescope.cache.study import StudyFolder
from gatescope.cli.main import app

GOOD = "The court finds the defendant liable."


def line(number: int, text: str = GOOD) -> str:
    return json.dumps({"text": f"{text} {number}", "id": f"id-{number}"}) + "\n"


def command(corpus, source, out, *more: object):
    arguments = ["capture", str(corpus), "--model", str(source), "--out", str(out), "--batch-tokens", "128"]
    return CliRunner().invoke(app, [*arguments, *map(str, more)])


def contents(study: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (study / "blocks").iterdir()}


def accounted(study: Path) -> tuple[int, list[str], list[str]]:
    """Documents read, the texts captured, and the names of those left out: nothing may be missing."""
    folder = StudyFolder.open(study)
    kept, left_out, read = [], [], 0
    for block in folder.finished().values():
        record = folder.routes(block) if "routes" in block.parts else None
        kept += list(record.documents) if record else []
        left_out += [name for name, _ in block.left_out]
        read += block.read
    whole = {re.sub(r" \((part|portion) \d+ of \d+\)", "", document.id) for document in kept}
    assert len(whole) + len(left_out) == read
    return read, [document.text for document in kept], left_out
