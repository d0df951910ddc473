"""The layers of a trace: as the model has them where that is known, checked against what the trace shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from gatescope.cache.importers.importer import Given
from gatescope.routing.errors import RecordError, TraceError
from gatescope.routing.router import RouterRule

MOST_LAYERS = 4096
"""More than ten times those of any model there is; each takes its time."""
LARGEST = 65_535  # experts of a layer: their ids are kept in 16 bits, of which the largest number is an empty slot
OWN = ("layer", "block", "experts", "k")
MORE = tuple(item.name for item in fields(RouterRule) if item.name not in OWN)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a trace shows or says of its layers, in order; empty where it does not.

    `slots` is the width of its rows; `k` and `experts` are of each layer; `more` are further parts of a RouterRule.
    """

    count: int
    slots: int
    blocks: Sequence[int] = ()
    k: Sequence[int] = ()
    experts: Sequence[int] = ()
    more: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def rules_of(seen: Seen, given: Given, where: str) -> tuple[RouterRule, ...]:
    """The rules of a trace's layers. Errors: TraceError where trace and model differ, or nobody says how many experts.

    `where` names the file.
    """
    check_count(seen.count, where)
    if not seen.count or not seen.slots:
        raise _differs(where, f"{seen.count} layers of {seen.slots} slots", "at least one of each")
    if seen.k and max(seen.k) != seen.slots:
        raise _differs(where, f"k = {max(seen.k)} for rows of {seen.slots} slots", "as many slots as the largest k")
    if given.layers:
        _compare(seen, given, where)
        return given.layers
    return tuple(_rule(seen, given, layer, where) for layer in range(seen.count))


def check_count(count: int, where: str) -> None:
    """Errors: TraceError for more layers than any model has."""
    if count > MOST_LAYERS:
        raise _differs(where, f"{count:,} layers", f"at most {MOST_LAYERS:,}")


def _compare(seen: Seen, given: Given, where: str) -> None:
    """What the trace says must be what the model has."""
    name = given.model or "the model"
    if seen.count != len(given.layers):
        raise _differs(where, f"{seen.count} MoE layers", f"{len(given.layers)}, as {name} has")
    if not seen.k and seen.slots != max(rule.k for rule in given.layers):
        raise _differs(
            where, f"{seen.slots} experts for each token", f"{max(rule.k for rule in given.layers)}, as {name} keeps"
        )
    for what, stated in (("block", seen.blocks), ("k", seen.k), ("experts", seen.experts)):
        for rule, value in zip(given.layers, stated, strict=False):
            if value != getattr(rule, what):
                found = f"layer {rule.layer} with {what} = {value}"
                raise _differs(where, found, f"{what} = {getattr(rule, what)}, as {name} has")


def _rule(seen: Seen, given: Given, layer: int, where: str) -> RouterRule:
    """The rule of one layer as far as the trace says it; how it scores stays unknown where it does not."""
    block = int(seen.blocks[layer]) if seen.blocks else layer
    experts = int(seen.experts[layer]) if seen.experts else given.experts
    if not experts:
        raise TraceError(
            f"{where}: nothing says how many experts a layer has",
            expected="their number, since experts that were never chosen leave no trace",
            do="name the model the trace is of, or give the number of experts",
        )
    if experts > LARGEST:
        raise _differs(where, f"layer {layer} with {experts} experts", f"at most {LARGEST}")
    more = {"score": "unknown", "module": f"block {block}"} | {
        name: values[layer] for name, values in seen.more.items()
    }
    try:
        k = int(seen.k[layer]) if seen.k else seen.slots
        return RouterRule(layer=layer, block=block, experts=experts, k=k, **more)
    except RecordError as error:
        raise TraceError(f"{where}: {error.found}", expected=error.expected, do="correct the trace") from error


def _differs(where: str, found: str, expected: str) -> TraceError:
    return TraceError(
        f"{where}: {found}", expected=expected, do="import it with the model it was recorded from, or without a model"
    )
