"""How far a token's experts reach along a text, and how often a cache of some experts would have them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.claims.claims import HITS, experts_needed
from gatescope.analysis.registry import Result
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.formatting import layer_words, percent
from gatescope.app.charts.lines import OTHER, WORDS, add_stroke, label_at
from gatescope.app.charts.page import Page, measure_reference, population
from gatescope.app.charts.plots import NULL, A, B, add_line, plot
from gatescope.routing.errors import OptionError
from gatescope.routing.router import RouterRule

BEST = "#a3661a"
MEAN = "the mean over layers"
LABEL_PLACES = {
    "best": (0.13, -26, -34),
    "lfu": (0.56, 0, -34),
    "lru": (0.33, 52, 16),
    "fixed": (0.45, 16, 24),
    "chance": (0.75, 0, 30),
}
"""Where along the sizes each line is named, and how many pixels from there, so that the names do not meet."""
NAMES = {
    "lru": "used last (LRU)",
    "lfu": "used most often (LFU)",
    "fixed": "fixed",
    "best": "best possible",
    "mixed": "used last, tokens in random order",
    "chance": "chance, C / E",
}
MOST_LINKS, MOST_LAYERS = 48, 16


class Curves(NamedTuple):
    """Share of requests served by C = 1, 2 … E experts kept, by policy; and by knowing the next 16 tokens.

    `segment_x` are sizes, `segment`, `segment_low` and `segment_high` the rates there. `needed` is the share of the
    experts at hand of which `HITS` of the requests find theirs; NaN where all are too few.
    """

    by_policy: Mapping[str, NDArray[np.float64]]
    segment_x: NDArray[np.int64]
    segment: NDArray[np.float64]
    segment_low: NDArray[np.float64]
    segment_high: NDArray[np.float64]
    needed: float


def where(page: Page) -> str:
    """The layer that is looked at, in words."""
    return MEAN if page.view.layer is None else layer_words(page.layers[page.view.layer])


def overlap(page: Page) -> Figure:
    """Experts in common by distance."""
    found, layer = page.measure("overlap_decay"), page.view.layer
    other = measure_reference(page, "overlap_decay")
    beside = None if other is None else other[1]
    return Figure(
        key="overlap",
        takeaway=f"{where(page).capitalize()}: {overlap_takeaway(found, layer)}",
        population=population(page),
        unit="share of a token's experts",
        null="dotted: tokens of other documents of the same domain and language",
        badge="observed",
        metric="overlap_decay",
        body=(Chart(overlap_plot(found, layer, beside)),),
        frame=lambda: overlap_frame(found, page.layers, layer, beside),
        notes=found.warnings,
    )


def hits(page: Page, found: Curves, kept: int) -> Figure:
    """Hit rates by policy and size, with `kept` experts marked."""
    layer = page.view.layer
    return Figure(
        key="hits",
        takeaway=hits_takeaway(found, kept, where(page)),
        population=page.population,
        unit="share of requests for an expert",
        null="dotted: C of E, what an even router gives any fixed choice",
        badge="observed",
        metric="lru_hit_rate",
        says=(
            ("Used most often", "least often used in the document so far out first"),
            ("Fixed", "the experts that all other documents use most: nothing moves"),
            ("Best possible", "an oracle that knows the rest of the document (Belady)"),
            ("Knowing the next 16 tokens", "k, 2 k or 3 k experts by how often the next 16 tokens use them"),
        ),
        body=(Chart(hits_plot(found, kept), selects=("points",)),),
        frame=lambda: hits_frame(found),
        at={"layer": MEAN if layer is None else layer},
    )


def hit_curves(page: Page) -> Curves:
    """The rates of the layer that is looked at. Errors: OptionError where no token counts."""
    names = ("lru_hit_rate", "lfu_hit_rate", "belady_hit_rate", "static_hit_rate", "segment_cache_hits")
    lru, lfu, best, fixed, segment = (page.measure(name) for name in names)
    if not np.isfinite(lru.value).any():
        raise OptionError("no layer has requests", expected="tokens that count", do="choose other tokens")
    return curves(lru, lfu, best, fixed, segment, page.source.record.layers, page.view.layer)


def of_layer(values_lx: NDArray[np.float64], layer: int | None) -> NDArray[np.float64]:
    """One layer's values, or the mean over all layers where each has one."""
    values_x: NDArray[np.float64] = values_lx.mean(axis=0) if layer is None else values_lx[layer]
    return values_x


def overlap_takeaway(found: Result, layer: int | None) -> str:
    """How much neighbours share, how much tokens far apart do, and what other documents give."""
    value_b = of_layer(found.value, layer)
    if not np.isfinite(value_b).any():
        return "No document is long enough for two tokens to be held against each other."
    last = int(np.flatnonzero(np.isfinite(value_b))[-1])
    lags = found.labels["b"]
    sentence = f"A token shares {percent(float(value_b[0]))} of its experts with the next one"
    if last:
        sentence += f", {percent(float(value_b[last]))} with the one {lags[last]} on"
    beyond_b = np.full(len(value_b), np.nan) if found.null is None else value_b - of_layer(found.null, layer)
    if np.isnan(beyond_b[0]):
        return f"{sentence}. There is no other document of the same kind to hold it against."
    far = f" and {beyond_b[last]:+.3f} at distance {lags[last]}" * bool(last)
    return f"{sentence}. Beyond tokens of other documents of the same kind, that is {beyond_b[0]:+.3f}{far}."


