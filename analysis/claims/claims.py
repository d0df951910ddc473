"""What is popularly said of Mixture-of-Experts models, checked on one model: each claim with its figure and its null.

    for verdict in check_claims(Evidence(layers=..., tokens=..., documents=..., results=..., left=...)):
        print(verdict.claim, verdict.holds, verdict.figure, verdict.null)

A claim holds of a model where at least half of its layers bear it out, unless it says otherwise. Every threshold stands
beside its reason. `NEEDED` lists the metrics that are read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.comparison.teams import MEETINGS, OFTEN, by_rule, meetings_of_teams
from gatescope.analysis.labels.verdict import (
    COVERED,
    LEAST_DOCUMENTS,
    LEAST_TOKENS,
    SPECIALIST_BITS,
    Evidence,
    Judge,
    Judgement,
    Q,
    Row,
    Verdict,
    decided,
    ends,
    most,
    rows_of,
    span,
    strength,
    undecided,
)
from gatescope.analysis.registry import Result
from gatescope.analysis.statistics.permutation import q_values

ACTIVE = 0.5
"""Half: a model that uses more of its weights on each token saves less than a factor of two. Mixtral 8x7B, which is not
very sparse, uses 28 % (12.9 of 46.7 billion; arXiv 2401.04088)."""

SAME = 0.9
"""Share of its experts that a word keeps which has "always" the same: our reading, one in ten may differ."""

SPARE_CAPACITY = 1.0
"""MaxVio up to which no expert does more than twice its share, which a capacity factor of 2 lets pass without a dropped
token (Switch Transformers, arXiv 2101.03961, uses 1 to 2)."""

FEW = 0.5
"""Half of the experts: as many as a small device holds (arXiv 2312.17238 keeps 2 to 4 of 8), and the fewest that work
spread evenly may be worth before a layer counts as collapsed."""

CORE = 0.1
"""Share of the routed work that is done by experts which lead in nearly every group, from which on the common part is
not with the shared experts alone. Up to 0.7 is reported (arXiv 2601.03425)."""

TEAMS = 0.5
"""Share of the meetings that are of teams where experts "always" work in the same ones: our reading, most of them."""

HITS = 0.9
"""Share of requests that find their expert at hand where few experts "would do": one in ten has to wait."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim: its words, what must be found, where it is shown, the results it reads, and who judges it."""

    name: str
    says: str
    bar: str
    page: str
    judge: Judge
    needs: tuple[tuple[str, str], ...] = ()
    of_text: bool = True


def check_claims(found: Evidence) -> tuple[Verdict, ...]:
    """Every claim with its verdict, in the order in which they are told."""
    return tuple(_verdict(claim, found) for claim in CLAIMS)


def _verdict(claim: Claim, found: Evidence) -> Verdict:
    judged = _judged(claim, found)
    return Verdict(
        name=claim.name,
        claim=claim.says,
        bar=claim.bar,
        page=claim.page,
        holds=judged.holds,
        figure=judged.figure,
        null=judged.null,
        tokens=found.tokens if claim.of_text else 0,
        documents=found.documents if claim.of_text else 0,
        rows=judged.rows,
    )


def _judged(claim: Claim, found: Evidence) -> Judgement:
    if claim.of_text and not found.is_enough:
        have = f"{found.tokens:,} tokens of {found.documents:,} document{'s' * (found.documents != 1)}"
        return undecided(f"It takes {LEAST_TOKENS:,} tokens of {LEAST_DOCUMENTS} documents to say; these are {have}.")
    missing = [f"{name} by {by}" if by else name for name, by in claim.needs if (name, by) not in found.results]
    if missing:
        return undecided(f"This capture gives no {', '.join(missing)}.")
    return claim.judge(found)


def _sparse(found: Evidence) -> Judgement:
    weights = found.parameters
    if weights is None:
        return undecided("The model is not loaded: its weights were not counted.")
    k, experts = (sorted({getattr(rule, what) for rule in found.layers}) for what in ("k", "experts"))
    some = f"{' or '.join(map(str, k))} of {' or '.join(map(str, experts))} experts in {len(found.layers)} layers"
    formats = ", ".join(sorted(weights.bytes_by_dtype))
    figure = (
        f"{weights.active:,} of {weights.total:,} weights ({weights.active_share:.0%}) work on a token: {some}, and "
        f"everything else. Memory holds all of them: {weights.size_bytes / 1e6:,.1f} MB as {formats}."
    )
    numbers = ("active", "total", "routed", "active_routed", "shared", "router", "rest", "size_bytes")
    rows = tuple(Row(f"weights: {name}", -1, float(getattr(weights, name))) for name in numbers)
    return decided(weights.active_share <= ACTIVE, figure, "A dense model uses 100% of its weights.", rows)


