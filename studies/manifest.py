"""What was asked of a study and how far it came, kept beside it: whatever ends the server, the study can go on.

<studies>/<id>/order.json       this
<studies>/<id>/texts.jsonl.gz   its documents, until all of them are captured and counted
<studies>/<id>/capture/         their routes, block by block (see `cache.study`)
<studies>/<id>/analysis/        results (see `studies.write`)
<studies>/<id>/lease.*.json     who works on it now (see `cache.lease`)
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gatescope.cache.checksum import CHECKSUM, is_intact, with_checksum
from gatescope.cache.keys import check_capture_id
from gatescope.cache.temporary import write_whole
from gatescope.routing.errors import GatescopeError, StoreError
from gatescope.routing.record import Document

ORDER, TEXTS = "order.json", "texts.jsonl.gz"
MOST_NAMED = 80

State = Literal["waiting", "running", "done", "stopped", "failed"]
Record = Literal["ids", "weights", "scores"]
RECORDS: dict[Record, str] = {
    "ids": "experts alone",
    "weights": "experts, weights and margins",
    "scores": "all scores of the routers",
}
"""What is recorded of every token, in words."""


@dataclass(frozen=True, kw_only=True)
class StudyManifest:
    """A study as it was asked for.

    model       by the name it is offered under; `name` of the study, `owner` a key of who asked, empty for nobody's own
    characters, tokens    of all texts; of tokens, as they were estimated
    long        what becomes of a text beyond the model's length
    block_characters, batch_tokens, longest    how the corpus is cut and batched: as it was begun, so it goes on
    problem     why it failed: found, expected, do
    imported    the format it was read from, where another engine recorded it, and what was and was not understood
    command     the command that made it, and goes on with it; empty where a server did
    """

    id: str
    name: str
    model: str
    record: Record = "weights"
    long: Literal["split", "skip"] = "split"
    owner: str = ""
    documents: int = 0
    characters: int = 0
    tokens: int = 0
    block_characters: int = 8192
    batch_tokens: int = 0
    longest: int = 0
    created: str = ""
    state: State = "waiting"
    problem: tuple[str, ...] = ()
    imported: str = ""
    understood: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    command: str = ""

    @property
    def error(self) -> GatescopeError | None:
        """Why it failed."""
        if len(self.problem) != 3:
            return None
        found, expected, do = self.problem
        return GatescopeError(found, expected=expected, do=do)

    def failed(self, error: GatescopeError) -> "StudyManifest":
        """The same, failed."""
        return replace(self, state="failed", problem=(error.found, error.expected, error.do))


def now() -> str:
    """This moment, as it is written down."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def clean_name(name: str) -> str:
    """A name on one line, without what no screen shows, and not longer than anyone reads.

    >>> clean_name("  my\\n corpus\\x00 ")
    'my corpus'
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in name[: 8 * MOST_NAMED])
    return " ".join(plain.split())[:MOST_NAMED]


def read_manifest(folder: Path) -> StudyManifest | None:
    """The order in a study's folder; None where there is none that can be read."""
    try:
        content = read_json(folder / ORDER, within=folder.name)
        lists = {name: tuple(content.get(name, ())) for name in ("problem", "understood", "missing", "left_out")}
        return StudyManifest(**content | lists | {"id": check_capture_id(folder.name)})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, GatescopeError):
        return None


def read_json(path: Path, *, within: str) -> dict[str, Any]:
    """What `write_json` wrote of `within`, now or before it wrote checksums.

    Errors: ValueError where it was altered, or is of something else; OSError.
    """
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict) or (CHECKSUM in content and not is_intact(content, within=within)):
        raise ValueError("its checksum does not match")
    return {name: value for name, value in content.items() if name != CHECKSUM}


def write_manifest(folder: Path, order: StudyManifest) -> None:
    """Write it, whole or not at all. Errors: StoreError."""
    write_json(folder / ORDER, asdict(order), within=folder.name)


def write_json(path: Path, content: Mapping[str, Any], *, within: str) -> None:
    """A file that appears whole, in a folder that is made where it is missing, with a checksum. Errors: StoreError.

    `within` is the id of what it speaks of: under another's name it is not read.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        spelt = json.dumps(with_checksum(json.loads(json.dumps(dict(content))), within=within), indent=1)
        write_whole(path, spelt.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def write_texts(folder: Path, documents: Sequence[Document]) -> None:
    """Keep the documents until they are captured, and behind them a checksum. Errors: StoreError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with gzip.open(folder / TEXTS, "wt", compresslevel=3, encoding="ascii") as file:
            digest = hashlib.sha256()
            for document in documents:
                line = json.dumps(asdict(document)) + "\n"
                digest.update(line.encode("ascii"))
                file.write(line)
            file.write(json.dumps({CHECKSUM: digest.hexdigest()}) + "\n")
    except OSError as error:
        raise _unwritable(folder / TEXTS, error) from error


def read_texts(folder: Path) -> tuple[Document, ...]:
    """The documents that were kept. Errors: StoreError."""
    try:
        with gzip.open(folder / TEXTS, "rt", encoding="ascii") as file:
            return _documents(file)
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zlib.error, RecursionError) as error:
        raise StoreError(
            f"the texts of study {folder.name} cannot be read: {error}",
            expected="the texts it was begun with",
            do="delete it, and begin it again",
        ) from error


def _documents(lines: Iterable[str]) -> tuple[Document, ...]:
    """Errors: ValueError, TypeError where there is none, or the last line is not the checksum of those before it.

    Texts that an older version kept have no such line.
    """
    digest, found = hashlib.sha256(), list[Document]()
    rest = iter(lines)
    for line in rest:
        content = json.loads(line)
        if content.keys() == {CHECKSUM}:
            if content[CHECKSUM] != digest.hexdigest() or next(rest, None) is not None:
                raise ValueError("their checksum does not match")
            break
        digest.update(line.encode("ascii"))
        found.append(Document(**content))
    if not found:
        raise ValueError("there is none")
    return tuple(found)


def _unwritable(path: Path, error: OSError) -> StoreError:
    found = f"{path.name} of study {path.parent.name} cannot be written: {error.strerror or error}"
    return StoreError(found, expected="a folder with room that this user may write", do="make room, and try again")
