"""Which servers run on a workspace, and at what address each is reached.

<workspace>/servers/lease.ID.000001.json    of a server that runs, or ran (see `cache.lease`)
"""

import logging
import secrets
from contextlib import suppress
from pathlib import Path

from gatescope.cache.disk import explained
from gatescope.cache.folder import is_capture_id
from gatescope.cache.lease import Lease, holders
from gatescope.cache.workspace import SERVERS, STUDIES, begin_workspace, read_reference
from gatescope.routing.errors import StoreError
from gatescope.studies.manifest import read_manifest

log = logging.getLogger(__name__)

DEFAULT = "http://localhost:8501"


class Presence:
    """This server on its workspace, for commands that want to say where something is seen."""

    def __init__(self, workspace: Path, address: str) -> None:
        """Say that a server runs; on a workspace that cannot be written nobody is told."""
        self._lease: Lease | None = None
        folder, name = workspace / SERVERS, secrets.token_hex(6)
        try:
            begin_workspace(workspace)
            with explained(workspace):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(folder)
            self._lease = Lease.take(folder, address, name=name, called="the workspace")
        except StoreError as error:
            log.warning("nobody is told that this server runs: %s", error)

    def close(self) -> None:
        """Say that it runs no more."""
        if self._lease is not None:
            self._lease.release()
            self._lease.forget()
            self._lease = None


def servers(workspace: Path) -> list[str]:
    """The addresses of the servers that run on a workspace, the one that began last first."""
    found = sorted(holders(workspace / SERVERS), key=lambda holder: holder.since, reverse=True)
    return [holder.what for holder in found]


def address_of(workspace: Path, id: str) -> str:
    """Where something is seen, or would be; and what to run where no server does."""
    running = servers(workspace)
    found = f"{next(iter(running), DEFAULT)}{_page(workspace, id)}"
    return found if running else f"{found}  (no server runs: gatescope serve --workspace {workspace})"


def called(workspace: Path, id: str) -> str:
    """What an entry is called, and its id."""
    order = read_manifest(workspace / STUDIES / id)
    return id if order is None or not order.name else f"{order.name} ({id})"


def _page(workspace: Path, id: str) -> str:
    """The page that shows it: a study's measures, one text, or the list for what no page can show."""
    folder = workspace / STUDIES / id
    if not folder.is_dir():
        return f"/?c={id}" if is_capture_id(id) else "/"
    reference = read_reference(folder)
    if reference is not None and reference.kind in ("analysis", "workspace") and not reference.routes:
        return "/library"
    order = read_manifest(folder)
    is_text = reference is not None and reference.kind == "capture" and (order is None or order.documents < 2)
    return f"/?c={id}" if is_text else f"/layers?c={id}"


def _sweep(folder: Path) -> None:
    """Remove what servers that ended without a word left behind."""
    kept = {holder.token for holder in holders(folder)}
    for path in folder.glob("lease.*.json"):
        with suppress(OSError):
            if not any(token in path.read_text("ascii", "replace") for token in kept):
                path.unlink()
