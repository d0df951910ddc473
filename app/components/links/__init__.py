"""Our own HTML with links that go to another page without loading the dashboard anew."""

from gatescope.app.components.links.component import linked

__all__ = ["linked"]