def _by_subject(found: Evidence) -> Judgement:
    return _by_label(found, "domain")


def _by_language(found: Evidence) -> Judgement:
    return _by_label(found, "language")


def _by_label(found: Evidence, by: str) -> Judgement:
    """Whether experts tell a label at the same word: what words alone tell of it is no specialism."""
    left, told = found.left.get(by), found.results["mutual_information", by]
    rows = rows_of(f"bits about the {by}", _plain(told))
    if left is None or left.covered < COVERED:
        return undecided(strength(left, by).says)
    q_l = q_values(left.p_l)
    sure_l = q_l <= Q
    rows += tuple(
        Row(f"bits about the {by} at the same word", layer, bits + null, null=null, q=q)
        for layer, (bits, null, q) in enumerate(
            zip(left.bits_l.tolist(), left.null_l.tolist(), q_l.tolist(), strict=True)
        )
    )
    holds = most(sure_l & (left.bits_l >= SPECIALIST_BITS))
    in_all, by_words = span(left.bits_l + left.null_l, _bits), span(np.minimum(left.by_words_l, 1), _percent)
    figure = (
        f"{strength(left, by).says} That is {in_all} bits in all, on {left.covered:.0%} of the text. Of what experts "
        f"tell in all, the words alone give {by_words}."
    )
    null = f"Chance, if routing followed words alone: {span(left.null_l, _bits)} bits in all."
    return decided(holds, figure, null, rows)


def _same_word(found: Evidence) -> Judgement:
    same, other, context = (
        found.results[name, ""] for name in ("same_word_overlap", "different_word_overlap", "context_share")
    )
    if not np.isfinite(same.value).any():
        return undecided("No word was sampled in two documents.")
    low_l, high_l = ends(same)
    figure = (
        f"A word keeps {span(same.value, _percent)} of its experts from one document to another (95 % intervals "
        f"{_percent(np.nanmin(low_l))} to {_percent(np.nanmax(high_l))}); its context decides "
        f"{span(context.value, _percent)} of the route."
    )
    null = f"Two different words share {span(other.value, _percent)}."
    rows = rows_of("same_word_overlap", same) + rows_of("context_share", context)
    return decided(most(low_l[np.isfinite(same.value)] >= SAME), figure, null, rows)


def _balanced(found: Evidence) -> Judgement:
    result = found.results["load_max_violation", ""]
    high_l = ends(result)[1][np.isfinite(result.value)]
    if not len(high_l):
        return undecided("No layer has any work counted.")
    figure = (
        f"The busiest expert does {span(result.value, _times_more)} times its share "
        f"({_interval(result, _times_more)}); {np.count_nonzero(high_l <= SPARE_CAPACITY)} of {len(high_l)} layers are "
        f"significantly below {1 + SPARE_CAPACITY:g}."
    )
    null = f"An even router, as few tokens: {span(_null(result), _times_more)} times."
    return decided(bool((high_l <= SPARE_CAPACITY).all()), figure, null, rows_of("load_max_violation", result))


def _collapsed(found: Evidence) -> Judgement:
    result, gini = found.results["load_effective_experts", ""], found.results["load_gini", ""]
    if not np.isfinite(result.value).any():
        return undecided("No layer has any work counted.")
    experts_l = np.array([rule.experts for rule in found.layers])
    high_l = np.where(np.isfinite(result.value), ends(result)[1], np.inf)
    figure = (
        f"The work is spread as over {span(result.value, _one)} equally busy experts ({_interval(result, _one)}) of "
        f"{span(experts_l, _whole)}. Gini {span(gini.value, _two)}."
    )
    null = f"An even router, as few tokens: {span(_null(result), _one)}; Gini {span(_null(gini), _two)}."
    rows = rows_of("load_effective_experts", result) + rows_of("load_gini", gini)
    return decided(bool((high_l <= FEW * experts_l).any()), figure, null, rows)


def _dead(found: Evidence) -> Judgement:
    state_le = found.results["expert_state", ""].value
    own_le = np.arange(state_le.shape[1]) < np.array([[rule.experts] for rule in found.layers])
    dead_l, unknown = ((state_le == -2) & own_le).sum(axis=1), int((np.isnan(state_le) & own_le).sum())
    rows = tuple(Row("dead experts", layer, float(number)) for layer, number in enumerate(dead_l))
    if unknown and not dead_l.any():
        return undecided(f"Too little text to tell of {unknown} of {own_le.sum():,} experts.", rows)
    figure = (
        f"Never chosen, where an even router almost certainly would have: {dead_l.sum()} of {own_le.sum():,} experts."
    )
    null = "An even router leaves an expert out of so much text with a chance below one in a million."
    return decided(bool(dead_l.any()), figure, null, rows)


