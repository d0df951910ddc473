"""What lies behind a cell of experts × groups, as HTML: how much, which documents, which words."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.evidence import DocumentUse, WordParts
from gatescope.analysis.registry import Result
from gatescope.app.charts.card import visible
from gatescope.app.charts.formatting import chance_words, percent
from gatescope.routing.record import Document, RoutingRecord

SHOWN = 5
WORDS_SHOWN = 10
LEAST_TOKENS = 20
"""Documents shorter than this are not among the top ones: a share of three tokens is an accident."""
LETTERS = 80

STYLE = """<style>
h3 { font-size: 1rem; margin: 0 0 0.4rem; font-weight: 600; }
h4 { font-size: 0.875rem; margin: 0.8rem 0 0.3rem; font-weight: 600; }
p, li, td, th { font-size: 0.875rem; }
p { margin: 0 0 0.3rem; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: 0 1.5rem; }
ol, ul { margin: 0; padding: 0; list-style: none; }
li { padding: 0.2rem 0; overflow-wrap: anywhere; }
li a { display: inline-block; min-height: 24px; }
b { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: right; padding: 0.15rem 0.7rem 0.15rem 0; font-weight: 400; white-space: nowrap; }
th { opacity: 0.8; } td { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
i { font-style: normal; opacity: 0.75; }
</style>"""


class Cell(NamedTuple):
    """One cell: which, and how much of a group's tokens use the expert, with what chance makes of it."""

    layer: int
    expert: int
    group: str
    share: float
    low: float
    high: float
    difference: float
    q: float

    @property
    def others(self) -> float:
        """Share of all other documents' tokens that use the expert."""
        return self.share - self.difference


def cell_of(difference: Result, share: Result, layer: int, expert: int, group: int) -> Cell:
    """The numbers of one cell."""

    def at(values: NDArray[np.float64] | None) -> float:
        return float("nan") if values is None else float(values[group, layer, expert])

    ends = at(share.value), at(share.low), at(share.high)
    return Cell(layer, expert, difference.groups[group], *ends, at(difference.value), at(difference.q))


def cell_sentence(cell: Cell) -> str:
    """How much, with its interval and q."""
    ends = "" if np.isnan(cell.low) else f" (95 % interval {percent(cell.low)} to {percent(cell.high)})"
    return (
        f"{percent(cell.share)} of the tokens of {cell.group} use it{ends}, {percent(cell.others)} of all others: "
        f"{cell.difference:+.3f}, {chance_words('q', cell.q)}."
    )


def parts_sentence(parts: WordParts) -> str:
    """How much of the difference is which words are used, and how much is the expert's choice at the same word."""
    words, choice = float(parts.by_words_x.sum()), float(parts.by_choice_x.sum())
    return (
        f"Of {words + choice:+.3f}, {words:+.3f} come from which words are used, and {choice:+.3f} from the expert "
        "taking the same words more or less often."
    )


def top_documents(use: DocumentUse, in_group_d: NDArray[np.bool_]) -> list[int]:
    """The group's documents with the largest share of tokens that use the expert; short ones come last."""
    own = np.flatnonzero(in_group_d & (use.tokens_d > 0))
    share, is_short = use.share_d[own], use.tokens_d[own] < LEAST_TOKENS
    return [int(each) for each in own[np.lexsort((own, -share, is_short))][:SHOWN]]


def random_documents(use: DocumentUse, in_group_d: NDArray[np.bool_], top: Sequence[int]) -> list[int]:
    """Documents of the group drawn at random, always the same ones, none of them among the top."""
    own = np.setdiff1d(np.flatnonzero(in_group_d & (use.tokens_d > 0)), np.asarray(top, np.int64))
    drawn = np.random.default_rng(0).permutation(own)[:SHOWN]
    return [int(each) for each in drawn]


def document_list(
    numbers: Sequence[int], use: DocumentUse, documents: Sequence[Document], href: Callable[[int], str]
) -> str:
    """Documents with how much of each uses the expert; each leads to its text."""
    rows = []
    for number in numbers:
        name = escape(_begins(documents[number]) or f"document {number}")
        count = f"{use.here_d[number]:,} of {use.tokens_d[number]:,} tokens"
        rows.append(
            f'<li><b>{percent(float(use.share_d[number]))}</b> <a href="{escape(href(number))}"><bdi>{name}</bdi></a> '
            f"<i>{count}</i></li>"
        )
    return f"<ul>{''.join(rows)}</ul>" if rows else "<p>None.</p>"


def word_table(parts: WordParts, record: RoutingRecord, group: str) -> str:
    """The words that add most to the difference."""
    rows = []
    for at in range(min(WORDS_SHOWN, len(parts.id_x))):
        if not parts.part_x[at] > 0:
            break
        word = visible(record.piece(int(parts.id_x[at])))
        rows.append(
            f"<tr><td><bdi>{word}</bdi></td><td>{parts.part_x[at]:+.4f}</td>"
            f"<td>{parts.here_x[at]:,} of {parts.tokens_x[at]:,}</td>"
            f"<td>{parts.others_here_x[at]:,} of {parts.others_x[at]:,}</td></tr>"
        )
    if not rows:
        return "<p>No word adds to it.</p>"
    head = f"<th>word</th><th>adds</th><th>taken in <bdi>{escape(group)}</bdi></th><th>taken elsewhere</th>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def behind_html(
    cell: Cell, parts: WordParts, *, layer_name: str, expert_href: str, tops: str, random: str, words: str
) -> str:
    """The whole panel; `tops`, `random` and `words` are HTML."""
    title = f'<a href="{escape(expert_href)}">Expert {cell.expert}</a> of layer {escape(layer_name)}, and '
    return (
        f"{STYLE}<h3>{title}<bdi>{escape(cell.group)}</bdi></h3>"
        f"<p>{escape(cell_sentence(cell))}</p><p>{escape(parts_sentence(parts))}</p>"
        f'<div class="side"><div><h4>Documents that use it most</h4>{tops}</div>'
        f"<div><h4>Documents drawn at random</h4>{random}</div>"
        f"<div><h4>Words that add most</h4>{words}</div></div>"
    )


def _begins(document: Document) -> str:
    """A document's first words, else its id."""
    text = " ".join(document.text[: 4 * LETTERS].split()) or document.id
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
