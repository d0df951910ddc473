"""The blocks of a study as one: their tallies added up, and the routes of the first of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

from gatescope.analysis.tally.files import from_bytes
from gatescope.analysis.tally.tally import Tally, merge_all, should_merge
from gatescope.cache.block import Block
from gatescope.cache.study import COUNTS, ROUTES, StudyFolder
from gatescope.routing.errors import OptionError
from gatescope.routing.joined import joined
from gatescope.routing.record import RoutingRecord
from gatescope.studies.wholeness import check_whole


def whole_tally(
    folder: StudyFolder,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    partial: bool = False,
) -> Tally:
    """The tallies of all blocks as one; if `partial`, of those that are whole, whatever is missing.

    Errors: StoreError for a study that is not whole; OptionError for one without any block; CaptureDamagedError.
    """
    if not partial:
        check_whole(folder)
    blocks = blocks_with_counts(folder)
    kept = folder.kept_sum(blocks, COUNTS)
    return from_bytes(kept) if kept is not None else added_up(folder, blocks, on_progress)


def blocks_with_counts(folder: StudyFolder) -> list[Block]:
    """Every block that holds a tally. Errors: OptionError for a study without any."""
    blocks = [block for block in folder.finished().values() if COUNTS in block.parts]
    if not blocks:
        raise OptionError(f"{folder.folder} has no blocks", expected="a study that was captured", do="capture first")
    return blocks


def added_up(
    folder: StudyFolder, blocks: Sequence[Block], on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Tally:
    """The tallies of some blocks as one, read sixteen at a time. Errors: CaptureDamagedError."""
    held: list[Tally] = []
    for done, block in enumerate(blocks, 1):
        held.append(from_bytes(folder.part(block, COUNTS)))
        if should_merge(held, 8):
            held = [merged(held)]
        on_progress(done, len(blocks))
    return merged(held)


def merged(tallies: Sequence[Tally]) -> Tally:
    """Tallies of blocks as one, in any order and any grouping the same; it names every device they were captured on."""
    devices = {device for each in tallies for device in each.provenance.device.split(", ")}
    whole = merge_all([replace(each, provenance=replace(each.provenance, device="")) for each in tallies])
    return replace(whole, provenance=replace(whole.provenance, device=", ".join(sorted(devices))))


def first_routes(folder: StudyFolder, tokens: int, *, most_bytes: int | None = None) -> RoutingRecord | None:
    """The routing of the first blocks, about so many tokens, and no more than make about `most_bytes` of numbers.

    None where a study keeps counts only. One block after another is read, copied and let go.
    """
    blocks = [block for block in folder.finished().values() if ROUTES in block.parts]
    if not blocks:
        return None
    held = [folder.routes(blocks[0])]
    if most_bytes is not None:
        size = sum(array.nbytes for _, array in held[0].arrays())
        tokens = min(tokens, most_bytes * held[0].tokens // max(size, 1))
    before = accumulate((block.tokens for block in blocks), initial=0)
    chosen = [block for block, count in zip(blocks, before, strict=False) if count < max(tokens, 1)]
    routes = (held.pop() if held else folder.routes(block) for block in chosen)
    return joined(routes, tokens=sum(block.tokens for block in chosen), any_device=True)
