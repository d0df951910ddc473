"""The browser's address, completed without an entry of its own in the history."""

from gatescope.app.components.url_sync.component import complete_address

__all__ = ["complete_address"]
