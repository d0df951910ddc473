"""Where a token of what is counted stands in its capture, and the other way round."""

import numpy as np

from gatescope.routing.record import RoutingRecord
from gatescope.server.sources import Scope


def place_of(record: RoutingRecord, scope: Scope, row: int) -> tuple[int, int]:
    """Document and token, as an address names them, of a row of the routes of a scope (`select_routes`)."""
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
