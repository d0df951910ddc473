"""What the page of domains says and draws, from results that are written out and checked by hand."""

import numpy as np
import pandas as pd
import pytest

from gatescope.analysis.labels.composition import composition
from gatescope.analysis.labels.evidence import DocumentUse, WordParts
from gatescope.analysis.registry import Result
from gatescope.app.views.domains.decoding_figure import (
    decoding_frame,
    decoding_plot,
    decoding_takeaway,
    is_support_sure,
    support_rows,
    support_takeaway,
)
from gatescope.app.views.domains.divergence_figure import (
    apart_frame,
    apart_grid,
    apart_takeaway,
    exclusive_takeaway,
    mean_apart,
    mean_takeaway,
    pair_sentence,
    reach_takeaway,
)
from gatescope.app.views.domains.evidence_figure import (
    Cell,
    behind_html,
    cell_of,
    cell_sentence,
    document_list,
    parts_sentence,
    random_documents,
    top_documents,
    word_table,
)
from gatescope.app.views.domains.groups_figure import (
    NO_INTERVAL,
    composition_frame,
    deviation,
    differences,
    information_frame,
    information_plot,
    information_takeaway,
    is_significant,
    is_split_sure,
    specialized_counts,
    split_frame,
    split_notes,
    split_plot,
    split_population,
    split_takeaway,
    usage_difference_frame,
    usage_difference_takeaway,
)
from gatescope.routing.record import Document
from tests.records import build_record

NAN = np.nan
NAMES = ["0", "1"]
TOLD = Result(
    value=np.array([0.25, 0.5]), null=np.array([0.05, 0.1]), p=np.array([0.3, 0.001]), q=np.array([0.3, 0.002])
)


def split(**columns) -> pd.DataFrame:
    """A table of the composition: layer 0 is words alone, layer 1 one quarter words."""
    rows = {
        "layer_name": NAMES,
        "label_excess_bits": [0.2, 0.4],
        "label_z": [10.0, 40.0],
        "words_excess_bits": [0.25, 0.1],
        "share_excess": [1.25, 0.25],
        "agreement": [0.9, 0.8],
        "given_words_excess_bits": [0.0, 0.3],
        "given_words_null_mean_bits": [0.02, 0.04],
        "given_words_z": [NAN, 30.0],
        "given_words_p_value": [0.6, 0.01],
        "covered": [0.4, 0.4],
        "one_label": [0.1, 0.1],
    }
    return pd.DataFrame(rows | columns)


def test_bits_are_said_as_they_are_drawn_beside_those_of_chance():
    assert information_takeaway(TOLD, NAMES, "domain") == (
        "One choice of an expert tells 0.3 (layer 0) to 0.6 bits (layer 1) of the domain, where shuffled labels tell "
        "0.05 (layer 0) to 0.1 (layer 1): significantly above chance (q ≤ 0.05) in 1 of 2 layers."
    )
    assert not is_significant(TOLD)
    assert is_significant(Result(value=TOLD.value, q=np.array([0.05, NAN])))
    assert not is_significant(Result(value=TOLD.value)), "what is not tested is not sure"


def test_the_spread_of_chance_is_the_excess_over_its_number_of_deviations():
    assert deviation(split()).tolist() == pytest.approx([0.02, 0.01])
    assert deviation(None) is None
    assert np.isnan(deviation(split(label_z=[0.0, NAN]))).all()


def test_the_line_of_bits_holds_chance_as_well():
    frame = information_frame(TOLD, NAMES, np.array([0.02, 0.01]))
    assert frame["bits"].tolist() == pytest.approx([0.3, 0.6])
    assert frame["chance_bits"].tolist() == [0.05, 0.1]
    shown = information_plot(TOLD, NAMES, np.array([0.02, 0.01]), Result(value=np.array([0.1]), null=np.array([0.1])))
    lines = {trace.name: list(trace.y) for trace in shown.data if trace.name}
    assert lines["A"] == pytest.approx([0.3, 0.6]) and lines["B"] == pytest.approx([0.2])
    band = [list(trace.y) for trace in shown.data if not trace.name]
    assert band[0] == pytest.approx([0.05 + 1.96 * 0.02, 0.1 + 1.96 * 0.01])
    assert band[1] == pytest.approx([0.05 - 1.96 * 0.02, 0.1 - 1.96 * 0.01])


