"""What keeping some experts of each layer takes in memory, and what is left to load for a token: bytes, never speed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gatescope.analysis.comparison.cache_spread import Depths, Loads, loads_per_token, lru_depths_by_document
from gatescope.app.charts.figure import Chart, Figure, Table
from gatescope.app.charts.formatting import bytes_words, percent
from gatescope.app.charts.lines import OTHER, add_stroke
from gatescope.app.charts.page import Page
from gatescope.app.charts.plots import NULL, A, add_line, plot
from gatescope.app.views.locality.reach_figure import BEST
from gatescope.routing.router import RouterRule
from gatescope.server.measures import LIVE_RESAMPLES, Reading, note
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import role_mask, select_routes

FORMATS = {"32 bits a weight": 4.0, "16 bits a weight": 2.0, "8 bits a weight": 1.0, "4 bits a weight": 0.5}
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
MATRICES = 3
POLICIES = ("lru", "mixed", "fixed", "best")
"""Weights of an expert in most models: gate, up and down, each as wide as the model times as wide as the expert."""

RESAMPLES = 5 * LIVE_RESAMPLES
BEYOND = (
    "Bytes are these rates times the size of the experts chosen above; "
    "gatescope.app.views.locality.cache_planner_figure has the sums."
)
COLUMNS = {
    name: (name.replace("_", " "), form)
    for form, names in (
        ("percent", ("served_used_last", "served_random_order", "served_fixed")),
        ("compact", ("bytes_an_expert", "bytes_a_token_loads")),
    )
    for name in names
}
"""Labels and formats of the table by layer."""
_depths = MemoCache()


class Plan(NamedTuple):
    """As many experts kept in each layer, and what that takes.

    memory   bytes of the kept experts; room: bytes of the experts that the running token uses in one layer
    whole    bytes of all routed experts
    """

    kept_l: NDArray[np.int64]
    size_l: NDArray[np.float64]
    memory: float
    room: float
    whole: float


def format_of(dtype: str) -> str:
    """The format a model was captured in; 16 bits where that is not one of ours.

    >>> format_of("float32"), format_of("bfloat16"), format_of("mxfp4")
    ('32 bits a weight', '16 bits a weight', '16 bits a weight')
    """
    size = _BYTES.get(dtype.removeprefix("torch."), 2.0)
    return next(name for name, bytes_each in FORMATS.items() if bytes_each == size)


def plan(rules: Sequence[RouterRule], weights_l: Sequence[int], bytes_each: float, kept: int) -> Plan:
    """What keeping so many experts in each layer takes, all of them where a layer has fewer."""
    experts_l = np.array([rule.experts for rule in rules])
    kept_l = np.minimum(kept, experts_l)
    size_l = np.array(weights_l, np.float64) * bytes_each
    room = max(rule.k * size for rule, size in zip(rules, size_l, strict=True))
    return Plan(kept_l, size_l, float(kept_l @ size_l), float(room), float(experts_l @ size_l))


def hits_at(rate_lb: NDArray[np.float64], kept_l: NDArray[np.int64]) -> NDArray[np.float64]:
    """The hit rate of each layer with as many kept; none is served by none.

    >>> hits_at(np.array([[0.25, 0.5], [0.5, 1.0]]), np.array([2, 0])).tolist()
    [0.5, 0.0]
    """
    rows = np.arange(len(rate_lb))
    return np.where(kept_l > 0, rate_lb[rows, np.maximum(kept_l, 1) - 1], 0.0)


def bytes_per_token(rate_lb: NDArray[np.float64], rules: Sequence[RouterRule], found: Plan) -> NDArray[np.float64]:
    """Bytes that each layer loads for a token: the k experts it asks for, less those that are served."""
    k_l = np.array([rule.k for rule in rules])
    return k_l * (1 - hits_at(rate_lb, found.kept_l)) * found.size_l


def order_part(rates: Mapping[str, NDArray[np.float64]], rules: Sequence[RouterRule], found: Plan) -> float:
    """Share of what keeping saves that is owed to the order of the tokens; NaN where nothing is saved."""
    nothing, lru, mixed = (
        float(bytes_per_token(rate_lb, rules, found).sum())
        for rate_lb in (np.zeros_like(rates["lru"]), rates["lru"], rates["mixed"])
    )
    return (mixed - lru) / (nothing - lru) if nothing > lru else float("nan")


def verdict(found: Plan, loads: Loads, order: float) -> str:
    """What a token loads, how sure that is, and what share of the saving the order of the tokens has."""
    if np.isnan(loads.mean):
        return "No token counts: nothing is asked for."
    kept = int(found.kept_l.max())
    ends = "" if np.isnan(loads.low) else f" (95 % interval {bytes_words(loads.low)} to {bytes_words(loads.high)})"
    saved = 1 - loads.mean / loads.asked if loads.asked else float("nan")
    sentence = (
        f"With {kept} experts kept in each layer, a token loads {bytes_words(loads.mean)} on average{ends} instead of "
        f"{bytes_words(loads.asked)}: {percent(saved)} less"
    )
    if loads.documents > 1:
        sentence += f"; one document in ten loads more than {bytes_words(loads.heavy)} a token"
    if np.isfinite(order):
        sentence += f"; {percent(order)} of the saving is owed to the order of the tokens"
    return f"{sentence}."


def plan_rows(
    found: Plan, rules: Sequence[RouterRule], names: Sequence[str], rates: Mapping[str, NDArray[np.float64]]
) -> pd.DataFrame:
    """One row for each layer; `rates` are hit rates (layers, sizes): lru, mixed (its null) and fixed."""
    rows: dict[str, object] = {
        "layer": names,
        "kept": found.kept_l,
        "of": [rule.experts for rule in rules],
        "served_used_last": hits_at(rates["lru"], found.kept_l),
        "served_random_order": hits_at(rates["mixed"], found.kept_l),
        "served_fixed": hits_at(rates["fixed"], found.kept_l),
        "bytes_an_expert": found.size_l,
        "bytes_a_token_loads": bytes_per_token(rates["lru"], rules, found),
    }
    return pd.DataFrame(rows)


def loads_frame(
    rules: Sequence[RouterRule],
    weights_l: Sequence[int],
    bytes_each: float,
    rates: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """Memory against bytes that a token loads, for every number kept and by policy."""
    most = max(rule.experts for rule in rules)
    rows = []
    for kept in range(most + 1):
        found = plan(rules, weights_l, bytes_each, kept)
        loads = {name: float(bytes_per_token(rate_lb, rules, found).sum()) for name, rate_lb in rates.items()}
        rows.append({"kept": kept, "memory": found.memory + found.room, **loads})
    return pd.DataFrame(rows)


def loads_table(frame: pd.DataFrame, kept: int, loads: Loads) -> pd.DataFrame:
    """What is drawn, by number kept; the chosen one has the interval of keeping those used last."""
    is_chosen = frame["kept"] == kept
    named = frame.rename(columns={"memory": "memory_bytes"} | {name: f"{name}_bytes" for name in POLICIES})
    ends = {"low": loads.low, "high": loads.high}
    return named.assign(is_chosen=is_chosen, **{name: np.where(is_chosen, end, np.nan) for name, end in ends.items()})


def loads_plot(frame: pd.DataFrame, kept: int) -> go.Figure:
    """What a token loads by the memory given, with the chosen memory marked."""
    unit = 1000.0 ** max(0, int(np.log10(max(frame["memory"].max(), 1)) // 3))
    named = bytes_words(unit).partition(" ")[2]
    x = frame["memory"].to_numpy() / unit
    shown = plot(f"memory for experts ({named})", f"loaded for a token ({named})")
    add_line(shown, x, frame["mixed"].to_numpy() / unit, name="used last, random order", ink=NULL)
    add_stroke(
        shown, x, frame["best"].to_numpy() / unit, name="best possible", ink=BEST, dash="longdash", symbol="triangle-up"
    )
    add_stroke(shown, x, frame["fixed"].to_numpy() / unit, name="fixed", ink=OTHER, dash="dash", symbol="diamond")
    add_line(shown, x, frame["lru"].to_numpy() / unit, name="used last (LRU)", ink=A)
    shown.add_vline(x=float(x[kept]), line={"color": NULL, "width": 1})
    shown.update_yaxes(rangemode="tozero")
    return shown


def plan_figure(page: Page, weights_l: tuple[int, ...], bytes_each: float, found: Plan) -> Figure:
    """What a token loads by the memory given, with what the chosen memory does."""
    rates, rules = _rates(page), page.source.record.layers
    loads = loads_per_token(_by_document(page), found.kept_l, found.size_l, resamples=RESAMPLES)
    note(_call_of(page, found))
    frame = loads_frame(rules, weights_l, bytes_each, rates)
    kept = int(found.kept_l.max())
    by_layer = Table(plan_rows(found, rules, page.layers, rates), COLUMNS, folded="Layer by layer")
    return Figure(
        key="plan",
        takeaway=verdict(found, loads, order_part(rates, rules, found)),
        population=page.population,
        unit="bytes of routed experts; shared experts and the rest of the model are not counted",
        null="dotted: the same documents with their tokens in random order",
        badge="observed",
        metric="lru_hit_rate",
        says=(
            ("Memory", f"the kept experts, and room for those the running token uses: {bytes_words(found.room)}"),
            ("A load", "an expert that is asked for and not kept; experts used last are kept"),
            ("Not this", "time. Whether loads can be hidden behind other work is not known from routing"),
        ),
        body=(Chart(loads_plot(frame, kept)), by_layer),
        frame=lambda: loads_table(frame, kept, loads),
        beyond=BEYOND,
    )


def _rates(page: Page) -> dict[str, NDArray[np.float64]]:
    """Hit rates by layer and size, of every policy that is drawn."""
    lru, best, fixed = (page.measure(name) for name in ("lru_hit_rate", "belady_hit_rate", "static_hit_rate"))
    mixed = np.full(lru.value.shape, np.nan) if lru.null is None else lru.null
    return {"lru": lru.value, "mixed": mixed, "fixed": fixed.value, "best": best.value}


def _call_of(page: Page, found: Plan) -> Reading:
    """How the loads of a token, with their interval, can be had without the page."""
    code = (
        "depths = lru_depths_by_document(record, is_counted_t)\n"
        f"kept_l, size_l = np.array({found.kept_l.tolist()}), np.array({np.asarray(found.size_l).tolist()})\n"
        f"loads = loads_per_token(depths, kept_l, size_l, resamples={RESAMPLES})"
    )
    imports = ("from gatescope.analysis.comparison.cache_spread import loads_per_token, lru_depths_by_document",)
    return Reading(source=page.source, scope=page.scope, code=code, imports=imports)


def _by_document(page: Page) -> Depths:
    record = select_routes(page.source, page.scope)
    return _depths.get(
        (*page.source.key, page.scope), lambda: lru_depths_by_document(record, role_mask(record, page.scope.facet))
    )
