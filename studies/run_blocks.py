"""The one loop over the blocks of a study: what is not there yet is captured, counted and written, by some strategy.

A strategy is handed the blocks that are missing, one after another, and yields each once it is whole on the disk:
`one_by_one` and `beside_writing` capture in this process (through a model, a model's queue, or another engine);
`studies.ray_cluster` gives blocks out to workers.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from gatescope.cache.block import Block
from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.studies.blocks import WHOLE, Seen, Share, Texts, digest_of
from gatescope.studies.packing import Skipped, packed
from gatescope.studies.plan import Plan

Strategy = Callable[[Iterator[Texts]], Iterator[Block]]


class Progress(NamedTuple):
    """How far a run is: documents and characters read, blocks that were there already, tokens captured in this run."""

    seen: Seen
    blocks: int
    there: int
    tokens: int
    left_out: int
    seconds: float


def run_blocks(
    blocks: Iterator[Texts],
    folder: StudyFolder,
    strategy: Strategy,
    *,
    seen: Seen,
    share: Share = WHOLE,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    on_block: Callable[[Texts, Block, bool], None] = lambda _texts, _block, _is_new: None,
) -> Progress:
    """Capture every block that is this share's and not yet whole. Killed at any moment, it goes on when run again.

    blocks      of the corpus, whose documents `seen` counts as they pass
    on_block    hears of each block that is whole, and whether it is new, in the order in which they become so

    Errors: those of the strategy; StoreError, StorageFullError; OptionError where the corpus is not the one the study
    was begun with.
    """
    there, started = folder.finished(), time.monotonic()
    done, pending = Progress(seen, 0, 0, 0, 0, 0.0), dict[int, Texts]()

    def missing() -> Iterator[Texts]:
        nonlocal done
        for texts in blocks:
            done = done._replace(blocks=done.blocks + 1)
            if is_captured(there, texts):
                done = done._replace(there=done.there + 1)
                on_block(texts, there[texts.number], False)
            elif share.has(texts.number):
                pending[texts.number] = texts
                yield texts
            on_progress(done._replace(seconds=time.monotonic() - started))
        check_end(there, done.blocks)

    for block in strategy(missing()):
        done = done._replace(tokens=done.tokens + block.tokens, left_out=done.left_out + len(block.left_out))
        on_block(pending.pop(block.number), block, True)
        on_progress(done._replace(seconds=time.monotonic() - started))
    folder.sweep()  # of workers that were lost
    folder.end(done.blocks)
    return done._replace(seconds=time.monotonic() - started)


Capture = Callable[[Texts], tuple[RoutingRecord | None, Skipped]]


def one_by_one(capture: Capture, folder: StudyFolder, plan: Plan) -> Strategy:
    """A strategy: each block is written before the next is captured."""

    def run(missing: Iterator[Texts]) -> Iterator[Block]:
        for texts in missing:
            yield folder.write(*packed(texts, *capture(texts), plan))

    return run


def beside_writing(capture: Capture, folder: StudyFolder, plan: Plan) -> Strategy:
    """A strategy: one block is captured while the one before it is counted and written."""

    def write(texts: Texts, record: RoutingRecord | None, left: Skipped) -> Block:
        return folder.write(*packed(texts, record, left, plan))

    def run(missing: Iterator[Texts]) -> Iterator[Block]:
        with ThreadPoolExecutor(max_workers=1) as writer:
            writing: Future[Block] | None = None
            for texts in missing:
                captured = capture(texts)
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(write, texts, *captured)
            if writing is not None:
                yield writing.result()

    return run


def is_captured(there: Mapping[int, Block], texts: Texts) -> bool:
    """Whether these texts are captured, as a block that is whole. Errors: OptionError where it holds other texts.

    The last block may hold the first of these texts alone: the corpus has become longer, and it is captured again.
    """
    block = there.get(texts.number)
    if block is None:
        return False
    is_longer = block.number == max(there) and 0 < block.read < len(texts.documents)
    if is_longer and block.digest == digest_of(texts.documents[: block.read]):
        return False
    check_same(block, texts)
    return True


def check_end(there: Mapping[int, Block], blocks: int) -> None:
    """Errors: OptionError where there are blocks of texts that the corpus does not hold any more."""
    if there and max(there) >= blocks:
        raise OptionError(
            f"the corpus ends before block {max(there)}, which was captured from it",
            expected="the corpus the study was begun with",
            do="name another --out, or another --name, for the changed corpus",
        )


def check_same(block: Block, texts: Texts) -> None:
    """Errors: OptionError where a block that is whole holds other texts than the corpus has there now."""
    if block.digest != texts.digest:
        raise OptionError(
            f"block {block.number} was captured from other texts than the corpus holds there now",
            expected="the corpus the study was begun with",
            do="name another --out, or another --name, for the changed corpus",
        )