def test_the_two_parts_sum_to_what_is_told_beyond_chance():
    shown = split_frame(split())
    assert (shown["words_alone_bits"] + shown["beyond_words_bits"]).tolist() == pytest.approx([0.2, 0.4])
    assert shown["beyond_words_bits"].tolist() == pytest.approx([-0.05, 0.3])
    assert shown["same_word_q"].tolist() == pytest.approx([0.6, 0.02])  # two tests: 0.01 × 2 / 1, 0.6 × 2 / 2
    assert shown["same_word_chance_low"].tolist()[1] == pytest.approx(0.04 - 1.96 * 0.3 / 30)
    assert shown["same_word_chance_high"].tolist()[1] == pytest.approx(0.04 + 1.96 * 0.3 / 30)
    bars = {bar.name: list(bar.y) for bar in split_plot(shown).data}
    assert bars["at the same word"] == pytest.approx([0.0, 0.3])
    assert bars["beyond the words"] == pytest.approx([-0.05, 0.3])
    assert split_plot(shown).data[0].marker.pattern.shape == "/", "told apart without colour"


def test_the_two_parts_are_of_the_bits_that_the_figure_beside_them_draws():
    shown = split_frame(split(), Result(value=np.array([0.21, 0.39])))
    assert shown["beyond_chance_bits"].tolist() == [0.21, 0.39]
    assert shown["beyond_words_bits"].tolist() == pytest.approx([-0.04, 0.29])
    assert shown["words_share"].tolist() == pytest.approx([0.25 / 0.21, 0.1 / 0.39])


def test_of_a_part_of_the_tokens_the_words_explain_their_share_of_the_bits_of_all():
    shown = split_frame(split(), Result(value=np.array([0.2, 0.8])), is_part=True)
    assert shown["beyond_chance_bits"].tolist() == [0.2, 0.8]
    assert shown["words_share"].tolist() == pytest.approx([1.25, 0.25])
    assert shown["words_alone_bits"].tolist() == pytest.approx([0.25, 0.2])
    assert (shown["words_alone_bits"] + shown["beyond_words_bits"]).tolist() == pytest.approx([0.2, 0.8])
    said = split_population(split(label_documents=[300, 290]), "N = 9 tokens of 8,000 documents")
    assert said == "N = 9 tokens of 8,000 documents · what the words explain: the first 300 of these documents"


def test_why_the_split_has_no_interval_is_said():
    assert ("Interval", NO_INTERVAL) in split_notes(split_frame(split()), "domain")


def test_the_split_gives_its_verdict_first_and_no_share_above_all():
    assert split_takeaway(split_frame(split(given_words_excess_bits=[0.0, 0.1])), "domain") == (
        "Real but slight: at the same word, experts tell the domain in 1 of 2 layers (q ≤ 0.05), by 0.1 bits beyond "
        "chance; 0.18 bits would be a large effect. The words alone explain 25 % (layer 1) to 100 % (layer 0) of what "
        "experts tell of the domain in all; in 1 layer they alone would set the domains further apart than they are."
    )
    sure = split_frame(split(given_words_p_value=[0.01, 0.01]))
    assert split_takeaway(sure, "domain").startswith("Real and large:") and is_split_sure(sure)
    unsure = split_frame(split(given_words_p_value=[0.4, 0.4]))
    assert split_takeaway(unsure, "domain").startswith("Not established:") and not is_split_sure(unsure)


def test_the_split_says_what_it_cannot_know():
    nothing = split_frame(split(given_words_p_value=[NAN, NAN]))
    assert split_takeaway(nothing, "language").startswith("Not known:")
    assert not is_split_sure(nothing)
    few = split_frame(split(covered=[0.049, 0.4], given_words_p_value=[0.01, 0.01]))
    assert split_takeaway(few, "domain").startswith(
        "Not known: words that two domains have often are 4.9 % of the text, and 5 % are needed to say."
    )
    assert not is_split_sure(few), "no badge from so little text"
    no_bits = split_frame(split(share_excess=[NAN, NAN]))
    assert "nothing for the words to explain" in split_takeaway(no_bits, "domain")
    one = split_takeaway(split_frame(split(one_label=[0.52, 0.52])), "language")
    assert one.endswith(
        "But 52 % of the choices are at words that one language alone has: there, vocabulary and language cannot be "
        "separated."
    )


