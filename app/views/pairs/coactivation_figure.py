"""Which experts of a layer share tokens: the lift as a matrix in some order, and one pair of it in words."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis.comparison.pair_evidence import (
    FEWEST,
    PairTest,
    cluster_order,
    excess_share,
    expected_of,
    pair_test,
)
from gatescope.analysis.registry import METRICS, Result
from gatescope.app.charts.depth import number
from gatescope.app.charts.figure import Figure, Matrix, Text
from gatescope.app.charts.page import Page, headline
from gatescope.app.components import Pick, Scale
from gatescope.routing.errors import OptionError
from gatescope.routing.router import RouterRule
from gatescope.server.measures import Reading, note, noting
from gatescope.server.memo_cache import MemoCache
from gatescope.server.sources import role_mask, select_routes

Order = Literal["clustered", "by number"]
ORDERS: tuple[Order, ...] = ("clustered", "by number")
_SUPPORT_NULL = "coactivation_support.null[{layer}]"
_TESTS = MemoCache()
"""Tests of a layer's pairs, by source, scope and layer."""
ENOUGH = 50
"""Tokens a pair should be expected in by chance before its lift is read."""
LEVEL = 0.05
LEAST_REACH = 2.0
"""The colours reach at least from a quarter of chance to four times chance."""


class Pair(NamedTuple):
    """Two experts of a layer."""

    one: int
    two: int


class LayerPairs(NamedTuple):
    """The pairs of one layer's own experts; NaN on the diagonal and where nothing is known."""

    rule: RouterRule
    lift_ef: NDArray[np.float64]
    support_ef: NDArray[np.float64]
    expected_ef: NDArray[np.float64]
    test: PairTest

    @property
    def are_all(self) -> bool:
        """Whether every pair is known, rather than those furthest from chance."""
        return bool((np.isfinite(self.support_ef) | np.eye(len(self.support_ef), dtype=bool)).all())

    @property
    def sure_ef(self) -> NDArray[np.bool_]:
        """Pairs beyond chance with enough support."""
        return (self.test.q_ef <= LEVEL) & (self.expected_ef >= ENOUGH)


def layer_pairs(lift: Result, support: Result, test: PairTest, rule: RouterRule) -> LayerPairs:
    """What is known of one layer. Errors: OptionError where it has no pairs, or no null."""
    own = (slice(rule.experts), slice(rule.experts))
    lift_ef = lift.layer(rule.layer)[own]
    if not np.isfinite(lift_ef).any() or support.null is None:
        raise OptionError(
            f"layer {rule.layer} has no pairs to hold against chance",
            expected="tokens with two experts and more, as many for each",
            do="choose another layer, or other tokens in the sidebar",
        )
    z_ef, p_ef, q_ef = (part[: rule.experts, : rule.experts] for part in (test.z_ef, test.p_ef, test.q_ef))
    tested = PairTest(z_ef, p_ef, q_ef, test.documents)
    support_ef, expected_ef = (support.layer(rule.layer, what)[own] for what in ("value", "null"))
    return LayerPairs(rule, lift_ef, support_ef, expected_ef, tested)


def strangest_layer(support: Result) -> int:
    """The layer with the largest share of pairs beyond what chance puts together; the first where none is known.

    Where only some pairs are kept, it is the one in which they are beyond it in the most tokens.
    """
    null = np.full_like(support.value, np.nan) if support.null is None else support.null
    if support.places is not None:
        beyond = np.nan_to_num(np.clip(support.value - null, 0, None))
        return int(np.argmax(np.bincount(support.places[:, 0], beyond, minlength=support.shape[0])))
    excess_l = excess_share(support.value, null)
    return int(np.nanargmax(excess_l)) if np.isfinite(excess_l).any() else 0


class LiftGrid(NamedTuple):
    """The matrix as drawn: `order` gives the expert of each row and column."""

    order: NDArray[np.intp]
    values_rc: NDArray[np.float64]
    faded_rc: NDArray[np.bool_]
    faded_says: str
    scale: Scale


