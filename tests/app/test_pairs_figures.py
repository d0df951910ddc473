"""Figures of the page of pairs: what is said and drawn of pairs, contexts, steps and paths counted by hand."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gatescope.analysis.comparison.pair_evidence import PairTest
from gatescope.analysis.registry import Result
from gatescope.app.views.pairs.coactivation_figure import (
    explained_words,
    faded_words,
    layer_pairs,
    lift_frame,
    lift_grid,
    lift_takeaway,
    order_words,
    pair_sentence,
    partners,
    strangest_layer,
    strongest_pair,
)
from gatescope.app.views.pairs.contexts_figure import Context, contexts, contexts_html, sampled, shared_rows
from gatescope.app.views.pairs.transitions_figure import (
    coverage_frame,
    coverage_takeaway,
    same_frame,
    same_plot,
    same_takeaway,
    step_frame,
    step_from,
    step_plot,
    step_takeaway,
)
from gatescope.routing import RouterRule
from gatescope.routing.errors import OptionError
from gatescope.server.sources import Scope
from gatescope.server.view import Span

NAN = float("nan")


def rule(layer, experts, k=2):
    return RouterRule(layer=layer, block=layer, module="mlp", experts=experts, k=k, score="softmax")


def square(pairs, size=4):
    """A symmetric matrix of some pairs, NaN elsewhere."""
    found = np.full((size, size), NAN)
    for (one, two), value in pairs.items():
        found[one, two] = found[two, one] = value
    return found


SUPPORT = {(0, 1): 400.0, (0, 2): 0.0, (1, 2): 60.0}
CHANCE = {(0, 1): 100.0, (0, 2): 200.0, (1, 2): 10.0}
LIFT = {(0, 1): 4.0, (0, 2): 0.0, (1, 2): 6.0}
Q = {(0, 1): 0.001, (0, 2): 0.02, (1, 2): 0.001}
"""Three experts in a table for four: 1 and 2 have the largest lift, but chance expects them in 10 tokens only."""


def known(documents=20, q=Q):
    test = PairTest(square(dict.fromkeys(q, 3.0)), square(q), square(q), documents)
    lift, support = Result(value=square(LIFT)[None]), Result(value=square(SUPPORT)[None], null=square(CHANCE)[None])
    return layer_pairs(lift, support, test, rule(0, 3))


def test_a_layer_keeps_its_own_experts_only():
    pairs = known()
    assert pairs.lift_ef.shape == pairs.test.q_ef.shape == (3, 3)
    assert lift_frame(pairs)[["expert", "other", "tokens", "lift"]].to_numpy().tolist() == [
        [0, 1, 400, 4],
        [0, 2, 0, 0],
        [1, 2, 60, 6],
    ]


def test_pairs_with_little_support_are_faint_and_never_named_as_the_strongest():
    pairs = known()
    grid = lift_grid(pairs, "by number")
    assert grid.faded_rc.tolist() == [[False, False, False], [False, False, True], [False, True, False]]
    assert strongest_pair(pairs) == (0, 1)
    assert "fewer than 50 tokens" in grid.faded_says
    assert partners(pairs, 1) == [0, 2]


def test_pairs_not_beyond_chance_are_faint():
    pairs = known(q=Q | {(0, 1): 0.2})
    assert lift_grid(pairs, "by number").faded_rc[0, 1]
    assert "No pair" not in lift_takeaway(pairs, "0")
    assert "No pair is beyond chance" in lift_takeaway(known(q=dict.fromkeys(Q, 0.5)), "0")


def test_a_pair_that_never_meets_lies_beyond_the_end_of_the_colours():
    grid = lift_grid(known(), "by number")
    assert grid.values_rc[0, 1] == 2
    assert grid.values_rc[0, 2] < grid.scale.low
    assert grid.scale.high == pytest.approx(np.log2(6))
    assert np.isnan(np.diagonal(grid.values_rc)).all()


def test_the_order_of_clusters_moves_rows_and_columns_alike():
    grid = lift_grid(known(), "clustered")
    assert sorted(grid.order.tolist()) == [0, 1, 2]
    assert grid.values_rc == pytest.approx(
        lift_grid(known(), "by number").values_rc[np.ix_(grid.order, grid.order)], nan_ok=True
    )
    assert "average linkage" in order_words("clustered")
    assert "numbers" in order_words("by number")


def test_the_sentence_of_a_layer_counts_what_lies_to_either_side():
    """Of 460 shared tokens 300 + 50 lie above chance, of which pairs sum to 76 %."""
    assert lift_takeaway(known(), "0") == (
        "Layer 0: 76 % of the times two experts work on the same token, it is another pair than chance "
        "would have put together. Of 3 pairs 1 meet more and 1 less than by chance; most of all experts "
        "0 and 1, 4 times chance."
    )


def test_one_pair_in_words():
    assert pair_sentence(known(), 0, 1) == (
        "Together in 400 tokens; chance would give 100: 4 times chance. p = 0.001, q = 0.001 over 20 documents."
    )
    assert pair_sentence(known(), 1, 2).endswith("Chance expects fewer than 50 tokens: mostly noise.")
    assert "one of them took no token" in pair_sentence(known(), 0, 0)


def test_too_few_documents_are_said_and_everything_is_faint():
    pairs = known(documents=3, q=dict.fromkeys(Q, NAN))
    assert pair_sentence(pairs, 0, 1).endswith("Not tested: that needs 10 documents, and there are 3.")
    assert faded_words(pairs) == "not tested: that needs 10 documents"
    assert lift_grid(pairs, "by number").faded_rc[0, 1]


def test_a_layer_without_pairs_is_refused():
    nothing = Result(value=np.full((1, 4, 4), NAN), null=np.full((1, 4, 4), NAN))
    with pytest.raises(OptionError, match="no pairs"):
        layer_pairs(nothing, nothing, PairTest(*[np.full((4, 4), NAN)] * 3, 0), rule(0, 3, k=1))


def test_the_page_begins_with_the_layer_furthest_from_chance():
    even, odd = square(CHANCE), square(SUPPORT)
    support = Result(value=np.stack([even, odd, even]), null=np.stack([even, even, even]))
    assert strangest_layer(support) == 1
    assert strangest_layer(Result(value=np.full((2, 3, 3), NAN))) == 0


def test_what_words_and_domains_explain():
    one = {name: Result(value=np.array([value])) for name, value in {"same": 0.6, "other": 0.2, "context": 0.5}.items()}
    domain = Result(value=np.array([0.1]), null=np.array([0.02]))
    assert explained_words(0, **one, domain=domain) == (
        "From one document to another a word keeps 60 % of its experts, and different words have 20 % in common: 50 % "
        "of what can differ is the context's, the rest the word's own. A document's domain tells 0.12 bits of an "
        "expert, 0.02 by chance."
    )
    assert explained_words(0, same=None, other=None, context=None, domain=None) == ""
    assert explained_words(0, same=None, other=None, context=None, domain=Result(value=np.zeros(1))) == ""


def test_shared_tokens_are_those_of_both_that_count(make_record):
    record = make_record(list("abcdef"))  # layer 0: experts 0 1, 1 2, 2 3, 3 0, 0 1, 1 2
    counts_t = np.array([True] * 5 + [False])
    assert shared_rows(record, 0, (0, 1), counts_t).tolist() == [0, 4]
    assert shared_rows(record, 0, (1, 2), counts_t).tolist() == [1]
    assert shared_rows(record, 0, (0, 2), counts_t).tolist() == []


def test_a_sample_is_in_order_without_repeats_and_the_same_again():
    rows = np.arange(100) * 3
    taken = sampled(rows)
    assert len(taken) == 12
    assert (np.diff(taken) > 0).all()
    assert set(taken) <= set(rows)
    assert sampled(rows).tolist() == taken.tolist()
    assert sampled(rows[:5]).tolist() == rows[:5].tolist()


def test_a_context_stays_in_its_document_and_counts_as_the_whole_source_does(make_record):
    document_t = np.array([0, 0, 0, 1, 1, 1], np.int32)
    whole = make_record(list("abc"))
    record = replace(
        make_record(list("abcdef")),
        document_t=document_t,
        position_t=np.array([0, 1, 2, 0, 1, 2], np.int32),
        documents=(whole.documents[0], whole.documents[0]),
    )
    found = contexts(record, [4], Scope(documents=(7, 2)))
    assert found == [Context(2, 1, ("d",), "e", ("f",))]
    assert contexts(record, [1], Scope(documents=(7,), span=Span(5, 9)))[0][:2] == (7, 6)
    assert contexts(record, [3], Scope())[0] == Context(1, 0, (), "d", ("e", "f"))


class Tags(HTMLParser):
    """The tags and links of a piece of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.words = set(), [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.words += data


def test_hostile_text_stays_text():
    hostile = "<img src=x onerror=alert(1)>"
    each = Context(1, 2, (hostile,), "</mark><script>", ("‮",))
    html = contexts_html([each], lambda document, token: f'prompt?d={document}&t={token}"><b', lambda _: hostile)
    found = Tags(html)
    assert found.tags == {"style", "ol", "li", "span", "a", "br", "small", "p", "mark", "i"}
    assert found.links == ['prompt?d=1&t=2"><b']
    assert "onerror" in found.words
    assert "‮" not in html


def transitions():
    """Three experts, then two: of expert 0's tokens 0.9 go to expert 1 of the next layer, of all tokens 0.45."""
    value, null = np.full((2, 3, 3), NAN), np.full((2, 3, 3), NAN)
    value[0, 0, :2], null[0, 0, :2] = (0.1, 0.9), (0.55, 0.45)
    return Result(value=value, null=null)


def test_a_step_is_in_order_of_the_shares_and_keeps_to_the_next_layers_experts():
    step = step_from(transitions(), rule(0, 3), rule(1, 2), 0)
    assert step.expert_n.tolist() == [1, 0]
    assert (step.others, step.other_share) == (0, 0)
    assert step_takeaway(step, 0, "0", "1") == (
        "After expert 0 of layer 0, 90 % of the tokens go to expert 1 of layer 1 first: 2 times as many as of all "
        "tokens."
    )
    frame = step_frame(transitions(), rule(0, 3), rule(1, 2), 0)
    assert frame["times_chance"].tolist() == pytest.approx([0.1 / 0.55, 2])
    with pytest.raises(OptionError, match="first choice of no token"):
        step_from(transitions(), rule(0, 3), rule(1, 2), 1)


def test_what_is_not_shown_on_its_own_goes_to_the_others_and_nothing_is_lost():
    share = np.array([0.3, *[0.07] * 10])
    found = Result(value=share[None, None], null=np.full((1, 1, 11), 1 / 11))
    step = step_from(found, rule(0, 1, k=1), rule(1, 11), 0)
    assert len(step.expert_n) == 8
    assert step.others == 3
    assert step.other_share == pytest.approx(0.21)
    assert step_takeaway(step, 0, "0", "1").endswith("The 8 shown take 79 %, 3 others the rest.")
    drawn = step_plot(step, 0).data[0]
    assert sum(drawn.link.value) == pytest.approx(1)
    y = drawn.node.y
    assert all(np.diff(y[1:]) > 0)
    assert y[1] < 0.5 < y[-1] < 1
    assert drawn.node.label[1] == "expert 0 · 30 % · 3.3×"
    assert drawn.node.label[-1] == "3 others · 21 % · 0.77×"


def test_experts_that_nothing_goes_to_are_not_told_of():
    value = np.array([[[1.0, *[0.0] * 9]]])
    step = step_from(Result(value=value, null=value), rule(0, 1, k=1), rule(1, 10), 0)
    assert step.expert_n.tolist() == [0]
    assert step_takeaway(step, 0, "0", "1").endswith("1 times as many as of all tokens.")
    assert len(step_plot(step, 0).data[0].link.value) == 1


def test_paths_in_words_and_rows():
    labels = {"w": ("1 layer", "all 2"), "r": ("top 1", "top 10", "top 100", "top 1000")}
    coverage = Result(value=np.array([[0.5, 1, 1, 1], [0.02, 0.1, 0.25, 1]]), labels=labels)
    count = Result(value=np.array([3.0, 812.4]), labels=labels)
    assert coverage_takeaway(coverage, count) == (
        "Through all 2 layers tokens take about 812 different paths; the most frequent one has 2 % of them, the 100 "
        "most frequent 25 %."
    )
    assert "too many paths" in coverage_takeaway(coverage, Result(value=np.array([NAN])))
    frame = coverage_frame(coverage)
    assert frame.iloc[4].tolist() == ["all 2", "top 1", 0.02]


def test_the_same_path_beside_independent_layers():
    same = Result(value=np.array([0.1, 0.02]), null=np.array([0.1, 0.01]), labels={"w": ("1 layer", "all 2")})
    assert same_takeaway(same) == (
        "Two tokens at random take the same path with a chance of 1 in 50; were layers independent, 1 in 100: 2 times "
        "as likely."
    )
    none = Result(value=np.array([0.1, -0.00001]), null=same.null, labels=same.labels)
    assert same_takeaway(none).startswith("No two tokens")
    drawn = same_plot([("A", none)]).data[-1]
    assert drawn.x.tolist() == [1, 2]
    assert np.isnan(drawn.y[1])
    assert same_frame([("A", same), ("B", same)])["capture"].tolist() == ["A", "A", "B", "B"]
