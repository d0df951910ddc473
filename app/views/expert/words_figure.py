"""The words of one expert and the places where it worked: sentences, tables, data."""

from collections.abc import Callable
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.labels.expert_words import (
    LEAST,
    SURE,
    Contexts,
    ExpertWord,
    Kind,
    Vocabulary,
    contexts,
    uses,
    vocabulary,
    weight_of,
)
from gatescope.app.charts.card import visible
from gatescope.app.charts.context import context, quoted
from gatescope.app.charts.figure import Columns, Figure, Html
from gatescope.app.charts.page import Page
from gatescope.app.charts.similarity import STYLE, document_label
from gatescope.app.views.expert.profile_figure import Chosen
from gatescope.routing.errors import OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.measures import call
from gatescope.server.sources import role_mask, select_routes

WHICH = "Which words does it take?"
WHERE = "Where does it work?"
KINDS: dict[Kind, str] = {"read": "what it reads", "predicted": "what is predicted there", "next": "what came next"}
Href = Callable[[int], str]


def words_figure(record: RoutingRecord, found: Vocabulary, kind: Kind, population: str) -> Figure:
    """What is said around the table of words. Errors: OptionError where no word is common enough."""
    sure = [word for word in found.words if word.q < SURE]
    if not found.words:
        raise OptionError(
            f"no word with {LEAST} tokens that is commoner here than elsewhere",
            expected="words that come again",
            do="choose a corpus, or release the slice",
        )
    first = ", ".join(quoted(record, word.token) for word in found.words[:4])
    held = np.isfinite(found.lift)
    again = (
        f" In {found.documents:,} other documents its {len(sure)} surest words are {found.own:.0%} of its tokens and "
        f"{found.every:.0%} of all: {found.lift:.1f} times as many{_interval(found)}."
        if held and sure
        else " There are no other documents to see whether it holds."
        if not held
        else " None of them is sure."
    )
    return Figure(
        key="words",
        takeaway=f"By {KINDS[kind]}, its own are above all {first}.{again}",
        population=population,
        unit="lift: share of its tokens over share of all tokens",
        null=f"1: as common here as elsewhere; words with {LEAST} tokens or more in the half they were picked in",
        badge=_badge(found, sure),
        says=(
            ("Picked, held out", "words are picked in one half of the documents and counted anew in the other half."),
            (
                "z",
                "shrunken log-odds over their error, in the half they were picked in (Monroe, Colaresi, Quinn 2008).",
            ),
            ("q", "of that z over all words of the half, tokens taken for independent."),
            ("Interval", "over the documents of the other half."),
            ("Not this", "what the expert does with a word: only which words it is given."),
        ),
        body=(Html(words_html(record, found), "words-html"),),
        frame=lambda: words_frame(record, found),
    )


def _badge(found: Vocabulary, sure: list[ExpertWord]) -> str:
    if sure and found.low > 1:
        return "replicated"
    return "beyond null" if sure else "observed"


def _interval(found: Vocabulary) -> str:
    return f" (95 % interval {found.low:.1f} to {found.high:.1f})" if np.isfinite(found.low) else ""


def words_html(record: RoutingRecord, found: Vocabulary) -> str:
    """The table of words."""
    rows = "".join(_word(record, word) for word in found.words)
    heads = ("Word", "Lift", "Its tokens / all", "z, q", "Lift, held out", "Its tokens / all, held out")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'{STYLE}<div class="gs-rows numbers" role="region" aria-label="Words" tabindex="0" style="overflow-x:auto">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _word(record: RoutingRecord, word: ExpertWord) -> str:
    held = f"{word.held_lift:.1f} ×" if word.held_tokens else "–"
    return (
        f'<tr><th scope="row"><bdi>{visible(record.piece(word.token))}</bdi></th><td>{word.lift:.1f} ×</td>'
        f"<td>{word.here:,} / {word.tokens:,}</td><td>{word.z:.1f}, {q_said(word.q)}</td><td>{held}</td>"
        f"<td>{word.held_here:,} / {word.held_tokens:,}</td></tr>"
    )


def q_said(q: float) -> str:
    """A q as it is written.

    >>> q_said(0.0), q_said(0.012), q_said(0.3)
    ('< 0.001', '0.012', '0.3')
    """
    return "< 0.001" if q < 0.001 else f"{q:.2g}"


