"""Is a figure about to mislead? Known artefacts, looked for in what was recorded and shown beside the figures.

Every rule stands for a mistake that was published at least once. A rule is one decorated function that yields sentences
with figures; `RULES` holds them all, `lint` runs those that what is at hand allows, and `unchecked` names the others.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics import METRICS, Result
from gatescope.analysis.registry import BOTH
from gatescope.analysis.tally.tally import Tally, TokenRole, token_roles
from gatescope.routing import RoutingRecord
from gatescope.routing.errors import OptionError

DOCUMENTS, TOKENS, TOKENS_MANY, MANY_EXPERTS = 50, 100_000, 300_000, 128
DOMINANT, PHASE, UNLABELLED = 0.5, 0.05, 0.05
SEEN_ONCE = 0.1
PREFIX, PREFIX_SHARE = 20, 0.01
SAME_FROM = 5  # a shorter document is no copy of another: there is nothing to copy
ALMOST_ALL, PROFILE_TOKENS, ROWS = 0.9, 10, 2000
SUM_OFF = 5e-3  # what 16-bit floats of a thousand experts may be off by
DENOMINATOR = re.compile(r"shares? of (?:the layer's )?(tokens|assignments)")

Results = Mapping[str, Result] | None


class DataWarning(NamedTuple):  # Python has a Warning of its own
    """One finding: the rule, a sentence with its figures, and what to do."""

    rule: str
    sentence: str
    do: str


class Case(NamedTuple):
    """What is looked at; None where it is not at hand. `facets` are those that count in the figures."""

    tally: Tally
    results: Results
    record: RoutingRecord | None
    facets: tuple[TokenRole, ...]


Check = Callable[[Case], Iterator[str]]


@dataclass(frozen=True)
class Rule:
    """One artefact: what goes wrong, what to do, who was caught by it, and what must be at hand to see it."""

    name: str
    says: str
    do: str
    source: str
    needs: tuple[str, ...]
    check: Check

    def missing(self, case: Case) -> tuple[str, ...]:
        """What the rule needs and the case lacks."""
        held = {*case.tally.by_unit, *(name for name in ("record", "results") if getattr(case, name) is not None)}
        held |= {name for name, _ in case.record.arrays()} if case.record else set()
        return tuple(name for name in self.needs if name not in held)


RULES: dict[str, Rule] = {}


def rule(*, says: str, do: str, source: str, needs: Sequence[str] = ()) -> Callable[[Check], Check]:
    """Declare a rule: the function's name is its name. `needs`: statistics, arrays, "record" or "results"."""

    def declare(check: Check) -> Check:
        RULES[check.__name__] = Rule(check.__name__, says, do, source, tuple(needs), check)
        return check

    return declare


def lint(
    tally: Tally,
    results: Results = None,
    record: RoutingRecord | None = None,
    *,
    facets: Sequence[TokenRole] = BOTH,
) -> tuple[DataWarning, ...]:
    """What a reader of these figures must be warned of, from the tally, the results by metric, and a record of it.

    Undefined   A rule that lacks what it reads says nothing: see `unchecked`. Errors: OptionError for results under a
                name that is no metric.
    Not this    Proof of sound figures: these are the artefacts that can be seen in a recording.
    """
    case = _case(tally, results, record, facets)
    can = [each for each in RULES.values() if not each.missing(case)]
    return tuple(DataWarning(each.name, sentence, each.do) for each in can for sentence in each.check(case))


def unchecked(tally: Tally, results: Results = None, record: RoutingRecord | None = None) -> dict[str, tuple[str, ...]]:
    """The rules that could not be checked, and what each lacks."""
    case = _case(tally, results, record, BOTH)
    return {name: each.missing(case) for name, each in RULES.items() if each.missing(case)}


def _case(tally: Tally, results: Results, record: RoutingRecord | None, facets: Sequence[TokenRole]) -> Case:
    unknown = [name for name in results or {} if name not in METRICS]
    if unknown:
        raise OptionError(f"results of {unknown}", expected="names of metrics", do="pass results by metric name")
    return Case(tally, results, record, tuple(facets))


