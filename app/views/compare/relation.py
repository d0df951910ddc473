"""How two captures relate, worked out once."""

from gatescope.analysis.compare import Relation, relation
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Source

_relations = MemoCache()


def related(source: Source, other: Source) -> Relation:
    """How A and B relate; a capture beside itself is two of its documents, where it has two."""
    if source.id == other.id and len(source.record.documents) > 1:
        return Relation("text", True, True, ())
    return _relations.get((source.id, other.id), lambda: relation(source.record, other.record))
