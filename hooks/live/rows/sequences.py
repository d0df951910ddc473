"""The documents of a recording while they grow: each a chain of rows, from pass to pass, that may branch or be cut."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.hooks.recording.sink import alike

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Link:
    """Rows of one pass that belong to one sequence, behind those of earlier passes.

    `slot_r` are their places in the row of the batch, counted from the beginning of the cache, padding included.
    """

    before: "Link | None"
    columns: Columns
    row_r: NDArray[np.intp]
    slot_r: NDArray[np.intp]

    @property
    def token_r(self) -> NDArray[np.int32]:
        """Token ids of these rows."""
        return self.columns["token_t"][self.row_r]

    def first(self, rows: int) -> "Link":
        """The link with only its first rows."""
        return Link(self.before, self.columns, self.row_r[:rows], self.slot_r[:rows])


def chain(end: Link | None) -> list[Link]:
    """The links up to `end`, first to last."""
    links = []
    while end is not None:
        links.append(end)
        end = end.before
    return links[::-1]


def cut(end: Link | None, slot: int) -> Link | None:
    """The chain up to a place: what stood there or behind it has been run again, or was rejected."""
    while end is not None and end.slot_r[0] >= slot:
        end = end.before
    if end is None or end.slot_r[-1] < slot:
        return end
    return end.first(int(np.searchsorted(end.slot_r, slot)))


def matching(end: Link | None, token_s: NDArray[np.integer], offset: int) -> Link | None:
    """The chain as far as its tokens are those of a sequence, whose place 0 is slot `offset`."""
    kept: Link | None = None
    for link in chain(end):
        same = _agreeing(link, token_s, offset)
        if same == len(link.row_r):
            kept = link
            continue
        return link.first(same) if same else kept
    return kept


def longest_match(links: Sequence[Link], token_s: NDArray[np.integer], offset: int) -> Link | None:
    """Of all branches, the one that agrees longest with a sequence, as far as it does. `links` come parents first."""
    reached: dict[Link | None, int] = {None: 0}
    best: tuple[int, Link | None] = (0, None)
    for link in links:
        if link.before not in reached:
            continue
        same = _agreeing(link, token_s, offset)
        total = reached[link.before] + same
        if same == len(link.row_r):
            reached[link] = total
        if same and total > best[0]:
            best = total, link.first(same)
    return best[1]


def _agreeing(link: Link, token_s: NDArray[np.integer], offset: int) -> int:
    """How many of a link's rows, from its first on, hold the tokens of a sequence."""
    place_r = link.slot_r - offset
    is_before_r, is_in_r = place_r < 0, place_r < len(token_s)
    same_r = is_before_r | (is_in_r & (token_s[place_r.clip(0, len(token_s) - 1)] == link.token_r))
    return len(same_r) if same_r.all() else int(same_r.argmin())


@dataclass(eq=False)
class Text:
    """One document under way. `base` is the position of its first row, above 0 where earlier ones were not recorded.

    `read` is the chain of what an encoder read for it. `id` names documents that are no texts.
    """

    end: Link | None = None
    base: int = 0
    read: Link | None = None
    id: str = ""

    @property
    def links(self) -> list[Link]:
        """All its rows, those of the encoder first."""
        return chain(self.read) + chain(self.end)

    def add(self, columns: Columns, row_r: NDArray[np.intp], slot_r: NDArray[np.intp]) -> None:
        """Rows of the pass that just ended; where their places were run before, they replace what stood there."""
        self.end = cut(self.end, int(slot_r[0]))
        self.end = Link(self.end, columns, row_r, slot_r)


def rows_of(texts: Iterable[Text]) -> Iterator[tuple[int, int, Link]]:
    """(document, position of the first row, link) for everything recorded, in the order of the record."""
    for document, text in enumerate(texts):
        for end, base in ((text.read, 0), (text.end, text.base)):
            position = base
            for link in chain(end):
                yield document, position, link
                position += len(link.row_r)


def gathered(texts: Sequence[Text]) -> Columns:
    """All columns of all documents, rows by document and position."""
    passes: dict[int, tuple[int, Columns]] = {}
    row, document, position, total = [], [], [], 0
    for number, first, link in rows_of(texts):
        key = id(link.columns)
        if key not in passes:
            passes[key] = total, link.columns
            total += len(link.columns["token_t"])
        row.append(link.row_r + passes[key][0])
        document.append(np.full(len(link.row_r), number))
        position.append(np.arange(first, first + len(link.row_r)))
    row_t = np.concatenate(row)
    each = alike([columns for _, columns in passes.values()])
    columns = {name: np.concatenate([one[name] for one in each])[row_t] for name in each[0]}
    columns["document_t"] = np.concatenate(document).astype(np.int32)
    columns["position_t"] = np.concatenate(position).astype(np.int32)
    return columns
