"""What corpus-level metrics are computed from: sufficient statistics of records, taken in one pass, that add up.

A record is read once (`counting.tally`) and forgotten; two tallies `merge`. Whatever the order and however documents
are spread over records, machines or merges, the result is the same to the bit: statistics are whole numbers, added.
Memory is bounded: beyond `MOST_UNITS` documents, documents are folded into at most that many blocks by a hash of what
they are, which keeps them apart from one another as far as intervals and permutations need it.

A statistic is one decorated function (see `statistic`), and what metrics may read is what `STATISTICS` holds: it fills
as their files are imported, so whoever goes through it imports `analysis.counting`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.whole_numbers import added, narrow, narrow_sum
from gatescope.analysis.tally.layers import by_layer
from gatescope.routing import Flag, Provenance, RouterRule, RoutingRecord
from gatescope.routing.errors import OptionError, RecordError

MOST_UNITS = 1024
MOST_WAITING = 1 << 28
"""Bytes of tallies that wait to be merged."""
BLOCK = "block "
FIXED = 2.0**24
"""Weights are added as whole multiples of 1/FIXED, which every 16-bit float is: sums are exact in any order."""

Per = Literal["unit", "group", "facet"]


class TokenRole(IntEnum):
    """What kind of token; facets are never pooled unless a metric says so."""

    PROMPT = 0
    GENERATED = 1
    FORMAT = 2  # special and template tokens
    ENCODER = 3  # what an encoder read


class Group(NamedTuple):
    """Tokens that are counted together: one domain, one language, one facet. Empty labels are labels too."""

    domain: str
    language: str
    facet: TokenRole


class Unit(NamedTuple):
    """What is resampled: a document, or, in a large corpus, a block of documents of one domain and language."""

    key: str
    domain: str
    language: str
    documents: int


class Reading(NamedTuple):
    """One record as a statistic sees it.

    document_t, facet_t   of each token
    group_t               number of each token's group in `groups`
    start_d               where each document's tokens begin, and the end: (documents + 1,)
    memo                  what one statistic has found that another will ask for
    """

    record: RoutingRecord
    facet_t: NDArray[np.uint8]
    group_t: NDArray[np.intp]
    groups: tuple[Group, ...]
    start_d: NDArray[np.intp]
    memo: dict[str, Any]

    def weights_by_layer(self) -> NDArray[np.float16] | None:
        """The weights as (layers, tokens, slots), copied once for all that read them; None where there are none."""
        if "weights_by_layer" not in self.memo:
            weight_tlk = self.record.weight_tlk
            self.memo["weights_by_layer"] = None if weight_tlk is None else by_layer(weight_tlk)
        weight_ltk: NDArray[np.float16] | None = self.memo["weights_by_layer"]
        return weight_ltk


Take = Callable[[Reading], NDArray[np.integer] | None]


@dataclass(frozen=True)
class Statistic:
    """How one statistic is taken of a record; None where the record does not hold what it `needs`.

    The first axis of what `take` returns are the record's documents (`per` unit), its groups (`per` group), or its
    facets alone (`per` facet: a large table that no metric asks for by domain or language).
    `names_words`: ids of tokens can be read out of it, by which a text is known to who has the tokenizer.
    """

    name: str
    per: Per
    axes: str
    meaning: str
    take: Take
    needs: str
    names_words: bool


STATISTICS: dict[str, Statistic] = {}


def statistic(
    per: Per, axes: str, *, needs: str = "weights, scores or losses", names_words: bool = False
) -> Callable[[Take], Take]:
    """Declare a sufficient statistic: the function's name is its name, its first line its meaning."""

    def declare(take: Take) -> Take:
        name, meaning = take.__name__, (take.__doc__ or "").partition("\n")[0]
        STATISTICS[name] = Statistic(name, per, axes, meaning, take, needs, names_words)
        return take

    return declare


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Sufficient statistics of some documents.

    units       what is resampled and permuted, by key; axis 0 of every table in `by_unit`
    by_unit     tables of whole numbers, by statistic, as narrow as hold them: read them with `table`
    by_group    tables of whole numbers, by statistic and group, likewise: with `grouped` or `pooled`
    """

    layers: tuple[RouterRule, ...]
    provenance: Provenance
    units: tuple[Unit, ...]
    by_unit: Mapping[str, NDArray[np.integer]]
    by_group: Mapping[str, Mapping[Group, NDArray[np.integer]]]

    @property
    def documents(self) -> int:
        """Number of documents, however they were folded."""
        return sum(unit.documents for unit in self.units)

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""
        tables = [*self.by_unit.values(), *(table for each in self.by_group.values() for table in each.values())]
        return sum(table.nbytes for table in tables)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every group that any statistic has, in order."""
        return tuple(sorted({group for tables in self.by_group.values() for group in tables}))

    def table(self, name: str) -> NDArray[np.int64]:
        """One statistic over units. Errors: OptionError where no record held what it needs."""
        if name not in self.by_unit:
            raise _absent(name, self.by_unit)
        return self.by_unit[name].astype(np.int64, copy=False)

    def summed(self, name: str, facets: Sequence[TokenRole]) -> NDArray[np.int64]:
        """One statistic over units, some facets (its second axis) added up. Errors: as `table`.

        Wide numbers are made of the sums alone, and not of the whole table.
        """
        if name not in self.by_unit:
            raise _absent(name, self.by_unit)
        held = self.by_unit[name]
        return added([held[:, facet] for facet in facets], np.zeros((len(held), *held.shape[2:]), np.int64))

    def grouped(self, name: str) -> Iterator[tuple[Group, NDArray[np.int64]]]:
        """One statistic by group, in order. Errors: as `table`."""
        if name not in self.by_group:
            raise _absent(name, self.by_group)
        return ((group, table.astype(np.int64, copy=False)) for group, table in sorted(self.by_group[name].items()))

    def pooled(
        self, name: str, *, facets: Sequence[TokenRole] = (TokenRole.PROMPT, TokenRole.GENERATED)
    ) -> NDArray[np.int64]:
        """One statistic over groups, those of some facets added up. Errors: as `table`."""
        shape, tables = self._of_facets(name, facets)
        return added(tables, np.zeros(shape, np.int64))

    def pooled_by_layer(
        self, name: str, *, facets: Sequence[TokenRole] = (TokenRole.PROMPT, TokenRole.GENERATED)
    ) -> Iterator[NDArray[np.int64]]:
        """What `pooled` gives, layer by layer: for tables too large to be copied whole. Errors: as `table`."""
        shape, tables = self._of_facets(name, facets)
        return (added([table[at] for table in tables], np.zeros(shape[1:], np.int64)) for at in range(shape[0]))

    def _of_facets(self, name: str, facets: Sequence[TokenRole]) -> tuple[tuple[int, ...], list[NDArray[np.integer]]]:
        if name not in self.by_group:
            raise _absent(name, self.by_group)
        held = self.by_group[name]
        return next(iter(held.values())).shape, [table for group, table in held.items() if group.facet in facets]


