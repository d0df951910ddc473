"""Routes that another engine recorded, as the blocks of a study."""

from collections.abc import Callable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path

from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import TraceError
from gatescope.routing.joined import joined
from gatescope.routing.record import RoutingRecord
from gatescope.studies.packing import write_counted
from gatescope.studies.run_blocks import check_end

BLOCK_TOKENS = 40_000


def digest_of(trace: Path) -> str:
    """SHA-256 of a trace: of a folder, of the names and bytes of all its files. Errors: TraceError."""
    whole = sha256()
    try:
        for path in sorted(each for each in trace.rglob("*") if each.is_file()) if trace.is_dir() else [trace]:
            with path.open("rb") as file:
                content = file_digest(file, "sha256").digest()
            whole.update(f"{path.relative_to(trace).as_posix()}\0".encode("utf-8", "surrogateescape") + content)
    except OSError as error:
        found = f"{error.filename or trace}: {error.strerror or error}"
        raise TraceError(found, expected="a trace that this user may read", do="check the path") from error
    return whole.hexdigest()


def write_records(
    records: Iterator[RoutingRecord], folder: StudyFolder, *, is_same: Callable[[], bool] = lambda: True
) -> None:
    """Records as blocks of some BLOCK_TOKENS tokens, counted. Errors: TraceError where there are none; StoreError."""

    number, held = 0, list[RoutingRecord]()
    for record in records:
        if held and sum(each.tokens for each in held) + record.tokens > BLOCK_TOKENS:
            write_counted(number, joined(held), folder)
            number, held = number + 1, []
        held.append(record)
    if held:
        write_counted(number, joined(held), folder)
    elif not number:
        raise TraceError("no routes in the trace", expected="at least one token", do="check what was recorded")
    check_end(folder.finished(), number + 1)
    if not is_same():
        found = "the trace changed while it was read"
        raise TraceError(found, expected="one that nobody writes any more", do="import it again, with another --out")
    folder.end(number + 1)
