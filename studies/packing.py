"""A block as it is written: its parts at the level of detail asked for, and what was left out of it."""

from dataclasses import replace
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from gatescope.analysis.counting import strip_token_ids, tally
from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.block import Block
from gatescope.cache.schema import encode
from gatescope.cache.study import COUNTS, ROUTES, SCORES, StudyFolder
from gatescope.routing.record import RoutingRecord
from gatescope.studies.blocks import Texts
from gatescope.studies.plan import SCORED, Plan


class Skipped(NamedTuple):
    """Texts of a block that were not captured, each with why, and texts that were captured in parts, with how many."""

    left_out: tuple[tuple[str, str], ...] = ()
    was_cut: tuple[tuple[str, str], ...] = ()


class Captured(NamedTuple):
    """What became of one block."""

    block: Block
    parts: dict[str, bytes | memoryview]


def packed(texts: Texts, record: RoutingRecord | None, left: Skipped, plan: Plan) -> Captured:
    """A block as it is written: its parts at the level of detail asked for."""
    parts: dict[str, bytes | memoryview] = {}
    block = Block(number=texts.number, documents=0, tokens=0, digest=texts.digest, read=texts.read, **left._asdict())
    if record is not None:
        kept = reduced(record, plan)
        counts = tally(kept)
        parts[COUNTS] = to_bytes(strip_token_ids(counts) if plan.detail == "counts" else counts)
        if plan.detail != "counts":
            parts[ROUTES] = encode(kept)
        drawn = sample_for_router_logits(record, plan.scores)
        if drawn is not None and plan.detail != "counts":
            parts[SCORES] = encode(drawn)
        block = replace(block, documents=len(record.documents), tokens=record.tokens)
    return Captured(block, parts)


def write_counted(number: int, record: RoutingRecord, folder: StudyFolder, *, read: int = 0) -> Block:
    """Write routes that are there already as a block, and what is counted of them; `read` documents begin in it.

    Errors: StoreError, StorageFullError.
    """
    routes = encode(record)
    digest = blake2b(routes, digest_size=16).hexdigest()
    documents = len(record.documents)
    block = Block(number=number, documents=documents, tokens=record.tokens, digest=digest, read=read)
    return folder.write(block, {COUNTS: to_bytes(tally(record)), ROUTES: routes})


def reduced(record: RoutingRecord, plan: Plan) -> RoutingRecord:
    """The same at a level of detail."""
    gone: dict[str, Any] = {} if plan.options.logits else {"logit_tle": None}
    if plan.detail == "ids":
        gone |= dict.fromkeys(SCORED)
    return replace(record, **gone)


def sample_for_router_logits(record: RoutingRecord, share: float) -> RoutingRecord | None:
    """The documents of which all scores are kept, the same ones in every run: drawn by a hash of what they are."""
    marks = [blake2b(f"{d.source}\0{d.id}\0{d.text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
             for d in record.documents]  # fmt: skip
    is_drawn = [int.from_bytes(mark) < share * 2**64 for mark in marks]
    return record.take(np.array(is_drawn)[record.document_t]) if any(is_drawn) else None
