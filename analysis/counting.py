"""A record counted: every statistic that a metric declares, taken of it in one pass."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import gatescope.analysis.metrics  # noqa: F401  # declares the statistics
from gatescope.analysis.statistics.whole_numbers import narrow
from gatescope.analysis.tally.tally import STATISTICS, Group, Reading, Tally, TokenRole, Unit, merge_all, token_roles
from gatescope.routing import Provenance, RoutingRecord
from gatescope.routing.errors import OptionError


def tally(record: RoutingRecord, *, only: Sequence[str] | None = None) -> Tally:
    """Everything that metrics need of one record, or the statistics named in `only`.

    Errors: OptionError for a name that is no statistic.
    """
    names = tuple(STATISTICS) if only is None else tuple(only)
    unknown = [name for name in names if name not in STATISTICS]
    if unknown:
        raise OptionError(f"the statistics {unknown}", expected=f"some of {list(STATISTICS)}", do="choose among those")
    reading = _reading(record)
    by_facet = _by_facet(reading)
    by_unit: dict[str, NDArray[np.integer]] = {}
    by_group: dict[str, dict[Group, NDArray[np.integer]]] = {}
    for name in names:
        own = by_facet if STATISTICS[name].per == "facet" else reading
        table = STATISTICS[name].take(own)
        if table is None:
            continue
        if STATISTICS[name].per == "unit":
            by_unit[name] = narrow(table)
        else:
            by_group[name] = dict(zip(own.groups, map(narrow, table), strict=True))
    whole = Tally(
        layers=record.layers,
        provenance=replace(record.provenance, options=_kept_options(record.provenance)),
        units=tuple(_unit(record, number, reading) for number in range(len(record.documents))),
        by_unit=by_unit,
        by_group=by_group,
    )
    return merge_all((whole,))


def strip_token_ids(tally: Tally) -> Tally:
    """The same without what ids of tokens can be read out of: what may leave a house that keeps its texts."""
    named = {name for name, each in STATISTICS.items() if each.names_words}
    return replace(
        tally,
        by_unit={name: table for name, table in tally.by_unit.items() if name not in named},
        by_group={name: tables for name, tables in tally.by_group.items() if name not in named},
    )


def _kept_options(made: Provenance) -> dict[str, str | int | float | bool | None]:
    """Of the options only the intervention: routes that were changed and a model's own are never counted together."""
    return {"intervention": made.intervention} if made.intervention else {}


def _reading(record: RoutingRecord) -> Reading:
    facet_t = token_roles(record)
    labels = sorted({(document.domain, document.language) for document in record.documents})
    label_d = np.array([labels.index((d.domain, d.language)) for d in record.documents], np.intp)
    code_t = label_d[record.document_t] * len(TokenRole) + facet_t if record.tokens else np.zeros(0, np.intp)
    present, group_t = np.unique(code_t, return_inverse=True)
    groups = tuple(
        Group(domain, language, TokenRole(code % len(TokenRole)))
        for code in present.tolist()
        for domain, language in [labels[code // len(TokenRole)]]
    )
    start_d = np.searchsorted(record.document_t, np.arange(len(record.documents) + 1))
    return Reading(record, facet_t, group_t, groups, start_d, {})


def _by_facet(reading: Reading) -> Reading:
    """The same without labels: groups are facets."""
    facets, group_t = np.unique(reading.facet_t, return_inverse=True)
    return reading._replace(group_t=group_t, groups=tuple(Group("", "", TokenRole(facet)) for facet in facets.tolist()))


def _unit(record: RoutingRecord, number: int, reading: Reading) -> Unit:
    """A document under a key that is the same wherever it is read, and does not give its text away."""
    document, rows = record.documents[number], slice(reading.start_d[number], reading.start_d[number + 1])
    digest = hashlib.blake2b(f"{document.source}\0{document.id}\0".encode(), digest_size=12)
    digest.update(np.ascontiguousarray(record.token_t[rows]).tobytes())
    told_apart = _checksum(record.ids_tlk[rows]).hex()  # behind the digest: names of experts do not order documents
    return Unit(f"{digest.hexdigest()} {told_apart}", document.domain, document.language, 1)


def _checksum(ids_tlk: NDArray[np.unsignedinteger]) -> bytes:
    """A few bytes that differ, as good as always, where routes do; much faster than a digest of them."""
    raw = np.ascontiguousarray(ids_tlk).reshape(-1).view(np.uint8)
    whole = len(raw) - len(raw) % 8
    total: np.uint64 = np.add.reduce(raw[:whole].view(np.uint64), dtype=np.uint64)
    return total.tobytes() + raw[whole:].tobytes()
