"""What may go from the folder of a store, and in which order: leftovers, what was set aside, what was used longest ago.

Nothing is taken that was written or read a moment ago, and everything is looked at again before it goes, so any number
of processes may do this at the same time, while others read and write.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gatescope.cache.folder import SUFFIX, Found, captures, damaged, forget, is_as_found, marks, temporaries, with_use
from gatescope.cache.locks import STALE_SECONDS

RECENT_SECONDS = 600
"""How long a capture stays after it was written or read, however full the folder is."""

DAMAGED_SECONDS = 86_400
"""How long a cleaning leaves what was set aside for somebody to look at."""

DAMAGED, UNUSED = "damaged", "used longest ago"


class Removal(NamedTuple):
    """One file that may go, or has gone, and why."""

    found: Found
    why: str


def leftovers(folder: Path) -> list[Removal]:
    """What writers that died left behind, and notes about captures that are gone."""
    there = {found.id for found in captures(folder)}
    orphans = [found for found in marks(folder) if found.id not in there and found.is_unused_for(STALE_SECONDS)]
    return _abandoned(folder) + [Removal(found, "a note on no capture") for found in orphans]


def _abandoned(folder: Path) -> list[Removal]:
    old = [found for found in temporaries(folder) if found.is_unused_for(STALE_SECONDS)]
    return [Removal(found, "left behind by a writer") for found in old]


def spare(folder: Path, *, recent_seconds: float = RECENT_SECONDS, but: str = "") -> list[Removal]:
    """What may go for a quota's sake, in this order: what writers that died left behind, what was set aside, captures.

    Of captures the one used longest ago goes first; the one called `but` is not among them.
    """
    torn = sorted(damaged(folder), key=lambda found: found.used_ns)
    others = [found for found in captures(folder) if found.id != but]
    kept = [found for found in with_use(folder, others) if found.is_unused_for(recent_seconds)]
    kept.sort(key=lambda found: found.used_ns)
    aside, unused = ([Removal(found, why) for found in files] for files, why in ((torn, DAMAGED), (kept, UNUSED)))
    return _abandoned(folder) + aside + unused


def used_bytes(folder: Path, *, but: str = "") -> int:
    """What counts against a quota: captures, those set aside, and what is being written, each at its full size.

    What is being written comes first: a file that takes its name meanwhile is counted twice, never left out.
    """
    files = [*temporaries(folder), *damaged(folder), *captures(folder)]
    left_out = f"{but}{SUFFIX}"
    return sum(found.size_bytes for found in files if found.name != left_out)


def enough(removals: Iterable[Removal], excess: int) -> Iterator[Removal]:
    """The first of them that together free so many bytes; all where even that is too little."""
    for removal in removals:
        if excess <= 0:
            return
        yield removal
        excess -= removal.found.size_bytes


def make_room(folder: Path, excess: int, removals: Iterable[Removal]) -> int:
    """Remove the first of them until so many bytes are free; how many are still missing afterwards."""
    for removal in removals:
        if excess <= 0:
            break
        remove(folder, [removal])
        if not removal.found.path.exists():  # whoever took it
            excess -= removal.found.size_bytes
    return max(0, excess)


def removable(
    folder: Path, *, quota_bytes: int | None = None, damaged_seconds: float = DAMAGED_SECONDS
) -> list[Removal]:
    """All that a cleaning would take: leftovers, what was set aside long ago, and what a quota leaves no room for.

    What was set aside lately goes too where the quota needs it.
    """
    gone = leftovers(folder)
    gone += [Removal(found, DAMAGED) for found in damaged(folder) if found.is_unused_for(damaged_seconds)]
    if quota_bytes is None:
        return gone
    taken = {removal.found for removal in gone}
    excess = used_bytes(folder) - quota_bytes - sum(removal.found.size_bytes for removal in gone)
    return gone + list(enough((each for each in spare(folder) if each.found not in taken), excess))


def remove(folder: Path, removals: Iterable[Removal]) -> list[Removal]:
    """Take them away; those that this call took: others may have been faster, or have used a capture since."""
    done = []
    for removal in removals:
        found = removal.found
        is_capture = found.folder == folder and found.name == f"{found.id}{SUFFIX}"
        if is_capture and not is_as_found(found):
            continue
        with suppress(FileNotFoundError):
            found.path.unlink()
            done.append(removal)
            if is_capture:
                forget(folder, found.id)
    return done
