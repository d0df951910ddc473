"""One block of a study, and the file that says of it that it is whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gatescope.cache.checksum import CHECKSUM, is_intact, with_checksum


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block that is whole.

    documents   captured, each part of a text that was cut counted
    read        documents of the corpus that begin here: each is captured, or named in `left_out` with the reason
    was_cut     names of texts that were captured in parts, each with what became of the parts
    digest      of the documents as they were read: the same corpus gives the same
    parts       SHA-256 and size of each part, by its kind
    """

    number: int
    documents: int
    tokens: int
    digest: str
    read: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    was_cut: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def said_of(block: Block, *, study: str) -> bytes:
    """What a block's file says; its checksum holds in that study alone."""
    return json.dumps(with_checksum(asdict(block), within=study)).encode()


def read_block(path: Path, *, study: str, is_sealed: bool) -> Block | None:
    """What a block's file says; None where it says nothing that can be read, as if it were not there.

    Without `is_sealed` it may lack its checksum, as files of the first version do.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (is_sealed or CHECKSUM in content) and not is_intact(content, within=study):
            return None
        content.pop(CHECKSUM, None)
        for list_of in ("left_out", "was_cut"):
            content[list_of] = tuple((name, reason) for name, reason in content.get(list_of, ()))
        content["parts"] = {kind: (digest, int(size)) for kind, (digest, size) in content["parts"].items()}
        block = Block(**content)
        numbers = (block.number, block.documents, block.tokens, block.read)
        is_its_own = f"{block.number:08}" == path.stem and all(kind.isidentifier() for kind in block.parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return block if is_its_own and all(isinstance(number, int) and number >= 0 for number in numbers) else None