def merge(one: Tally, other: Tally) -> Tally:
    """Both together. Associative and commutative. Errors: as `merge_all`."""
    return merge_all((one, other))


def merge_all(tallies: Sequence[Tally]) -> Tally:
    """All together, in any order and any grouping the same; much faster than one by one.

    Errors: RecordError when they are of different layers, or hold different statistics; OptionError for none.
    """
    if not tallies:
        raise OptionError("no tallies", expected="at least one", do="tally a record first")
    first = tallies[0]
    for other in tallies[1:]:
        for what in ("layers", "provenance"):
            if getattr(first, what) != getattr(other, what):
                raise _differ(f"different {what}")
        if set(first.by_unit) != set(other.by_unit) or set(first.by_group) != set(other.by_group):
            raise _differ("different statistics")
    units, row_u = _placed([unit for each in tallies for unit in each.units])
    row_tu = np.split(row_u, np.cumsum([len(each.units) for each in tallies])[:-1])
    return replace(
        first,
        units=units,
        by_unit={
            name: _gathered([each.by_unit[name] for each in tallies], row_tu, len(units)) for name in first.by_unit
        },
        by_group={name: _added([each.by_group[name] for each in tallies]) for name in first.by_group},
    )


def should_merge(tallies: Sequence[Tally], most: int) -> bool:
    """Whether to merge tallies that come one by one before the next: there are `most` of them, or they are large."""
    return len(tallies) >= most or (len(tallies) > 1 and sum(each.nbytes for each in tallies) > MOST_WAITING)


def token_roles(record: RoutingRecord) -> NDArray[np.uint8]:
    """The facet that each token is counted under."""
    facet_t = np.full(record.tokens, TokenRole.PROMPT, np.uint8)
    facet_t[record.flag_t & Flag.GENERATED > 0] = TokenRole.GENERATED
    facet_t[record.flag_t & (Flag.SPECIAL | Flag.TEMPLATE) > 0] = TokenRole.FORMAT
    facet_t[record.flag_t & Flag.ENCODER > 0] = TokenRole.ENCODER
    return facet_t


