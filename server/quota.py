"""What captures and studies of a server may take on its disk, together."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gatescope.cache.eviction import make_room, spare, used_bytes
from gatescope.cache.workspace import study_folders
from gatescope.routing.errors import StorageFullError
from gatescope.studies.manifest import read_manifest


class ByMaker(NamedTuple):
    """Bytes of what visitors made, and of what commands did."""

    visitors: int
    commands: int


@dataclass(frozen=True)
class Quota:
    """The bytes of a workspace that visitors have filled: captures lie in it, studies in folders of their own below.

    `most_bytes` None leaves it to the disk. Captures are made again from their texts, so those used longest ago go
    where a study needs room; a study goes only where somebody deletes it.
    """

    folder: Path
    most_bytes: int | None

    def captures(self) -> int:
        """Bytes of captured texts."""
        return used_bytes(self.folder)

    def studies(self) -> int:
        """Bytes of studies and imported traces, but for those that commands made, which nobody bounds."""
        return self.by_maker().visitors

    def by_maker(self) -> "ByMaker":
        """Bytes of studies and imported traces, by who made them."""
        made = {True: 0, False: 0}
        for folder in study_folders(self.folder):
            made[_is_commanded(folder)] += size_of_folder(folder)
        return ByMaker(made[False], made[True])

    def room(self) -> int | None:
        """Bytes that a study may take, captures that would go for it included; None where there is no limit."""
        if self.most_bytes is None:
            return None
        may_go = sum(removal.found.size_bytes for removal in spare(self.folder))
        return max(0, self.most_bytes - self.captures() - self.studies() + may_go)

    def make_room(self, needed: int = 0) -> None:
        """See to it that so many bytes more fit. Errors: StorageFullError, and then nothing was removed."""
        if self.most_bytes is None:
            return
        excess = self.captures() + self.studies() + needed - self.most_bytes
        if excess <= 0:
            return
        room = self.room() or 0
        if needed > room or make_room(self.folder, excess, spare(self.folder)) > 0:
            raise StorageFullError(
                f"captures and studies would take more than {self.most_bytes:,} bytes",
                expected=f"at most {room:,} bytes more",
                do="delete studies or captures in the Library, or raise GATESCOPE_QUOTA_BYTES",
            )


def _is_commanded(folder: Path) -> bool:
    order = read_manifest(folder)
    return order is not None and bool(order.command)


def size_of_folder(folder: Path) -> int:
    """Bytes of all files below a folder, those left out that go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
