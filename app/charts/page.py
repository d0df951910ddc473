"""What a page looks at: capture A within a scope, and B beside it, with the numbers of both."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from gatescope.analysis.registry import Result
from gatescope.drawing.facts import captured_by
from gatescope.routing.errors import OptionError
from gatescope.routing.groups import layer_names
from gatescope.server.measures import measure, own_tokens, size_of
from gatescope.server.sources import Scope, Source, scope_of
from gatescope.server.view import View


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows: capture A within a scope, and capture B where one is chosen."""

    view: View
    source: Source
    reference: Source | None
    scope: Scope

    @property
    def population(self) -> str:
        """How many tokens of how many documents count, in words."""
        tokens, documents, is_all = size_of(self.source, self.scope)
        sentence = f"N = {tokens:,} token{'s' * (tokens != 1)} of {documents:,} document{'s' * (documents != 1)}"
        return sentence if is_all else f"{sentence}, the first of a larger study"

    @property
    def layers(self) -> list[str]:
        """The names of A's layers."""
        return layer_names(self.source.record.layers)

    def measure(self, metric: str, *, by: str = "") -> Result:
        """A metric of A within the scope. Errors: OptionError where A lacks what it needs."""
        return measure(self.source, metric, by=by, scope=self.scope)

    def if_known(self, metric: str, *, by: str = "") -> Result | None:
        """The same; None where it cannot be had."""
        try:
            return self.measure(metric, by=by)
        except OptionError:
            return None


class Beside(NamedTuple):
    """Capture B as far as it can stand beside A: its scope, and what its lines are called."""

    source: Source
    scope: Scope
    name: str


def beside(page: Page) -> Beside | None:
    """Capture B with the tokens and documents that count in A, where it has them; else all of it, said in its name."""
    if page.reference is None:
        return None
    view = replace(page.view, span=None, document=None)
    try:
        scope, name = scope_of(page.reference, view), "B"
    except OptionError:
        scope, name = Scope(facet=page.scope.facet), "B (all documents)"
    return Beside(page.reference, scope, name)


def population(page: Page) -> str:
    """What was counted of A, and of B where there is one."""
    other = beside(page)
    return (
        page.population if other is None else f"{page.population}; B: {own_tokens(other.source, other.scope):,} tokens"
    )


def measure_reference(page: Page, metric: str, *, by: str = "") -> tuple[Beside, Result] | None:
    """A metric of capture B; None where there is no B, or B has no such numbers."""
    other = beside(page)
    if other is None:
        return None
    try:
        return other, measure(other.source, metric, by=by, scope=other.scope)
    except OptionError:
        return None


def headline(source: Source) -> str:
    """Where a capture comes from, in one line."""
    record, made = source.record, source.record.provenance
    documents = len(record.documents)
    parts = [
        f"{made.model} @ {made.fingerprint[:8]}",
        made.dtype,
        made.device,
        f"{record.tokens:,} tokens" + (f" of {documents:,} documents" if documents > 1 else ""),
        f"{len(record.layers)} MoE layers, {record.slots} of {record.experts} experts a token",
        captured_by(made),
    ]
    return " · ".join(parts)