@rule(
    says="A group of few documents or few tokens looks more specialised than it is.",
    do="Add texts of these groups, or show their figures with intervals only.",
    source="Of 19,456 experts, the 309 called near-exclusive to a topic were those with the least data (colibri)",
    needs=("tokens",),
)
def few_texts(case: Case) -> Iterator[str]:
    """Under 50 documents, or under 100,000 tokens (300,000 for over 128 experts)."""
    most_experts = max(layer.experts for layer in case.tally.layers)
    enough = TOKENS if most_experts <= MANY_EXPERTS else TOKENS_MANY
    token_u, document_u = _tokens(case), _documents(case)
    groups = [(name, int(document_u[of_u].sum()), int(token_u[of_u].sum())) for name, of_u in _groups(case)]
    few = [each for each in groups if each[1] < DOCUMENTS or each[2] < enough]
    if few:
        named = _some([f"{name} ({documents:,} and {tokens:,})" for name, documents, tokens in few])
        yield (
            f"{len(few)} of {len(groups)} groups have fewer than {DOCUMENTS} documents or {enough:,} tokens, "
            f"the least for a model of {most_experts} experts: {named}."
        )


@rule(
    says="A group's figures are those of one document.",
    do="Cut the long document, or add others of its group.",
    source="Tokens of one document are alike: Kish 1965",
    needs=("tokens",),
)
def dominant_document(case: Case) -> Iterator[str]:
    """One document with over half of its group's tokens."""
    token_u, document_u = _tokens(case), _documents(case)
    several = [(name, of_u) for name, of_u in _groups(case) if document_u[of_u].sum() > 1]
    of_one = []
    for name, of_u in several:
        share = token_u[of_u & (document_u == 1)].max(initial=0) / max(token_u[of_u].sum(), 1)
        if share > DOMINANT:
            of_one.append(f"{name} ({_percent(share)}, {document_u[of_u].sum():,} documents)")
    if of_one:
        yield f"In {len(of_one)} of {len(several)} groups of several documents one has over half: {_some(of_one)}."


@rule(
    says="A label that one document bears cannot be told from that document.",
    do="Add documents under these labels, or leave the labels out of comparisons.",
    source="Labels are exchanged between documents: Phipson and Smyth 2010",
)
def one_document_labels(case: Case) -> Iterator[str]:
    """Labels with one document, where labels are compared."""
    document_u = _documents(case)
    for what, label_u in _labels(case).items():
        names = [name for name in np.unique(label_u).tolist() if name]
        alone = [name for name in names if document_u[label_u == name].sum() == 1]
        if alone and len(names) > 1:
            yield f"{len(alone)} of {len(names)} {what}s have one document only: {_some(alone)}."


@rule(
    says="Documents without a label are left out of every comparison by that label.",
    do="Label them, or say how many are left out.",
    source="Figures by label count labelled documents only",
)
def unlabelled_documents(case: Case) -> Iterator[str]:
    """Over 5 % of the documents without a domain, or without a language."""
    document_u = _documents(case)
    for what, label_u in _labels(case).items():
        without, every = int(document_u[label_u == ""].sum()), int(document_u.sum())
        if without > UNLABELLED * every:
            yield f"{without:,} of {every:,} documents ({_percent(without / every)}) name no {what}."


@rule(
    says="One token of each document was read: under a template it is the same token everywhere.",
    do="Record all tokens of the documents.",
    source="Domains that share their experts at the last token of a chat template (arXiv 2601.03425)",
    needs=("tokens",),
)
def last_token_readout(case: Case) -> Iterator[str]:
    """Nine of ten documents have one token."""
    token_u, document_u = case.tally.table("tokens").sum(axis=1), _documents(case)
    every, single = int(document_u.sum()), int(document_u[token_u == document_u].sum())
    if every < 2 or single < ALMOST_ALL * every:
        return
    same = ""
    if case.record is not None and case.record.tokens:
        share = np.unique(case.record.token_t, return_counts=True)[1].max() / case.record.tokens
        same = f"; {_percent(share)} of the tokens are one and the same"
    yield f"{single:,} of {every:,} documents have one token{same}."


@rule(
    says="Prompts and generated text route differently; together they are a mixture of no text in particular.",
    do="Ask for figures of the prompts and of what was generated apart (facets).",
    source="Prefill and decode differ (arXiv 2604.09780)",
    needs=("tokens",),
)
def pooled_phases(case: Case) -> Iterator[str]:
    """Both count in the figures, and each is over 5 % of the tokens."""
    if not set(BOTH) <= set(case.facets):
        return
    token_f = case.tally.table("tokens").sum(axis=0)
    share_f = token_f / max(token_f[list(BOTH)].sum(), 1)
    if min(share_f[TokenRole.PROMPT], share_f[TokenRole.GENERATED]) > PHASE:
        yield (
            f"Figures pool {_percent(share_f[TokenRole.PROMPT])} tokens of prompts "
            f"and {_percent(share_f[TokenRole.GENERATED])} that were generated."
        )


