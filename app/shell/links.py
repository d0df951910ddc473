"""Where a token of what is counted stands in its capture, and the other way round; many links at once."""

from dataclasses import replace
from typing import Protocol, Unpack
from urllib.parse import urlencode

import numpy as np

from gatescope.app.shell import address
from gatescope.routing.record import RoutingRecord
from gatescope.server.sources import Scope
from gatescope.server.view import ViewParts


class LinkTo(Protocol):
    """Makes the address of one page, some parts of the view replaced."""

    def __call__(self, **parts: Unpack[ViewParts]) -> str: ...


def place_of(record: RoutingRecord, scope: Scope, row: int) -> tuple[int, int]:
    """Document and token, as an address names them, of a row of the routes of a scope (`counted`)."""
    number = int(record.document_t[row])
    start = int(np.searchsorted(record.document_t, number))
    token = row - start + (scope.span.first if scope.span else 0)
    return (number if scope.documents is None else scope.documents[number]), token


def row_of(record: RoutingRecord, scope: Scope, document: int, token: int) -> int | None:
    """The row of a token in the routes of a scope; None where the scope leaves it out."""
    if scope.documents is None:
        number = document
    elif document in scope.documents:
        number = scope.documents.index(document)
    else:
        return None
    start, stop = np.searchsorted(record.document_t, [number, number + 1])
    row = int(start) + token - (scope.span.first if scope.span else 0)
    return row if start <= row < stop else None


def linker(page: str) -> LinkTo:
    """Makes many links to one page, as `address.link` makes one: the view is read once."""
    view, head = address.current(), address.link(page).partition("?")[0]

    def link(**parts: Unpack[ViewParts]) -> str:
        said = urlencode(address.params(replace(view, **parts)))
        return f"{head}?{said}"

    return link