def words_frame(record: RoutingRecord, found: Vocabulary) -> pd.DataFrame:
    """The words' data."""
    frame = pd.DataFrame(found.words, columns=ExpertWord._fields).rename(columns={"token": "token_id"})
    return frame.assign(token=[record.piece(token) for token in frame["token_id"].tolist()])


def contexts_words(record: RoutingRecord, found: Contexts, known: Vocabulary | None, population: str) -> Figure:
    """What is said around the contexts: how many of those shown are of the words above."""
    own = {word.token for word in known.words if word.q < SURE} if known else set()
    random, top = (
        sum(int(record.token_t[row]) in own for row in row_n.tolist()) for row_n in (found.random_n, found.top_n)
    )
    held = "documents that its words were not picked from" if found.is_held_out else "the same text as its words"
    return Figure(
        key="contexts",
        takeaway=(
            f"Of {len(found.random_n)} tokens at random {random} {_are(random)} among the words above; of the "
            f"{len(found.top_n)} that it was given most weight for, {top}. Both are of {held}."
        ),
        population=population,
        badge="observed",
        says=(
            ("At random", "every token it worked on is as likely; always the same ones, so that a link shows them."),
            ("Most weight", "the largest combine weight, one token of each document: its loudest, not its usual work."),
            ("Not this", "a reading of the expert: what most weight shows is often not what it mostly does."),
        ),
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def contexts_html(
    record: RoutingRecord, row_n: NDArray[np.intp], layer: int, expert: int, href: Href, title: str
) -> str:
    """Some places with the text around them; the token leads to it."""
    weight_n = weight_of(record, layer, expert, row_n)
    rows = "".join(_place(record, row, weight, href) for row, weight in zip(row_n.tolist(), weight_n, strict=True))
    return (
        f'{STYLE}<div class="gs-rows" role="region" aria-label="{escape(title)}"><table>'
        f'<thead><tr><th scope="col">{escape(title)}</th><th scope="col">Weight</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _place(record: RoutingRecord, row: int, weight: float, href: Href) -> str:
    sentence = "–" if np.isnan(weight) else f"{weight:.2f}"
    link = escape(href(row), quote=True)
    return (
        f"<tr><td>{context(record, row)}<br><small>{escape(document_label(record, row))} · "
        f'<a href="{link}">Show in its text</a></small></td><td>{sentence}</td></tr>'
    )


def contexts_frame(record: RoutingRecord, found: Contexts, layer: int, expert: int) -> pd.DataFrame:
    """The places' data."""
    parts = []
    for name, row_n in (("random", found.random_n), ("most weight", found.top_n)):
        parts.append(
            pd.DataFrame(
                {
                    "picked": name,
                    "token": [record.piece(token) for token in record.token_t[row_n].tolist()],
                    "document": [document_label(record, row) for row in row_n.tolist()],
                    "position": record.position_t[row_n],
                    "weight": weight_of(record, layer, expert, row_n),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def words(page: Page, chosen: Chosen, kind: Kind) -> Figure:
    """The table of words, by what is read, predicted or came next."""
    record, found = select_routes(page.source, page.scope), _vocabulary(page, chosen, kind)
    return replace(words_figure(record, found, kind, population(page, chosen)), at=chosen.place)


def where(page: Page, chosen: Chosen, href: Href) -> Figure:
    """Contexts at random beside those of most weight."""
    record = select_routes(page.source, page.scope)
    found = call(page.source, page.scope, contexts, chosen.layer, chosen.expert)
    try:
        read = _vocabulary(page, chosen, "read")
    except OptionError:
        read = None
    shown = [
        Html(contexts_html(record, row_n, chosen.layer, chosen.expert, href, title), f"contexts-{title}")
        for title, row_n in (("At random", found.random_n), ("By weight", found.top_n))
    ]
    return replace(
        contexts_words(record, found, read, population(page, chosen)),
        body=(Columns(tuple(shown)),),
        frame=lambda: contexts_frame(record, found, chosen.layer, chosen.expert),
        at=chosen.place,
    )


def _vocabulary(page: Page, chosen: Chosen, kind: Kind) -> Vocabulary:
    return call(page.source, page.scope, vocabulary, chosen.layer, chosen.expert, kind, to=f"words_{kind}")


def population(page: Page, chosen: Chosen) -> str:
    """How many tokens the expert worked on, in words."""
    record = select_routes(page.source, page.scope)
    mask_t = role_mask(record, page.scope.facet)
    own = int(np.count_nonzero(uses(record, chosen.layer, chosen.expert) & mask_t))
    return f"N = {own:,} of {int(mask_t.sum()):,} tokens"
