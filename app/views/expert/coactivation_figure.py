"""The experts around one expert: those that share its tokens, and those that come first before and after it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from gatescope.analysis.comparison.expert_flow import Flow, flows
from gatescope.analysis.metrics.pairs import ENOUGH
from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Figure, Html
from gatescope.app.charts.page import Page
from gatescope.app.charts.similarity import STYLE
from gatescope.app.views.expert.profile_figure import Chosen
from gatescope.app.views.expert.words_figure import population
from gatescope.routing.errors import OptionError
from gatescope.server.measures import call

PARTNERS = "Which experts work on the same tokens?"
FLOW = "Where do its tokens come from, and where do they go?"
SHOWN = 6
Href = Callable[[int, int | None], str]
"""The link of an expert by layer and number."""


def partners_frame(lift: Result, support: Result, layer: int, expert: int) -> pd.DataFrame:
    """A row for each other expert of the layer, the largest lift first."""
    frame = pd.DataFrame(
        {
            "expert": np.arange(lift.shape[2]),
            "lift": lift.layer(layer)[expert],
            "tokens": support.layer(layer)[expert],
            "by_chance": support.layer(layer, "null")[expert],
        }
    )
    return frame[np.isfinite(frame["lift"])].sort_values("lift", ascending=False, ignore_index=True)


def partners_figure(
    frame: pd.DataFrame, layer: int, population: str, href: Href, notes: Sequence[str] = (), *, are_some: bool = False
) -> Figure:
    """What is said around the partners; `are_some`: the results keep only the pairs of a layer furthest from chance.

    Errors: OptionError where there is no null, none has enough tokens, or none was kept.
    """
    known = frame[frame["by_chance"] >= ENOUGH]
    if known.empty and are_some:
        raise OptionError(
            "none of this expert's pairs is among those kept, which are furthest from chance in its layer",
            expected=f"one that is, and that chance would put together in {ENOUGH} tokens",
            do="choose another expert; the Pairs page shows the pairs that are kept",
        )
    if known.empty:
        raise OptionError(
            f"no pair in the results that chance would put together in {ENOUGH} tokens",
            expected="more tokens, and two experts a token or more",
            do="choose a corpus, release the slice, or choose a busier expert",
        )
    first, last = known.iloc[0], known.iloc[-1]
    most = "Of the pairs kept, those furthest from chance, most often" if are_some else "Most often"
    least = f"; least expert {last['expert']:.0f}, {last['lift']:.2f} times" if len(known) > 1 else ""
    return Figure(
        key="partners",
        takeaway=(
            f"{most} expert {first['expert']:.0f}: {first['tokens']:,.0f} tokens together, {first['lift']:.2f} "
            f"times what chance gives ({first['by_chance']:,.0f}){least}."
        ),
        population=population,
        unit="lift: tokens together over those that chance gives",
        null="1: a random choice of exactly k experts with these loads",
        badge="observed",
        metric="coactivation_lift",
        says=(
            ("Left out", f"experts that chance would put beside it in fewer than {ENOUGH} tokens; the table has them."),
            *(("Note", note) for note in notes),
        ),
        body=(Html(partners_html(frame, layer, href), "partners-html"),),
        frame=lambda: frame,
    )


def partners_html(frame: pd.DataFrame, layer: int, href: Href) -> str:
    """The experts it works with most and least."""
    known = frame[frame["by_chance"] >= ENOUGH]
    shown = known if len(known) <= 2 * SHOWN else pd.concat([known.head(SHOWN), known.tail(SHOWN)])
    most = float(shown["lift"].max())
    rows = "".join(_partner(row, layer, href, most) for row in shown.to_dict("records"))
    return (
        f'{STYLE}<div class="gs-rows" role="region" aria-label="Partners"><table><thead><tr><th scope="col">Expert</th>'
        '<th scope="col">Lift</th><th scope="col">Tokens together</th><th scope="col">By chance</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _partner(row: Mapping[str, Any], layer: int, href: Href, most: float) -> str:
    expert = int(row["expert"])
    width = 100 * row["lift"] / max(most, 1e-9)
    return (
        f'<tr><th scope="row"><a class="pick" href="{escape(href(layer, expert), quote=True)}">{expert}</a></th>'
        f'<td class="much">{row["lift"]:.2f} ×<span class="bar"><span style="width:{width:.0f}%"></span></span></td>'
        f"<td>{row['tokens']:,.0f}</td><td>{row['by_chance']:,.0f}</td></tr>"
    )


def flow_figure(before: Flow | None, after: Flow | None, population: str, href: Href) -> Figure:
    """What is said around before and after. Errors: OptionError where neither is known."""
    known = [(name, flow) for name, flow in (("come", before), ("go on", after)) if flow is not None]
    if not known:
        raise OptionError(
            "no token whose first choice it is, beside another layer",
            expected="a token that comes first to it",
            do="choose a busier expert",
        )
    sentences = [_flow_said(name, flow) for name, flow in known]
    tokens = known[0][1].tokens
    return Figure(
        key="flow",
        takeaway=f"Of the {tokens:,} tokens whose first choice it is, {'; '.join(sentences)}.",
        population=f"N = {tokens:,} tokens whose first choice it is, {population.removeprefix('N = ')} that it took",
        unit="share of those tokens, by first choice",
        null="the share of all tokens that had that first choice there",
        badge="observed",
        metric="transition_share",
        says=(
            ("Other", "all experts that are not named together: the shares add up to all tokens."),
            ("Not this", "a cause: much of it is that one word has its experts in both layers."),
        ),
        body=tuple(
            Html(flow_html(each, f"{name} {each.layer}", href), f"flow-{name}")
            for name, each in (("Before, layer", before), ("After, layer", after))
            if each is not None
        ),
        frame=lambda: flow_frame(before, after),
    )


def _flow_said(name: str, flow: Flow) -> str:
    where = "from" if name == "come" else "to"
    return (
        f"{flow.share_n[0]:.0%} {name} {where} expert {flow.expert_n[0]} of layer {flow.layer} "
        f"({flow.null_n[0]:.0%} of all tokens do) and {flow.other:.0%} {where} experts not named"
    )


def flow_html(flow: Flow, title: str, href: Href) -> str:
    """One side as a table with bars, the rest as other."""
    rows = "".join(
        _flow_row(
            f'<a class="pick" href="{escape(href(flow.layer, int(expert)), quote=True)}">{expert}</a>', share, null
        )
        for expert, share, null in zip(flow.expert_n, flow.share_n, flow.null_n, strict=True)
    )
    rows += _flow_row("other", flow.other, flow.other_null)
    return (
        f'{STYLE}<div class="gs-rows" role="region" aria-label="{escape(title)}"><table>'
        f'<thead><tr><th scope="col">{escape(title)}</th><th scope="col">Of its tokens</th>'
        f'<th scope="col">Of all</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _flow_row(name: str, share: float, null: float) -> str:
    return (
        f'<tr><th scope="row">{name}</th><td class="much">{share:.0%}<span class="bar">'
        f'<span style="width:{100 * share:.0f}%"></span></span></td><td>{null:.0%}</td></tr>'
    )


def flow_frame(before: Flow | None, after: Flow | None) -> pd.DataFrame:
    """Both sides' data; other has no number."""
    rows: list[tuple[str, int, int | None, float, float]] = []
    for side, flow in (("before", before), ("after", after)):
        if flow is not None:
            parts = zip(flow.expert_n.tolist(), flow.share_n.tolist(), flow.null_n.tolist(), strict=True)
            rows += [(side, flow.layer, expert, share, null) for expert, share, null in parts]
            rows.append((side, flow.layer, None, flow.other, flow.other_null))
    frame = pd.DataFrame(rows, columns=["side", "layer", "expert", "share", "share_of_all"])
    return frame.astype({"expert": "Int64"})


def partners(page: Page, chosen: Chosen, href: Href) -> Figure:
    """The experts that work on the same tokens."""
    lift, support = (page.measure(name) for name in ("coactivation_lift", "coactivation_support"))
    frame = partners_frame(lift, support, chosen.layer, chosen.expert)
    are_some = lift.places is not None
    notes = lift.warnings if are_some else ()
    figure = partners_figure(frame, chosen.layer, page.population, href, notes, are_some=are_some)
    return replace(figure, at=chosen.place)


def flow(page: Page, chosen: Chosen, href: Href) -> Figure:
    """The experts that come first before and after."""
    before, after = call(page.source, page.scope, flows, chosen.layer, chosen.expert, to="before, after")
    return replace(flow_figure(before, after, population(page, chosen), href), at=chosen.place)