def _placed(units: Sequence[Unit]) -> tuple[tuple[Unit, ...], NDArray[np.intp]]:
    """Units as a tally holds them, in order of their keys, and the place of each that is given.

    Up to MOST_UNITS documents stand for themselves. More are added up in blocks of one domain and language, by a hash
    of what they are. There are a power of two of hashes, as many as leave MOST_UNITS blocks or fewer, so that blocks
    merge into larger ones and no order of merging shows.
    """
    row_u = np.empty(len(units), np.intp)
    if sum(unit.documents for unit in units) <= MOST_UNITS:
        order = sorted(range(len(units)), key=units.__getitem__)
        row_u[order] = np.arange(len(units))
        return tuple(units[at] for at in order), row_u
    number_u = [_hash(unit) for unit in units]
    hashes = min(1 << MOST_UNITS.bit_length() - 1, *(_hashes(unit) for unit in units))
    while True:
        named = [
            (f"{BLOCK}{number % hashes:06x} of {hashes:06x}", *unit[1:3])
            for number, unit in zip(number_u, units, strict=True)
        ]
        blocks = {block: at for at, block in enumerate(sorted(set(named)))}
        if len(blocks) <= MOST_UNITS or hashes == 1:
            break
        hashes //= 2
    row_u[:] = [blocks[block] for block in named]
    documents = np.zeros(len(blocks), np.int64)
    np.add.at(documents, row_u, [unit.documents for unit in units])
    return tuple(Unit(*block, documents=count) for block, count in zip(blocks, documents.tolist(), strict=True)), row_u


def _hash(unit: Unit) -> int:
    """Of a document, or what all documents of a block have in common of theirs."""
    return int(unit.key[6:12] if unit.key.startswith(BLOCK) else unit.key[:6], 16)


def _hashes(unit: Unit) -> int:
    """How many hashes a unit tells apart."""
    return int(unit.key[-6:], 16) if unit.key.startswith(BLOCK) else 1 << 24


def _gathered(
    tables: Sequence[NDArray[np.integer]], rows: Sequence[NDArray[np.intp]], size: int
) -> NDArray[np.integer]:
    """One table over units, out of several: rows that nothing is added to are as narrow as they were."""
    often_u = np.bincount(np.concatenate(rows), minlength=size)
    if often_u.max(initial=0) <= 1 and all(table.dtype.kind == "u" for table in tables):
        whole = np.zeros((size, *tables[0].shape[1:]), max((table.dtype for table in tables), key=lambda k: k.itemsize))
        for table, row_u in zip(tables, rows, strict=True):
            whole[row_u] = table
        return whole
    most = max(int(table.max(initial=0)) for table in tables) * int(often_u.max(initial=0))
    is_small = most <= np.iinfo(np.uint32).max and all(table.dtype.kind == "u" for table in tables)
    whole = np.zeros((size, *tables[0].shape[1:]), np.uint32 if is_small else np.int64)
    for table, row_u in zip(tables, rows, strict=True):
        for own, row in zip(table, row_u.tolist(), strict=True):
            whole[row] += own
    return narrow(whole)


def _added(parts: Sequence[Mapping[Group, NDArray[np.integer]]]) -> dict[Group, NDArray[np.integer]]:
    """Tables by group added up, one group at a time."""
    groups = sorted({group for tables in parts for group in tables})
    return {group: narrow_sum([tables[group] for tables in parts if group in tables]) for group in groups}


def _absent(name: str, held: Mapping[str, Any]) -> OptionError:
    return OptionError(
        f"no statistic {name!r} in this tally (it has {', '.join(held) or 'none'})",
        expected="a statistic that was taken, of records that hold what it needs",
        do="capture again with what it needs (weights, scores or losses)",
    )


def _differ(found: str) -> RecordError:
    return RecordError(f"tallies of {found}", expected="the same in both", do="merge tallies of one model, taken alike")


def label_numbers(values: Sequence[str]) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Labels as numbers, -1 for an empty one, and their names in order.

    >>> numbers, names = label_numbers(["law", "", "code", "law"])
    >>> numbers.tolist(), names
    ([1, -1, 0, 1], ('code', 'law'))
    """
    names = tuple(sorted({value for value in values if value}))
    place = {name: at for at, name in enumerate(names)}
    return np.array([place.get(value, -1) for value in values], np.intp), names