@rule(
    says="Shares of tokens and shares of assignments differ by the factor k.",
    do="Show one of the two, with the value of an even router beside it.",
    source="Mixtral of Experts, figure 7: called a share of tokens, drawn as one of assignments",
    needs=("results",),
)
def mixed_denominators(case: Case) -> Iterator[str]:
    """Results that count experts' assignments, some over tokens and some over assignments."""
    by_unit: dict[str, list[str]] = defaultdict(list)
    for name in case.results or {}:
        found = DENOMINATOR.search(METRICS[name].unit)
        if found and "assignments" in METRICS[name].needs:
            by_unit[found[1]].append(METRICS[name].title)
    if len(by_unit) > 1:
        first = case.tally.layers[0]
        yield (
            f"Shares of tokens ({_some(by_unit['tokens'])}; {first.k}/{first.experts} of an even router) stand beside "
            f"shares of assignments ({_some(by_unit['assignments'])}; 1/{first.experts})."
        )


@rule(
    says="A profile of which only the k best experts are left is uneven whatever the router does.",
    do="Count all slots of all tokens.",
    source="A Gini of 0.896 of 64 experts, where keeping 8 alone gives 0.875 (arXiv 2601.03425)",
    needs=("assignments",),
)
def truncated_profiles(case: Case) -> Iterator[str]:
    """No document uses more than k experts; or a record never fills a layer's slots."""
    count_ule, cut = case.tally.summed("assignments", tuple(TokenRole)), []
    for layer in case.tally.layers:
        count_ue = count_ule[:, layer.layer]
        count_ue = count_ue[count_ue.sum(axis=1) >= PROFILE_TOKENS * layer.k]
        if len(count_ue) > 1 and layer.k < layer.experts and ((count_ue > 0).sum(axis=1) <= layer.k).all():
            cut.append(f"{layer.layer} (k={layer.k} of {layer.experts})")
    if cut:
        yield f"In {len(cut)} layers no document uses more than k experts: layer {_some(cut)}."
    if case.record is None or not case.record.tokens:
        return
    filled_l = (case.record.ids_tlk != case.record.empty).sum(axis=2).max(axis=0)
    short = [f"{at.layer} ({filled_l[at.layer]} of {at.k})" for at in case.record.layers if filled_l[at.layer] < at.k]
    if short:
        yield f"In {len(short)} layers no token fills all slots: layer {_some(short)}."


@rule(
    says="A token id that occurs once goes to its expert 100 % of the time, whatever the router does.",
    do="Read vocabulary figures beyond chance, or of ids that occur at least 10 times.",
    source="OLMoE's released script averages over all ids, those seen once included",
    needs=("record",),
)
def singleton_inflation(case: Case) -> Iterator[str]:
    """Over a tenth of the ids occur once, and the vocabulary is spoken of (or nothing is said of what is)."""
    spoken = case.results is None or any("vocabulary" in name for name in case.results)
    if case.record is None or not spoken:
        return
    token_t = case.record.token_t[np.isin(token_roles(case.record), case.facets)]
    _, count_x = np.unique(token_t, return_counts=True)
    once = np.count_nonzero(count_x == 1)
    if once > SEEN_ONCE * len(count_x):
        yield (
            f"{once:,} of {len(count_x):,} token ids ({_percent(once / len(count_x))}) occur once; "
            f"they are {_percent(once / len(token_t))} of the tokens."
        )


