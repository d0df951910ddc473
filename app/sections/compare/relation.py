"""How two captures relate, worked out once."""

from analysis.compare import Relation, relation
from app.memo import MemoCache
from app.sources import Source

_relations = MemoCache()


def related(source: Source, other: Source) -> Relation:
    """How A and B relate; a capture beside itself is two of its documents, where it has two."""
    if source.id == other.id and len(source.record.documents) > 1:
        return Relation("text", True, True, ())
    return _relations.get((*source.key, *other.key), lambda: relation(source.record, other.record))
