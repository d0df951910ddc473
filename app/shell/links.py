"""Many links to one page at once."""

from dataclasses import replace
from typing import Protocol, Unpack
from urllib.parse import urlencode

from gatescope.app.shell import address
from gatescope.server.view import ViewParts


class LinkTo(Protocol):
    """Makes the address of one page, some parts of the view replaced."""

    def __call__(self, **parts: Unpack[ViewParts]) -> str: ...


def linker(page: str) -> LinkTo:
    """Makes many links to one page, as `address.link` makes one: the view is read once."""
    view, head = address.elsewhere(page), address.link(page).partition("?")[0]

    def link(**parts: Unpack[ViewParts]) -> str:
        query = urlencode(address.params(replace(view, **parts)))
        return f"{head}?{query}"

    return link