def lift_grid(pairs: LayerPairs, order: Order) -> LiftGrid:
    """The lift as doublings over chance. A pair that never meets lies beyond the lower end of the colours."""
    experts = np.arange(len(pairs.lift_ef)) if order == "by number" else cluster_order(pairs.lift_ef)
    with np.errstate(divide="ignore"):
        doublings_ef = np.log2(pairs.lift_ef)
    finite_ef = np.where(np.isfinite(doublings_ef), doublings_ef, np.nan)
    reach = max(LEAST_REACH, float(np.fmax.reduce(finite_ef, axis=None, initial=0.0)))
    scale = Scale(
        "lift", low=-reach, high=reach, null=0.0, palette="diverging", pool="far", unit="doublings over chance"
    )
    values_ef = np.where(np.isneginf(doublings_ef), -2 * reach, doublings_ef)
    at = np.ix_(experts, experts)
    return LiftGrid(experts, values_ef[at], (np.isfinite(values_ef) & ~pairs.sure_ef)[at], faded_words(pairs), scale)


def faded_words(pairs: LayerPairs) -> str:
    """Why cells are faint."""
    if pairs.test.documents < FEWEST:
        return f"not tested: that needs {FEWEST} documents"
    return f"not beyond chance (q above {LEVEL:g}), or expected in fewer than {ENOUGH} tokens"


def order_words(order: Order) -> str:
    """The order of rows and columns in words."""
    if order == "by number":
        return "Experts stand in the order of their numbers, which means nothing."
    return (
        "Experts that meet more often than chance stand next to each other: leaves of a tree by average linkage, the "
        "nearer the larger the lift. Clusters are drawn from these very pairs, so that blocks show even in noise."
    )


def strongest_pair(pairs: LayerPairs) -> tuple[int, int]:
    """The pair with the largest lift of those that are sure; of those with support; else the most frequent one."""
    supported_ef = np.where(pairs.expected_ef >= ENOUGH, pairs.lift_ef, np.nan)
    for known_ef in (np.where(pairs.sure_ef, pairs.lift_ef, np.nan), supported_ef, pairs.support_ef):
        if np.isfinite(known_ef).any():
            one, two = np.unravel_index(np.nanargmax(known_ef), known_ef.shape)
            return int(one), int(two)
    raise OptionError("no pair that is known", expected="pairs of experts", do="choose another layer")


def partners(pairs: LayerPairs, expert: int) -> list[int]:
    """The other experts by lift, those that are sure first, those without a known lift last."""
    lift_f, sure_f = np.nan_to_num(pairs.lift_ef[expert], nan=-1.0), pairs.sure_ef[expert]
    order = np.lexsort((-lift_f, ~(sure_f & (lift_f > 1))))
    return [int(other) for other in order if other != expert]


def lift_name(pairs: LayerPairs, expert: int, other: int) -> str:
    """A partner by number, with its lift where that is known."""
    lift = pairs.lift_ef[expert, other]
    return f"{other} · {lift:.2g}×" if np.isfinite(lift) else str(other)


def lift_takeaway(pairs: LayerPairs, layer: str) -> str:
    """How many pairs lie beyond chance, how much that is, and the pair furthest from it to either side."""
    sentence = _how_far(pairs, layer)
    sure_ef = pairs.sure_ef
    if not sure_ef.any():
        return f"{sentence} No pair is beyond chance with enough support."
    tested = int(np.count_nonzero(np.triu(np.isfinite(pairs.test.q_ef + pairs.support_ef), 1)))
    above, below = (int(np.count_nonzero(np.triu(sure_ef & side, 1))) for side in _sides(pairs))
    one, two = strongest_pair(pairs)
    return (
        f"{sentence} Of {tested:,} pairs {above:,} meet more and {below:,} less than by chance; "
        f"most of all experts {one} "
        f"and {two}, {number(pairs.lift_ef[one, two])} times chance."
    )