def _shared(found: Evidence) -> Judgement:
    number = max((rule.shared_experts for rule in found.layers), default=0)
    if not number:
        return Judgement(holds="does not apply", figure="This model has no shared experts: all of them are routed.")
    core = found.results.get(("core_coverage", "domain"))
    if core is None or not np.isfinite(core.value).any():
        return undecided(f"It has {number} in a layer. Without labelled subjects the routed ones cannot be compared.")
    done = f"Routed experts that lead in nearly every subject do {span(core.value, _percent)} of the routed work."
    rows = rows_of("core_coverage by domain", core)
    if most(core.value[np.isfinite(core.value)] >= CORE):
        return decided(False, done, f"An even router has no such experts: 0%. {CORE:.0%} is the bar.", rows)
    more = "That fits the claim, but an even router shows it too: only taking the shared ones away could prove it."
    return undecided(f"It has {number} in a layer. {done} {more}", rows)


def _teams(found: Evidence) -> Judgement:
    support = found.results["coactivation_support", ""]
    if all(rule.k < 2 for rule in found.layers):
        return Judgement(holds="does not apply", figure="A token gets one expert: there are no teams.")
    if support.null is None:
        return undecided("Sets of different sizes occur, which the null of pairs does not describe.")
    if support.places is not None:
        return undecided("Of so many pairs the results keep those furthest from chance: the share of all is not known.")
    chance_lef = support.null * np.stack([by_rule(rule, support.value.shape[1]) for rule in found.layers])
    share_l, lift_l = meetings_of_teams(support.value, chance_lef)
    if not np.isfinite(share_l).any():
        return undecided(f"Chance alone makes too few pairs meet in {MEETINGS:.0f} tokens.")
    next_ = found.results.get(("transition_predictability", ""))
    along = "" if next_ is None else f" A first choice tells {span(next_.value, _percent)} of the next layer's."
    figure = (
        f"{span(share_l, _percent)} of the meetings are of pairs that meet at least {OFTEN:g} times as often as chance "
        f"makes them; the closest pair {span(lift_l, _one)} times.{along}"
    )
    null = "Chance: k experts at random with the observed loads, and the router's groups; 0% of pairs, once as often."
    rows = tuple(Row("meetings of teams", layer, float(share)) for layer, share in enumerate(share_l))
    return decided(most(share_l[np.isfinite(share_l)] >= TEAMS), figure, null, rows)


