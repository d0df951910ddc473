"""The words everything else speaks: the record of routing, the rule of a router, the errors. Imports numpy only."""

from gatescope.routing.joined import joined
from gatescope.routing.record import EMPTY8, EMPTY16, Document, Flag, Provenance, RoutingRecord, empty_slot
from gatescope.routing.router import RouterRule

__all__ = [
    "EMPTY8",
    "EMPTY16",
    "Document",
    "Flag",
    "Provenance",
    "RouterRule",
    "RoutingRecord",
    "empty_slot",
    "joined",
]
