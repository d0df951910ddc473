"""How two captures relate, worked out once, and the tokens of theirs that stand together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gatescope.analysis.comparison.compare import Relation, paired, relation
from gatescope.analysis.tally.prefixes import first_of_prefix
from gatescope.app.views.compare.relation_figure import left_out
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import Paired, Reading, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Scope, Source, role_mask

_relations, _kept = MemoCache(), MemoCache()

Pairs = tuple[tuple[int, int], ...]


class Both(NamedTuple):
    """A and B of the documents they share and the tokens that count, token under token."""

    first: RoutingRecord
    second: RoutingRecord
    repeated: int

    @property
    def population(self) -> str:
        """What is compared, and how many tokens were left out because an earlier document began alike."""
        documents = len(np.unique(self.first.document_t))
        of = f"N = {self.first.tokens:,} tokens of {documents:,} document{'s' * (documents != 1)} that A and B share"
        return of + left_out(self.repeated)


def related(source: Source, other: Source) -> Relation:
    """How A and B relate; a capture beside itself is two of its documents, where it has two."""
    if source.id == other.id and len(source.record.documents) > 1:
        return Relation("text", True, True, ())
    return _relations.get((*source.key, *other.key), lambda: relation(source.record, other.record))


def within(pairs: Pairs, scope: Scope) -> Pairs:
    """The pairs of documents that count."""
    if scope.documents is None:
        return pairs
    chosen = set(scope.documents)
    return tuple(pair for pair in pairs if pair[0] in chosen)


def both_of(source: Source, other: Source, pairs: Pairs, scope: Scope) -> Both:
    """The tokens of a scope in pairs of documents of the same tokens. Errors: OptionError where there are none."""

    def cut() -> Both:
        first, second = paired(source.record, other.record, pairs)
        rows_t = role_mask(first, scope.facet)
        if (span := scope.span) is not None:
            rows_t &= (first.position_t >= span.first) & (first.position_t <= span.last)
        if not rows_t.any():
            raise OptionError("no token of that kind", expected="some", do="let other tokens count, in the sidebar")
        fresh_t = rows_t & first_of_prefix(first)
        repeated = int(np.count_nonzero(rows_t) - np.count_nonzero(fresh_t))
        return Both(first.take(fresh_t), second.take(fresh_t), repeated)

    return _kept.get((*source.key, *other.key, scope), cut)


def note_pair(
    source: Source, scope: Scope, other: Source, code: str, *functions: Callable[..., Any], document: int | None = None
) -> None:
    """Note what is computed of the tokens that A and B hold; `code` speaks of `first` and `second`.

    `functions` are those it calls; `document` is B's, where one of each is compared.
    """
    imports = tuple(f"from {function.__module__} import {function.__name__}" for function in functions)
    note(Reading(source=source, scope=scope, code=code, imports=imports, paired=Paired(other, document)))
