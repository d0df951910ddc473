"""Verdicts on popular claims as HTML and as a table. Every text in them is escaped."""

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

import pandas as pd

from gatescope.analysis.labels.verdict import Holds, Verdict

MARKS: dict[Holds, tuple[str, str]] = {
    "holds": ("✓", "yes"),
    "does not hold": ("✗", "no"),
    "not enough data": ("?", "open"),
    "does not apply": ("–", "none"),
}
"""Sign and style of each verdict; the word stands beside the sign."""

STYLE = """<style>
.claims { --faint: color-mix(in srgb, currentColor 16%, transparent); list-style: none; margin: 0; padding: 0;
  font: 400 .9375rem/1.5 var(--st-font); color: var(--st-text-color); }
.claims > li { display: grid; grid-template-columns: 10rem minmax(0, 1fr); gap: 0 1rem; margin: 0;
  padding: .7rem 0 .75rem; border-top: 1px solid var(--faint); }
.claims > li:first-child { border-top: 0; }
.claims p { margin: 0 0 .15rem; text-wrap: pretty; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.claims .said { font-weight: 600; }
.claims .chip { justify-self: start; align-self: start; border: 1.5px solid; border-radius: 1rem; padding: 0 .6rem;
  font-size: .8125rem; line-height: 1.5rem; white-space: nowrap; }
.claims .chip b { margin-right: .3rem; }
.claims .chip.yes { font-weight: 600; }
.claims .chip.open, .claims .chip.none { border-style: dashed; }
.claims .null::before { content: ""; display: inline-block; width: 1.2rem; border-top: 2px dotted;
  margin: 0 .4rem .25em 0; }
.claims .more { display: flex; flex-wrap: wrap; gap: 0 1.4rem; }
.claims details { font-size: .875rem; margin-top: .1rem; }
.claims summary { cursor: pointer; min-height: 24px; }
.claims summary:focus-visible { outline: 3px solid; outline-offset: 1px; }
.claims a { display: inline-block; min-height: 24px; }
@media (max-width: 640px) { .claims > li { grid-template-columns: minmax(0, 1fr); gap: .3rem; } }
</style>"""


def claims_list(verdicts: Sequence[Verdict], link: Callable[[Verdict], tuple[str, str] | None]) -> str:
    """Every claim with its verdict; `link` gives the address and the name of the page that shows why."""
    return f'{STYLE}<ul class="claims">{"".join(_item(verdict, link(verdict)) for verdict in verdicts)}</ul>'


def claims_takeaway(verdicts: Sequence[Verdict]) -> str:
    """How many hold, in a sentence.

    >>> claims_takeaway([])
    'Nothing was checked.'
    """
    number = Counter[str](verdict.holds for verdict in verdicts)
    said = [
        f"{number[holds]} {one if number[holds] == 1 else several}"
        for holds, one, several in (
            ("holds", "holds of this one", "hold of this one"),
            ("does not hold", "does not", "do not"),
            ("not enough data", "cannot be told yet", "cannot be told yet"),
            ("does not apply", "does not apply to it", "do not apply to it"),
        )
        if number[holds]
    ]
    return f"Of {number.total()} common claims, {', '.join(said)}." if said else "Nothing was checked."


def claims_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Every number behind the verdicts, one a row; a verdict without numbers has one row. Layer -1: the whole model."""
    rows = []
    for verdict in verdicts:
        about = {"claim": verdict.claim, "verdict": verdict.holds, "tokens": verdict.tokens}
        about |= {"documents": verdict.documents}
        rows += [about | row._asdict() for row in verdict.rows] or [about]
    columns = ["claim", "verdict", "measure", "layer", "value", "low", "high", "null", "q", "tokens", "documents"]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return frame.astype({"layer": "Int64", "claim": "category", "verdict": "category", "measure": "category"})


def _item(verdict: Verdict, link: tuple[str, str] | None) -> str:
    sign, style = MARKS[verdict.holds]
    chip = f'<span class="chip {style}"><b aria-hidden="true">{sign}</b>{verdict.holds}</span>'
    null = f'<p class="null">{escape(verdict.null)}</p>' if verdict.null else ""
    why = f'<a href="{escape(link[0])}">See why: {escape(link[1])}</a>' if link else ""
    bar = f"<details><summary>When would it hold?</summary><p>{escape(verdict.bar)}</p></details>"
    said = f'<p class="said">{escape(verdict.claim)}</p><p>{escape(verdict.figure)}</p>'
    return f'<li>{chip}<div>{said}{null}<div class="more">{why}{bar}</div></div></li>'