def overlap_frame(found: Result, names: Sequence[str], layer: int | None, other: Result | None = None) -> pd.DataFrame:
    """One row for each distance of A, then of B: of one layer, or of the mean over layers, which has no interval."""
    rows = _overlap_rows(found, MEAN if layer is None else names[layer], layer, "A")
    if other is None or (layer is not None and layer >= len(other.value)):
        return rows
    return pd.concat([rows, _overlap_rows(other, rows["layer"].iloc[0], layer, "B")], ignore_index=True)


def _overlap_rows(found: Result, name: str, layer: int | None, whose: str) -> pd.DataFrame:
    rows: dict[str, object] = {"capture": whose, "layer": name, "distance": np.array(found.labels["b"], object)}
    for part in ("value", "null") if layer is None else ("value", "low", "high", "null"):
        values = getattr(found, part)
        if values is not None:
            rows[part] = of_layer(values, layer)
    return pd.DataFrame(rows)


def overlap_plot(found: Result, layer: int | None, other: Result | None = None) -> go.Figure:
    """Overlap by distance over that of other documents; an interval where one layer is shown; `other` is capture B."""
    shown = plot("distance in tokens", "share of the experts in common")
    lags = list(found.labels["b"])
    if found.null is not None:
        add_line(shown, lags, of_layer(found.null, layer), name="other documents of the same kind", ink=NULL)
    ends = {}
    if layer is not None and found.low is not None and found.high is not None:
        ends = {"low": found.low[layer], "high": found.high[layer]}
    add_line(shown, lags, of_layer(found.value, layer), name="A", ink=A, **ends)
    if other is not None and (layer is None or layer < len(other.value)):
        add_line(shown, list(other.labels["b"]), of_layer(other.value, layer), name="B", ink=B)
    shown.update_xaxes(type="category")
    shown.update_yaxes(tickformat=".0%")
    return shown


def curves(
    lru: Result,
    lfu: Result,
    best: Result,
    fixed: Result,
    segment: Result,
    rules: Sequence[RouterRule],
    layer: int | None,
) -> Curves:
    """The hit rates of one layer, or their mean over all of them."""
    even_lb = np.array([[min(size / rule.experts, 1.0) for size in range(1, lru.value.shape[1] + 1)] for rule in rules])
    even_lb[np.isnan(lru.value)] = np.nan
    by_policy = {"best": best.value, "lru": lru.value, "lfu": lfu.value, "fixed": fixed.value, "chance": even_lb}
    if lru.null is not None:
        by_policy["mixed"] = lru.null
    of = rules if layer is None else [rules[layer]]
    is_one_size = len({(rule.k, rule.experts) for rule in of}) == 1
    sizes = [min(times * of[0].k, of[0].experts) for times in range(1, segment.value.shape[1] + 1)]
    blank = np.full(segment.value.shape, np.nan)
    low, high = (blank if values is None or layer is None else values for values in (segment.low, segment.high))
    needed_l = np.fmin(experts_needed(lru.value), experts_needed(lfu.value))
    own_l = needed_l if layer is None else needed_l[[layer]]
    drawn, low_x, high_x = (
        of_layer(values, layer) if is_one_size else np.zeros(0) for values in (segment.value, low, high)
    )
    return Curves(
        by_policy={name: of_layer(values, layer) for name, values in by_policy.items()},
        segment_x=np.array(sizes if is_one_size else [], np.int64),
        segment=drawn,
        segment_low=low_x,
        segment_high=high_x,
        needed=float(own_l.sum() / sum(rule.experts for rule in of)),
    )


def hits_takeaway(found: Curves, kept: int, where: str) -> str:
    """What each policy serves with as many kept, and whether the order of the tokens has a part in it."""
    at = {name: float(rate_b[kept - 1]) for name, rate_b in found.by_policy.items()}
    if np.isnan(at["lru"]):
        return f"Not every layer has {kept} experts: choose a layer."
    sentence = (
        f"With {kept} experts kept ({where}), {percent(at['lru'])} of the requests find theirs among those used last"
    )
    if np.isfinite(at["fixed"]):
        sentence += f", {percent(at['fixed'])} if the most used of other documents are fixed"
    sentence += f", {percent(at['best'])} at best; an even router {percent(at['chance'])}."
    sentence += _will_it_do(found, kept)
    if "mixed" not in at or np.isnan(at["mixed"]):
        return sentence
    return f"{sentence} The order of the tokens adds {100 * (at['lru'] - at['mixed']):+.1f} points to those used last."


