"""What a path names, before it is opened: reading a pipe or a device may never come to an end."""

import stat
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def no_file(path: Path) -> str:
    """What a path names that is neither file nor folder; empty for those, and where nothing is.

    >>> no_file(Path("/dev/zero")), no_file(Path("/dev")), no_file(Path("/dev/none"))
    ('a device', '', '')
    """
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode), "")
    except OSError:
        return ""