def _edge(found: Evidence) -> Judgement:
    last, often = found.results["lru_hit_rate", ""], found.results["lfu_hit_rate", ""]
    needed_l = np.fmin(experts_needed(last.value), experts_needed(often.value))
    experts_l = np.array([rule.experts for rule in found.layers], np.float64)
    rows = tuple(Row("experts for 90 % hits", layer, float(needed)) for layer, needed in enumerate(needed_l))
    if np.isnan(needed_l).any():
        return undecided(f"The documents are too short: a first use is a miss, and {HITS:.0%} are not reached.", rows)
    share = needed_l.sum() / experts_l.sum()
    figure = (
        f"{share:.0%} of the experts must be at hand for {HITS:.0%} of the requests to find theirs: "
        f"{span(needed_l, _whole)} of {span(experts_l, _whole)} in a layer, keeping those used last or most often."
    )
    quarter_l = np.maximum(experts_l // 4, 1).astype(int)
    served_l = np.fmax(last.value, often.value)[np.arange(len(quarter_l)), quarter_l - 1]
    figure += f" A quarter of them at hand serves {span(served_l, _percent)}."
    alone, mixed = (experts_needed(hits_lb).sum() / experts_l.sum() for hits_lb in (last.value, _null(last)))
    null = f"Keeping those used last alone, {alone:.0%}; the same text in random order, {mixed:.0%}."
    return decided(bool(share <= FEW), figure, null, rows)


def _plain(result: Result) -> Result:
    """A result that chance is taken off, with it, so that it can stand beside it."""
    return result if result.null is None else replace(result, value=result.value + result.null)


def experts_needed(hits_lb: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least number of experts to keep for `HITS` of the requests, by layer; NaN where all of them are too few."""
    reached_lb = hits_lb >= HITS
    return np.where(reached_lb.any(axis=1), reached_lb.argmax(axis=1) + 1.0, np.nan)


def _null(result: Result) -> NDArray[np.float64]:
    return np.full(result.value.shape, np.nan) if result.null is None else result.null


def _interval(result: Result, show: Callable[[float], str]) -> str:
    """The reach of the layers' intervals, in words."""
    if result.low is None or result.high is None:
        return "no interval"
    return f"95 % intervals from {show(float(np.nanmin(result.low)))} to {show(float(np.nanmax(result.high)))}"


_bits, _two, _one, _whole = "{:.3f}".format, "{:.2f}".format, "{:.1f}".format, "{:.0f}".format
_percent = "{:.0%}".format


def _times_more(violation: float) -> str:
    """MaxVio as a multiple of an even share."""
    return f"{1 + violation:.2f}"


CLAIMS = (
    Claim(
        name="sparse",
        says="Only a few experts work on a token: most weights are idle.",
        bar=f"At most {ACTIVE:.0%} of the weights work on a token. Mixtral 8x7B: 28% (arXiv 2401.04088).",
        page="model",
        judge=_sparse,
        of_text=False,
    ),
    Claim(
        name="subject",
        says="Experts are specialists by subject.",
        bar=f"At the same word, half of the layers tell {SPECIALIST_BITS:.2f} bits or more about the subject, a large "
        f"effect (w = 0.5, Cohen 1988), with q ≤ {Q}. What the words alone tell does not count.",
        page="domains",
        judge=_by_subject,
        needs=(("mutual_information", "domain"),),
    ),
    Claim(
        name="language",
        says="Experts are specialists by language.",
        bar=f"At the same word, half of the layers tell {SPECIALIST_BITS:.2f} bits or more about the language, a large "
        f"effect (w = 0.5, Cohen 1988), with q ≤ {Q}. What the words alone tell does not count.",
        page="domains",
        judge=_by_language,
        needs=(("mutual_information", "language"),),
    ),
    Claim(
        name="same-word",
        says="The same word always takes the same experts.",
        bar=f"In half of the layers a word significantly keeps {SAME:.0%} of its experts in another document.",
        page="token",
        judge=_same_word,
        needs=(("same_word_overlap", ""), ("different_word_overlap", ""), ("context_share", "")),
    ),
    Claim(
        name="balanced",
        says="The load is balanced.",
        bar=f"In every layer no expert does more than {1 + SPARE_CAPACITY:g} times its share, for sure: a capacity "
        "factor of 2 then drops no token (arXiv 2101.03961).",
        page="layers",
        judge=_balanced,
        needs=(("load_max_violation", ""),),
    ),
    Claim(
        name="collapsed",
        says="The router has collapsed onto a few experts.",
        bar=f"In some layer the work is significantly spread no wider than over {FEW:.0%} of the experts.",
        page="layers",
        judge=_collapsed,
        needs=(("load_effective_experts", ""), ("load_gini", "")),
    ),
    Claim(
        name="dead",
        says="Some experts are dead.",
        bar="An expert is never chosen, in so much text of several subjects that chance is below one in a million.",
        page="layers",
        judge=_dead,
        needs=(("expert_state", ""),),
    ),
    Claim(
        name="shared",
        says="Shared experts carry the common part.",
        bar=f"Routed experts that lead in nearly every subject do less than {CORE:.0%} of the routed work, and the "
        "output suffers without the shared ones. Routes alone can only refute it.",
        page="domains",
        judge=_shared,
        of_text=False,
    ),
    Claim(
        name="teams",
        says="Experts always work in the same teams.",
        bar=f"In half of the layers most meetings are of teams: pairs that meet {OFTEN:g} times as often as by chance.",
        page="pairs",
        judge=_teams,
        needs=(("coactivation_support", ""),),
    ),
    Claim(
        name="edge",
        says="A few of the experts would do on a small device.",
        bar=f"{HITS:.0%} of requests find their expert among {FEW:.0%} of the experts, as arXiv 2312.17238 holds them.",
        page="locality",
        judge=_edge,
        needs=(("lru_hit_rate", ""), ("lfu_hit_rate", "")),
    ),
)
"""In the order in which they are told."""

NEEDED = tuple(dict.fromkeys(need for claim in CLAIMS for need in claim.needs))
"""Metrics that the claims read, by name and label."""

MORE = (("core_coverage", "domain"), ("transition_predictability", ""))
"""Those that are told besides, where they can be had."""