def test_a_composition_of_now_has_the_columns_of_a_study():
    ids_tlk = np.array([0, 1, 0, 1, 0, 1, 0, 1], np.uint8)[:, None, None]
    layers = composition(ids_tlk, np.arange(8) % 2, np.arange(8) // 2, np.array([0, 0, 1, 1]), permutations=9)
    frame = composition_frame(layers, ["0"])
    assert set(split().columns) <= set(frame.columns)
    assert frame["label_assignments"].tolist() == [8]


LEANING = Result(
    value=np.array([[[0.5, -0.25, 0.1]], [[-0.5, 0.25, NAN]]]),
    null=np.zeros((2, 1, 3)),
    p=np.full((2, 1, 3), 0.01),
    q=np.array([[[0.01, 0.2, 0.04]], [[0.05, NAN, NAN]]]),
    low=np.array([[[0.4, -0.3, 0.0]], [[-0.6, 0.2, NAN]]]),
    high=np.array([[[0.6, -0.2, 0.2]], [[-0.4, 0.3, NAN]]]),
    groups=("code", "law"),
)
SHARE = Result(value=np.full((2, 1, 3), 0.6), low=np.full((2, 1, 3), 0.5), high=np.full((2, 1, 3), 0.7))


def test_usage_differences_are_experts_by_groups_and_faint_where_chance_may_do_it():
    grid = differences(LEANING, 0, 2)
    assert grid.values_eg.tolist() == [[0.5, -0.5], [-0.25, 0.25]]
    assert grid.faded_eg.tolist() == [[False, False], [True, True]], "an untested cell is no finding either"
    assert (grid.scale.low, grid.scale.null, grid.scale.high) == (-0.5, 0.0, 0.5)
    flat = differences(Result(value=np.zeros((1, 1, 2)), groups=("code",)), 0, 2)
    assert flat.scale.high == 0.05 and flat.faded_eg.all()


def test_the_strongest_usage_difference_is_named_with_its_q():
    assert usage_difference_takeaway(LEANING, 0, NAMES, "domain") == (
        "Layer 0: the largest usage difference is expert 0's, +0.50 for code (q = 0.01). "
        "3 of 4 cells are significant (q ≤ 0.05)."
    )
    nothing = Result(value=np.full((1, 1, 2), NAN), groups=("code",))
    assert "No specialization in layer 0" in usage_difference_takeaway(nothing, 0, NAMES, "domain")


def test_the_table_of_usage_differences_has_intervals_and_leaves_out_what_is_undefined():
    frame = usage_difference_frame(LEANING, SHARE, 0, "domain")
    assert list(frame["domain"]) == ["code"] * 3 + ["law"] * 2
    assert frame.columns.tolist() == [
        "domain",
        "expert",
        "share",
        "share_low",
        "share_high",
        "usage_difference",
        "low",
        "high",
        "chance",
        "p",
        "q",
    ]


def test_usage_differences_are_counted_among_those_tested():
    counts = specialized_counts(LEANING)
    assert counts.shape == (1, 2)
    assert counts[0].tolist() == pytest.approx([2 / 3, 1.0])
    assert np.isnan(specialized_counts(Result(value=np.zeros((1, 1, 2)), groups=("code",)))).all()


def distances() -> Result:
    """Three groups in one layer: code and law 0.3 apart, 0.1 by chance; fiction alone in its file has no null."""
    value, null = np.zeros((1, 3, 3)), np.full((1, 3, 3), NAN)
    for g, h, distance, chance in ((0, 1, 0.3, 0.1), (0, 2, 0.2, 0.15), (1, 2, 0.5, NAN)):
        value[0, g, h] = value[0, h, g] = distance
        null[0, g, h] = null[0, h, g] = chance
    q = np.full((1, 3, 3), NAN)
    q[0, 0, 1] = q[0, 1, 0] = 0.01
    q[0, 0, 2] = q[0, 2, 0] = 0.4
    return Result(value=value, null=null, p=q, q=q, groups=("code", "law", "fiction"))


def test_distances_are_shown_beyond_chance():
    grid = apart_grid(distances(), 0)
    assert grid.values_gh[0].tolist() == pytest.approx([0.0, 0.2, 0.05])
    assert np.isnan(grid.values_gh[1, 2])
    assert grid.faded_gh.tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert apart_takeaway(distances(), 0, NAMES) == (
        "Layer 0: furthest apart are code and law (0.2 bits beyond chance), closest code and fiction (0.05). 1 of 2 "
        "pairs differ beyond chance (q ≤ 0.05)."
    )
    assert len(apart_frame(distances(), 0)) == 3


def test_the_mean_distance_leaves_out_pairs_without_a_null():
    value_l, null_l = mean_apart(distances())
    assert (value_l[0], null_l[0]) == pytest.approx((0.25, 0.125))
    assert mean_takeaway(value_l, null_l, ["0"], "bits") == (
        "On average 0.25 bits (layer 0) apart, 2 to 2 times what chance gives; above chance in 1 of 1 layer."
    )
    nothing = Result(value=np.zeros((1, 2, 2)), groups=("a", "b"))
    assert "No two of them" in mean_takeaway(*mean_apart(nothing), ["0"], "bits")


SUPPORT = pd.DataFrame(
    {
        "layer": [0, 0],
        "layer_name": ["0", "0"],
        "group": ["", "code"],
        "other_group": ["", "law"],
        "ids": [6, 65],
        "covered": [0.06, 0.5],
        "raw_excess_bits": [0.2, 0.1],
        "standardised_excess_bits": [0.1, 0.02],
        "standardised_p_value": [0.01, 0.3],
        "left": [0.5, 0.2],
        "reason": ["", ""],
        "q": [NAN, 0.3],
    }
)


def test_two_groups_are_held_against_each_other_in_words():
    shift = Result(value=np.full((1, 3, 3), 0.22))
    assert pair_sentence(distances(), shift, 0, (0, 1), SUPPORT) == (
        "code and law: 0.3 bits apart, 0.1 by chance (q = 0.01). 22 % of the work goes to other experts in one "
        "than in the other. Under one mix of the 65 words that both have often (50 % of the text), 0.02 "
        "bits beyond chance are left (q = 0.3)."
    )
    assert "one mix" not in pair_sentence(distances(), shift, 0, (0, 2), SUPPORT)
    assert "no shared word" in pair_sentence(
        distances(), shift, 0, (1, 0), SUPPORT.assign(reason=["", "no shared word"])
    )


def test_the_table_of_one_mix_speaks_of_all_groups():
    rows = support_rows(SUPPORT)
    assert len(rows) == 1
    assert support_takeaway(rows, "domain") == (
        "If every domain had one mix of the 6 words that all have often (6 % of the text), experts would still tell "
        "0.1 bits (layer 0) of it beyond chance, significantly (p ≤ 0.05) in 1 of 1 layer."
    )
    assert is_support_sure(rows)
    nothing = rows.assign(one_mix_beyond_chance_bits=NAN, why_not="no word is shared")
    assert support_takeaway(nothing, "domain") == "Nothing is known: no word is shared."


@pytest.mark.parametrize(("words", "share", "said"), [(4, 0.06, "only 4 words (6 % of"), (40, 0.049, "(4.9 % of")])
def test_nothing_is_claimed_of_few_words_or_little_text(words, share, said):
    rows = support_rows(SUPPORT.assign(ids=words, covered=share))
    assert support_takeaway(rows, "domain").startswith("Too little to go by: only")
    assert said in support_takeaway(rows, "domain") and "5 words and 5 % of" in support_takeaway(rows, "domain")
    assert not is_support_sure(rows)


def test_languages_share_experts_or_have_their_own():
    reach = Result(value=np.array([[0.9, 0.0, 0.5, NAN]]))
    assert reach_takeaway(reach) == (
        "Of 3 experts, 1 do significantly more than an even share in nine of ten languages, 1 in none."
    )
    own = Result(value=np.array([[0.0, 0.125], [0.0, 0.0]]), groups=("de", "ja"))
    assert exclusive_takeaway(own, NAMES) == (
        "Most: 12 % of the experts of layer 1 for de; 1 of 2 languages have one in some layer."
    )
    assert exclusive_takeaway(Result(value=np.zeros((2, 2)), groups=("de", "ja")), NAMES).startswith("No expert")


def test_telling_documents_is_held_against_words_and_chance():
    routing = Result(
        value=np.array([0.2, 0.6]), low=np.array([0.1, 0.5]), high=np.array([0.3, 0.7]), null=np.full(2, 0.25)
    )
    words = Result(value=np.array(0.4), low=np.array(0.3), high=np.array(0.5), null=np.array(0.25))
    over = Result(value=np.array([-0.2, 0.2]), low=np.array([-0.3, 0.1]), high=np.array([-0.1, 0.3]), null=np.zeros(2))
    assert decoding_takeaway(routing, words, over, NAMES, "domain") == (
        "From the experts of one layer, 20 % (layer 0) to 60 % (layer 1) of the documents are predicted correctly; "
        "from their words 40 %, by always naming the largest domain 25 %. "
        "The interval lies above that in 1 of 2 layers. The experts do significantly better than the words in 1 of 2 "
        "layers."
    )
    frame = decoding_frame(routing, words, over, NAMES)
    assert frame["from"].tolist() == ["experts"] * 2 + ["words"] * 2 + ["over words"] * 2
    lines = {trace.name: list(trace.y) for trace in decoding_plot(routing, words, NAMES).data if trace.name}
    assert lines["from words"] == pytest.approx([0.4, 0.4]) and lines["chance"] == [0.25, 0.25]


CELL = Cell(layer=0, expert=3, group="<b>law</b>", share=0.6, low=0.5, high=0.7, difference=0.5, q=0.01)


def test_a_cell_is_said_with_its_interval_and_what_others_do():
    assert cell_sentence(CELL) == (
        "60 % of the tokens of <b>law</b> use it (95 % interval 50 % to 70 %), 10 % of all others: +0.500, q = 0.01."
    )
    assert cell_sentence(CELL._replace(low=NAN, q=NAN)).endswith("use it, 10 % of all others: +0.500, not tested.")
    found = cell_of(LEANING, SHARE, 0, 1, 0)
    assert (found.difference, found.share, found.low, found.q) == (-0.25, 0.6, 0.5, 0.2)


def parts() -> WordParts:
    """Token 2 brings most, token 1 a little, token 0 takes away."""
    count = np.array([5, 9, 9]), np.array([1, 2, 4]), np.array([4, 1, 0]), np.array([0, 1, 2])
    return WordParts(
        np.array([2, 1, 0]), *count, np.array([0.4, 0.1, -0.1]), np.array([0.3, 0.1, 0]), np.array([0.1, 0, -0.1])
    )


def test_the_parts_of_words_are_summed():
    assert parts_sentence(parts()) == (
        "Of +0.400, +0.400 come from which words are used, and +0.000 from the expert taking the same words more or "
        "less often."
    )


def test_short_documents_are_not_on_top_and_random_ones_are_others():
    use = DocumentUse(np.array([100, 5, 50, 40, 0, 60, 70, 80, 90]), np.array([10, 5, 40, 30, 0, 6, 7, 8, 9]))
    in_group_d = np.array([True] * 8 + [False])
    top = top_documents(use, in_group_d)
    assert top[:2] == [2, 3]
    assert set(top) == {0, 2, 3, 5, 6} and 4 not in top, (
        "three tenths are equal: the first documents; the empty one never"
    )
    rest = random_documents(use, in_group_d, top)
    assert sorted(rest) == [1, 7]
    assert rest == random_documents(use, in_group_d, top)


def test_what_lies_behind_a_cell_is_escaped():
    record = build_record(["a", "<script>", "<i>"])
    documents = [Document("<script>alert(1)</script> said", id="x")]
    use = DocumentUse(np.array([40]), np.array([10]))
    listed = document_list([0], use, documents, lambda number: f"prompt?d={number}&x=\"'")
    assert "<script>" not in listed and "&lt;script&gt;" in listed and "25 %" in listed and "10 of 40 tokens" in listed
    assert 'href="prompt?d=0&amp;x=&quot;&#x27;"' in listed
    words = word_table(parts(), record, "<b>law</b>")
    assert "&lt;i&gt;" in words and "<b>law" not in words and words.count("<tr><td>") == 2, (
        "what takes away is left out"
    )
    html = behind_html(CELL, parts(), layer_name="0", expert_href="expert?e=3", tops=listed, random="", words=words)
    assert "<b>law" not in html and "<script>" not in html


def test_nothing_behind_a_cell_is_said():
    assert document_list([], DocumentUse(np.zeros(0), np.zeros(0)), [], str) == "<p>None.</p>"
    none = WordParts(*(np.zeros(0, np.int64),) * 5, *(np.zeros(0),) * 3)
    assert word_table(none, build_record(), "law") == "<p>No word adds to it.</p>"