def _how_far(pairs: LayerPairs, layer: str) -> str:
    """How far all pairs together are from chance, or how many are known where not all are."""
    if pairs.are_all:
        excess = 100 * float(excess_share(pairs.support_ef[None], pairs.expected_ef[None])[0])
        return (
            f"Layer {layer}: {excess:.0f} % of the times two experts work on the same token, it is another pair than "
            "chance would have put together."
        )
    kept, every = int(np.count_nonzero(np.isfinite(pairs.support_ef))) // 2, math.comb(len(pairs.support_ef), 2)
    return f"Layer {layer}: kept are the {kept:,} of its {every:,} pairs that are furthest from chance."


def _sides(pairs: LayerPairs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return pairs.lift_ef > 1, pairs.lift_ef < 1


def pair_sentence(pairs: LayerPairs, one: int, two: int) -> str:
    """One pair: how often, how often by chance, and whether that is beyond it."""
    lift = pairs.lift_ef[one, two]
    if one != two and np.isnan(pairs.support_ef[one, two]):
        return f"Experts {one} and {two}: left out of the results, as one of the pairs nearest to chance."
    if not np.isfinite(lift):
        return f"Experts {one} and {two}: one of them took no token that counts."
    shared, expected = pairs.support_ef[one, two], pairs.expected_ef[one, two]
    plural = "" if shared == 1 else "s"
    chance = f"chance would give {number(expected)}: {number(lift)} times chance"
    sentence = f"Together in {shared:,.0f} token{plural}; {chance}."
    return f"{sentence} {_evidence(pairs, one, two)}"


def _evidence(pairs: LayerPairs, one: int, two: int) -> str:
    p, q = pairs.test.p_ef[one, two], pairs.test.q_ef[one, two]
    if not np.isfinite(p):
        return f"Not tested: that needs {FEWEST} documents, and there are {pairs.test.documents}."
    few = "" if pairs.expected_ef[one, two] >= ENOUGH else f" Chance expects fewer than {ENOUGH} tokens: mostly noise."
    return f"p {_small(p)}, q {_small(q)} over {pairs.test.documents:,} documents.{few}"


def _small(p: float) -> str:
    """A probability; below one in a million it says no more than that."""
    return "< 0.000001" if p < 1e-6 else f"= {p:.2g}"


def lift_frame(pairs: LayerPairs) -> pd.DataFrame:
    """One row for each pair that is known, the smaller number first."""
    one, two = np.nonzero(np.triu(np.isfinite(pairs.support_ef), 1))
    return pd.DataFrame(
        {
            "layer": pairs.rule.layer,
            "expert": one,
            "other": two,
            "tokens": pairs.support_ef[one, two],
            "by_chance": pairs.expected_ef[one, two],
            "lift": pairs.lift_ef[one, two],
            "p": pairs.test.p_ef[one, two],
            "q": pairs.test.q_ef[one, two],
        }
    )


def explained_words(
    layer: int, *, same: Result | None, other: Result | None, context: Result | None, domain: Result | None
) -> str:
    """How much of a layer's routes its words and domains explain; nothing where it is not known."""
    sentences = []
    if same is not None and other is not None and context is not None and np.isfinite(context.value[layer]):
        sentences.append(
            f"From one document to another a word keeps {100 * same.value[layer]:.0f} % of its experts, and different "
            f"words have {100 * other.value[layer]:.0f} % in common: {100 * context.value[layer]:.0f} % of what can "
            "differ is the context's, the rest the word's own."
        )
    if domain is not None and np.isfinite(domain.value[layer]) and domain.value[layer] != 0:  # 0 bits: one domain
        chance = 0.0 if domain.null is None else float(domain.null[layer])
        by_chance = f", {number(chance)} by chance" if chance else ""
        sentences.append(
            f"A document's domain tells {number(domain.value[layer] + chance)} bits of an expert{by_chance}."
        )
    return " ".join(sentences)


def known_pairs(page: Page, layer: int) -> tuple[LayerPairs, Result]:
    """What is known of a layer's pairs, and the metric with its warnings. Errors: OptionError where there are none."""
    lift, support = (page.measure(f"coactivation_{name}") for name in ("lift", "support"))
    rule = page.source.record.layers[layer]
    return layer_pairs(lift, support, _tested(page, layer, support), rule), lift


def _tested(page: Page, layer: int, support: Result) -> PairTest:
    """The test of one layer's pairs, on the tokens at hand."""

    def compute() -> PairTest:
        record = select_routes(page.source, page.scope)
        counts_t = role_mask(record, page.scope.facet)
        ids_tk, document_t = record.ids_tlk[counts_t, layer], record.document_t[counts_t]
        is_known = support.null is not None and support.places is None  # for every pair
        if page.source.is_cut or not is_known:  # the whole was counted, its first documents are at hand
            return pair_test(ids_tk, document_t, expected_of(ids_tk, record.layers[layer], support.shape[1]))
        return pair_test(ids_tk, document_t, support.layer(layer, "null"))

    is_counted_here = page.source.is_cut or support.null is None
    expected = f"expected_of(ids_tk, record.layers[{layer}], record.experts)"
    code = (
        f"ids_tk, document_t = record.ids_tlk[is_counted_t, {layer}], record.document_t[is_counted_t]\n"
        f"test = pair_test(ids_tk, document_t, {expected if is_counted_here else _SUPPORT_NULL.format(layer=layer)})"
    )
    imports = ("from gatescope.analysis.comparison.pair_evidence import expected_of, pair_test",)
    note(Reading(source=page.source, scope=page.scope, code=code, imports=imports))
    return _TESTS.get((*page.source.key, page.scope, layer), compute)


def lift(page: Page, pairs: LayerPairs, pair: Pair, order: Order, warnings: Sequence[str]) -> Figure:
    """The matrix of one layer; `warnings` are the metric's."""
    layer = pairs.rule.layer
    grid = lift_grid(pairs, order)
    place, names = np.argsort(grid.order), [str(expert) for expert in grid.order]
    is_pinned = page.view.expert is not None and page.view.layer == layer
    drawn = Matrix(
        values_rc=grid.values_rc,
        rows=names,
        columns=names,
        scale=grid.scale,
        pinned=Pick(int(place[pair.one]), int(place[pair.two])) if is_pinned else None,
        options={
            "row_noun": "expert",
            "column_noun": "with expert",
            "attribution": headline(page.source),
            "faded_rc": grid.faded_rc,
            "faded_says": grid.faded_says,
            "square": True,
        },
    )
    with noting():  # what is said under the matrix is no part of its table
        explained = _explained(page, layer)
    return Figure(
        key="lift",
        takeaway=lift_takeaway(pairs, page.layers[layer]),
        population=page.population,
        unit="doublings over chance: 1 is twice as often, -1 half as often",
        null=f"null: 0, {METRICS['coactivation_lift'].null}",
        badge="beyond null" if pairs.sure_ef.any() else "observed",
        metric="coactivation_lift",
        says=(
            ("Order", order_words(order)),
            ("Test", (pair_test.__doc__ or "").partition("\n")[0]),
            ("Faint", grid.faded_says),
        ),
        body=(drawn, Text(order_words(order)), *([Text(explained)] if explained else [])),
        frame=lambda: lift_frame(pairs),
        notes=warnings,
        at={"layer": layer},
    )


def _explained(page: Page, layer: int) -> str:
    names = {"same": "same_word_overlap", "other": "different_word_overlap", "context": "context_share"}
    found = {key: page.if_known(name) for key, name in names.items()}
    return explained_words(layer, **found, domain=page.if_known("mutual_information", by="domain"))