def _will_it_do(found: Curves, kept: int) -> str:
    """Whether so many are enough, by the bar that the claims about a model have."""
    is_enough = max(found.by_policy["lru"][kept - 1], found.by_policy["lfu"][kept - 1]) >= HITS
    if is_enough:
        return f" {kept} will do, if {percent(HITS)} are to find theirs."
    if np.isnan(found.needed):
        return f" {kept} will not do if {percent(HITS)} are to find theirs, and no number does in texts so short."
    return (
        f" {kept} will not do if {percent(HITS)} are to find theirs: that takes {percent(found.needed)} of all experts."
    )


def hits_frame(found: Curves) -> pd.DataFrame:
    """One row for each policy and size; what knows the next 16 tokens has its interval where one layer is shown."""
    parts = [
        pd.DataFrame({"policy": NAMES[name], "kept": np.arange(1, len(rate_b) + 1), "hits": rate_b})
        for name, rate_b in found.by_policy.items()
    ]
    rows = {"policy": "most used in the next 16 tokens", "kept": found.segment_x, "hits": found.segment}
    parts.append(pd.DataFrame(rows | {"low": found.segment_low, "high": found.segment_high}))
    return pd.concat(parts, ignore_index=True)


STROKES = {
    "best": (BEST, "longdash", "triangle-up"),
    "fixed": (OTHER, "dash", "diamond"),
    "lfu": (WORDS, "dashdot", "square"),
}


def hits_plot(found: Curves, kept: int) -> go.Figure:
    """Hit rates by size; every line is named where it runs, and the chosen size is marked."""
    size = len(found.by_policy["lru"])
    x = np.arange(1, size + 1)
    shown = plot("experts kept in a layer (C)", "requests served", height=420)
    for name in ("chance", "mixed"):
        if name in found.by_policy:
            add_line(shown, x, found.by_policy[name], name=NAMES[name], ink=NULL)
    shown.update_traces(selector={"name": NAMES["mixed"]}, line={"dash": "longdashdot", "width": 1})
    for name, (ink, dash, symbol) in STROKES.items():
        add_stroke(shown, x, found.by_policy[name], name=NAMES[name], ink=ink, dash=dash, symbol=symbol)
    add_line(shown, x, found.by_policy["lru"], name=NAMES["lru"], ink=A)
    _add_segment(shown, found)
    shown.update_traces(unselected={"marker": {"opacity": 1}}, selector={"mode": "lines+markers"})
    for name, (place, right, down) in LABEL_PLACES.items():
        at = min(size - 1, int(place * size))
        ink = {"lru": A, "chance": NULL}.get(name) or STROKES[name][0]
        label_at(shown, float(x[at]), float(found.by_policy[name][at]), NAMES[name], ink, right=right, down=down)
    shown.add_vline(x=kept, line={"color": NULL, "width": 1})
    shown.update_yaxes(range=[0, 1.12], tickformat=".0%")
    return shown


def _add_segment(shown: go.Figure, found: Curves) -> None:
    """What a cache could have that knows the next 16 tokens, as points with their intervals."""
    up, down = found.segment_high - found.segment, found.segment - found.segment_low
    ends = {"type": "data", "array": np.nan_to_num(up), "arrayminus": np.nan_to_num(down), "thickness": 1}
    shown.add_scatter(
        x=found.segment_x,
        y=np.asarray(found.segment, np.float32),
        mode="markers",
        name="knowing the next 16 tokens",
        error_y=ends,
        marker={"color": BEST, "size": 10, "symbol": "star-open"},
    )


def residents(load_e: NDArray[np.float64], kept: int) -> list[int]:
    """The most used experts of a layer, as many as are kept; of equals the one with the lower number.

    >>> residents(np.array([0.5, 2.0, 0.5, 1.0, np.nan]), 3)
    [1, 3, 0]
    """
    known = np.flatnonzero(np.isfinite(load_e))
    return [int(each) for each in known[np.lexsort((known, -load_e[known]))][:kept]]


def resident_html(rows: Sequence[tuple[str, Sequence[int], Sequence[str]]]) -> str:
    """Layers with the experts that would be kept, each a link; `rows` are names, experts and addresses."""
    shown = [f"<dt>{escape(name)}</dt><dd>{_links(experts, hrefs)}</dd>" for name, experts, hrefs in rows]
    return f"{_STYLE}<dl>{''.join(shown)}</dl>"


def _links(experts: Sequence[int], hrefs: Sequence[str]) -> str:
    links = [f'<a href="{escape(href)}">{expert}</a>' for expert, href in zip(experts, hrefs, strict=True)]
    more = len(links) - MOST_LINKS
    return " ".join(links[:MOST_LINKS]) + (f" and {more} more" if more > 0 else "")


_STYLE = """<style>
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; margin: 0; font-size: 0.875rem; }
dd { margin: 0; display: flex; flex-wrap: wrap; gap: 0.1rem 0.5rem; }
a { display: inline-block; min-width: 24px; min-height: 24px; font-variant-numeric: tabular-nums; }
</style>"""