@rule(
    says="Logits that are probabilities already: a softmax of them is nearly even.",
    do="Record the router's raw scores, or read these as probabilities.",
    source="Routers of several families return probabilities as logits (transformers 45120)",
    needs=("logit_tle",),
)
def probabilities_as_logits(case: Case) -> Iterator[str]:
    """No value is below 0 and every row of a layer adds up to 1."""
    if case.record is None or case.record.logit_tle is None:
        return
    rows = slice(None, None, max(1, case.record.tokens // ROWS))
    likely = []
    for layer in case.record.layers:
        logit_te = case.record.logit_tle[rows, layer.layer, : layer.experts].astype(np.float64)
        logit_te = logit_te[np.isfinite(logit_te).all(axis=1)]
        sums = np.abs(logit_te.sum(axis=1) - 1) < SUM_OFF
        if layer.experts > 1 and len(logit_te) and (logit_te >= 0).all() and sums.all():
            likely.append(str(layer.layer))
    if likely:
        yield f"Logits are 0 or more and add up to 1 in {len(likely)} layers: layer {_some(likely)}."


@rule(
    says="Copies of a document count as often as they occur, and tie training and testing halves together.",
    do="Keep one of each.",
    source="Halves of the same prompts agreed at 0.835, and the finding was withdrawn (colibri)",
)
def duplicated_documents(case: Case) -> Iterator[str]:
    """The same tokens, whatever the id; of a tally alone, the same document twice."""
    if case.record is None:
        keys = [unit.key for unit in case.tally.units if not unit.key.startswith("block ")]
        if len(keys) > len(set(keys)):
            yield f"{len(keys) - len(set(keys)):,} of {len(keys):,} documents are in the tally a second time."
        return
    texts = [text_n for text_n in _texts(case.record) if len(text_n) >= SAME_FROM]
    first: dict[bytes, int] = {}
    copies = [len(text_n) for at, text_n in enumerate(texts) if first.setdefault(text_n.tobytes(), at) != at]
    if copies:
        share = sum(copies) / case.record.tokens
        yield f"{len(copies):,} of {len(texts):,} documents repeat another: {_percent(share)} of all tokens."


@rule(
    says="Documents that begin alike are routed alike there: figures speak of the beginning they share.",
    do="Flag what they share as template, or cut it off.",
    source="Overlap of two tokens after the same text is no context of theirs (arXiv 2604.17182)",
    needs=("record",),
)
def shared_prefixes(case: Case) -> Iterator[str]:
    """Different documents with the same first 20 tokens that count, over 1 % of the tokens."""
    if case.record is None:
        return
    counts_t = np.isin(token_roles(case.record), case.facets)
    by_start: dict[bytes, dict[bytes, tuple[str, NDArray[np.int32]]]] = defaultdict(dict)
    for number, text_n in enumerate(_texts(case.record, counts_t)):
        if len(text_n) >= PREFIX:
            of = case.record.documents[number]
            name = f"{of.source}\0{of.id}" if of.id else f"\0{number}"
            by_start[text_n[:PREFIX].tobytes()].setdefault(text_n.tobytes(), (name, text_n))
    alike = [[*group.values()] for group in by_start.values() if len({name for name, _ in group.values()}) > 1]
    documents = sum(len(group) for group in alike)
    tokens = sum(len(group) * _common([text_n for _, text_n in group]) for group in alike)
    if documents and tokens > PREFIX_SHARE * counts_t.sum():
        yield (
            f"{documents:,} documents begin with the same {PREFIX} tokens or more as another; "
            f"these beginnings are {_percent(tokens / counts_t.sum())} of the tokens."
        )


def _tokens(case: Case) -> NDArray[np.int64]:
    """Tokens of each unit, of the facets that count."""
    tokens_u: NDArray[np.int64] = case.tally.table("tokens")[:, list(case.facets)].sum(axis=1)
    return tokens_u


def _documents(case: Case) -> NDArray[np.int64]:
    return np.array([unit.documents for unit in case.tally.units], np.int64)


def _labels(case: Case) -> dict[str, NDArray[np.str_]]:
    units = case.tally.units
    return {what: np.array([getattr(unit, what) for unit in units], np.str_) for what in ("domain", "language")}


def _groups(case: Case) -> list[tuple[str, NDArray[np.bool_]]]:
    """Every domain and language with its units; all texts where there are no labels."""
    labels = [(what, name, label_u) for what, label_u in _labels(case).items() for name in np.unique(label_u)]
    named = [(f"{what} {name}", label_u == name) for what, name, label_u in labels if name]
    return named or [("all texts", np.ones(len(case.tally.units), bool))]


def _texts(record: RoutingRecord, of_t: NDArray[np.bool_] | None = None) -> list[NDArray[np.int32]]:
    """Token ids of each document, or those of them that count."""
    rows_t = np.arange(record.tokens) if of_t is None else np.flatnonzero(of_t)
    start_d = np.searchsorted(record.document_t[rows_t], np.arange(1, len(record.documents)))
    return np.split(record.token_t[rows_t], start_d)


def _common(texts: Sequence[NDArray[np.int32]]) -> int:
    """How many tokens all begin with."""
    shortest = min(len(text_n) for text_n in texts)
    same_n = np.all([text_n[:shortest] == texts[0][:shortest] for text_n in texts], axis=0)
    return shortest if same_n.all() else int(np.argmin(same_n))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _some(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
