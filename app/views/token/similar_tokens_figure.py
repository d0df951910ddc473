"""The tokens that route like the pinned one: other words in the scope of a page, and the same word elsewhere."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.token.similarity import Near, SameWord, nearest_to, same_word
from gatescope.app.charts.context import quoted
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import Page
from gatescope.app.charts.places import row_of
from gatescope.app.charts.similarity import Href, near_figure, same_figure
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import Reading, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import Scope, Source, role_mask, select_routes

_found = MemoCache()


def near(page: Page, record: RoutingRecord, number: int, token: int, href: Href) -> Figure:
    """Other words that route like a token; `record` is its document, `number` that document's number."""
    pool, key = select_routes(page.source, page.scope), ("others", *page.source.key, page.scope, number, token)
    note(_call(page.source, page.scope, record, number, token, "nearest_to"))
    found = _found.get(key, lambda: _others(page, record, number, token))
    if not len(found.row_n):
        raise OptionError(
            "no other word among the tokens that count",
            expected="a text of several words",
            do="choose other tokens in the sidebar (nothing may have been generated), or release the slice",
        )
    return near_figure(pool, found, quoted(record, record.token_t[token]), href)


def same(page: Page, record: RoutingRecord, number: int, token: int, elsewhere: Source | None, href: Href) -> Figure:
    """The same word at other places of what counts, or of a corpus `elsewhere`."""
    source, scope = (page.source, page.scope) if elsewhere is None else (elsewhere, Scope())
    key = ("word", *source.key, scope, *page.source.key, number, token)
    found = _found.get(key, lambda: _word(source, scope, record, None if elsewhere else number, token))
    note(_call(source, scope, record, None if elsewhere else number, token, "same_word"))
    pool, word = select_routes(source, scope), quoted(record, record.token_t[token])
    if not len(found.row_n):
        raise OptionError(f"{word} only here", expected="the same word elsewhere", do="pin a word that comes again")
    corpus = elsewhere.name if elsewhere else ""
    return replace(same_figure(pool, found, word, href, corpus=corpus), of=source)


def _own(pool: RoutingRecord, scope: Scope, number: int | None, token: int) -> tuple[int | None, NDArray[np.bool_]]:
    """The document that the pinned token has in what is counted, and which row it is."""
    row = None if number is None else row_of(pool, scope, number, token)
    own_t = np.arange(pool.tokens) == (-1 if row is None else row)
    return (None if row is None else int(pool.document_t[row])), own_t


def _call(source: Source, scope: Scope, record: RoutingRecord, number: int | None, token: int, what: str) -> Reading:
    """How the tokens that go alike can be had without the page; `what` is the function."""
    pool = select_routes(source, scope)
    row = None if number is None else row_of(pool, scope, number, token)
    route, word = f"np.array({record.ids_tlk[token].tolist()}, np.{record.ids_tlk.dtype})", int(record.token_t[token])
    own = f"own_t = np.arange(record.tokens) == {-1 if row is None else row}"
    if what == "nearest_to":
        code = f"{own}\nfound = nearest_to(record, {route}, {word}, is_counted_t=is_counted_t & ~own_t)"
    else:
        document = None if row is None else int(pool.document_t[row])
        code = (
            f"{own}\nfound = same_word(\n    record, {route}, {word}, own_t=own_t, document={document}, "
            "is_counted_t=is_counted_t\n)"
        )
    imports = ("import numpy as np", f"from gatescope.analysis.token.similarity import {what}")
    return Reading(source=source, scope=scope, code=code, imports=imports)


def _others(page: Page, record: RoutingRecord, number: int, token: int) -> Near:
    pool = select_routes(page.source, page.scope)
    _, own_t = _own(pool, page.scope, number, token)
    is_counted_t = role_mask(pool, page.scope.facet) & ~own_t
    return nearest_to(pool, record.ids_tlk[token], int(record.token_t[token]), is_counted_t=is_counted_t)


def _word(source: Source, scope: Scope, record: RoutingRecord, number: int | None, token: int) -> SameWord:
    pool = select_routes(source, scope)
    document, own_t = _own(pool, scope, number, token)
    return same_word(
        pool,
        record.ids_tlk[token],
        int(record.token_t[token]),
        own_t=own_t,
        document=document,
        is_counted_t=role_mask(pool, scope.facet),
    )
