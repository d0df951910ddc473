"""One expert as figures: sentences, links and data of results made by hand."""

import re

import numpy as np
import pytest

from gatescope.analysis.comparison.expert_flow import Flow, PlaceLoad
from gatescope.analysis.labels.expert_words import Contexts, ExpertWord, Vocabulary
from gatescope.analysis.registry import Result
from gatescope.app.charts.forest import forest
from gatescope.app.views.expert import coactivation_figure as partners
from gatescope.app.views.expert import groups_figure as groups
from gatescope.app.views.expert.profile_figure import (
    UsageDifference,
    busiest,
    by_load,
    glance_frame,
    glance_words,
    tiles,
    usage_difference_of,
)
from gatescope.app.views.expert.words_figure import (
    contexts_frame,
    contexts_html,
    contexts_words,
    words_figure,
    words_frame,
    words_html,
)
from gatescope.routing import Document
from gatescope.routing.errors import OptionError

NAN = float("nan")
LOAD = Result(
    value=np.array([[0.5, 2.0, NAN], [1.5, 0.0, 1.5]]),
    low=np.array([[0.4, 1.8, NAN], [NAN, NAN, NAN]]),
    high=np.array([[0.6, 2.2, NAN], [NAN, NAN, NAN]]),
)


def test_the_busiest_is_of_all_layers_or_of_one():
    assert busiest(LOAD.value, None) == (0, 1)
    assert busiest(LOAD.value, 1) == (1, 0)
    with pytest.raises(OptionError, match="no token of this kind"):
        busiest(np.full((2, 3), NAN), None)
    with pytest.raises(OptionError, match="no token of this kind"):
        busiest(np.zeros((2, 3)), 1)


def test_experts_that_a_layer_does_not_have_have_no_rank():
    assert by_load(LOAD.value[0]) == [1, 0]
    assert by_load(LOAD.value[1]) == [0, 2, 1]


LEANS = Result(
    value=np.array([[[0.1]], [[0.3]], [[NAN]]]),
    q=np.array([[[0.01]], [[0.2]], [[NAN]]]),
    groups=("code", "law", "news"),
)


def test_the_usage_difference_is_the_largest_with_its_q():
    assert usage_difference_of(LEANS, 0, 0) == UsageDifference("law", 0.3, 0.2)
    assert not usage_difference_of(LEANS, 0, 0).is_sure
    assert usage_difference_of(Result(value=np.full((1, 1, 1), NAN), q=np.ones((1, 1, 1)), groups=("a",)), 0, 0) is None


def test_a_glance_says_load_interval_rank_state_and_what_is_sure():
    leans = {"domain": UsageDifference("code", 0.12, 0.003), "language": UsageDifference("de", 0.2, 0.4)}
    said = glance_words("0 (block 1)", 1, LOAD, 1.0, leans, 0, "N = 9").takeaway
    assert said == (
        "Expert 1 of layer 0 (block 1) does 2.00 times an even share of the work (95 % interval 1.80 to 2.20), the "
        "busiest of 2, and is hot. It is used more often for code."
    )
    quiet = glance_words("1", 2, LOAD, NAN, {"domain": None}, 1, "N = 9").takeaway
    assert quiet == "Expert 2 of layer 1 does 1.50 times an even share of the work, the 2nd busiest of 3."


def test_tiles_hold_the_same_and_escape_labels():
    shown = tiles(LOAD, None, NAN, {"domain": UsageDifference("<b>x</b>", 0.125, 0.003), "language": None}, 0, 1)
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)<small>", shown))
    assert facts["Load"] == "2.00 ×" and facts["Rank by load"] == "1 of 2"
    assert facts["State"] == "too little to tell" and facts["Weight given"] == "not recorded"
    assert (
        facts["Used more for (domain)"] == "&lt;b&gt;x&lt;/b&gt;"
        and facts["Used more for (language)"] == "not labelled"
    )
    assert "+12.5 points of tokens, q = 0.003" in shown


def test_the_layers_experts_are_the_glances_data():
    state = Result(value=np.array([[0.0, 1.0, NAN]]))
    frame = glance_frame(LOAD, LOAD, state, 0)
    assert frame[["expert", "relative_load", "state"]].values.tolist() == [
        [1, 2.0, "hot"],
        [0, 0.5, "neither hot nor cold"],
    ]


WORDS = (
    ExpertWord(token=1, z=9.0, q=1e-9, lift=3.0, here=30, tokens=40, held_lift=2.5, held_here=20, held_tokens=30),
    ExpertWord(token=2, z=1.0, q=0.4, lift=1.2, here=5, tokens=9, held_lift=NAN, held_here=0, held_tokens=0),
)
FOUND = Vocabulary(WORDS, own=0.3, every=0.1, lift=3.0, low=2.0, high=4.0, tokens=60, documents=11)


def test_words_are_said_with_what_held(make_record):
    record = make_record(["x", "one", "two"])
    words = words_figure(record, FOUND, "read", "N = 9")
    assert words.takeaway == (
        "By what it reads, its own are above all “one”, “two”. In 11 other documents its 1 surest words are 30% of its "
        "tokens and 10% of all: 3.0 times as many (95 % interval 2.0 to 4.0)."
    )
    assert words.badge == "replicated"
    assert words_figure(record, FOUND._replace(low=0.9), "read", "").badge == "beyond null"
    assert words_figure(record, FOUND._replace(words=WORDS[1:]), "read", "").badge == "observed"
    alone = words_figure(record, FOUND._replace(lift=NAN, low=NAN), "next", "")
    assert "no other documents" in alone.takeaway and alone.badge == "beyond null"
    with pytest.raises(OptionError, match="no word with 5 tokens"):
        words_figure(record, FOUND._replace(words=()), "read", "")


def test_the_table_of_words_has_both_halves(make_record):
    record = make_record(["x", "one", "<b>"])
    cells = re.findall(r"<td>(.*?)</td>", words_html(record, FOUND))
    assert cells[:5] == ["3.0 ×", "30 / 40", "9.0, < 0.001", "2.5 ×", "20 / 30"]
    assert cells[8:] == ["–", "0 / 0"]
    assert "&lt;b&gt;" in words_html(record, FOUND)
    assert words_frame(record, FOUND)["token"].tolist() == ["one", "<b>"]


def test_contexts_say_how_many_are_of_its_words(make_record):
    record = make_record(["x", "one", "two"], layers=1)
    found = Contexts(np.array([0, 1]), np.array([2]), True)
    said = contexts_words(record, found, FOUND, "").takeaway
    assert said == (
        "Of 2 tokens at random 1 is among the words above; of the 1 that it was given most weight for, 0. Both are of "
        "documents that its words were not picked from."
    )
    assert "the same text" in contexts_words(record, found._replace(is_held_out=False), None, "").takeaway
    frame = contexts_frame(record, found, 0, 2)
    assert frame[["picked", "token", "weight"]].values.tolist() == [
        ["random", "x", 0.0],
        ["random", "one", 0.25],  # token 1 takes experts 1 and 2 with 0.75 and 0.25
        ["most weight", "two", 0.75],
    ]
    shown = contexts_html(record, found.random_n, 0, 2, lambda row: f"?t={row}", "At random")
    assert re.findall(r'href="([^"]*)"', shown) == ["?t=0", "?t=1"] and "<mark>" in shown


def group_result(**columns):
    return Result(
        groups=("code", "law", "news"),
        **{name: np.array(values, float).reshape(3, 1, 1) for name, values in columns.items()},
    )


def test_groups_are_sorted_and_told_by_q():
    share = group_result(value=[0.2, 0.5, NAN], low=[0.1, 0.4, NAN], high=[0.3, 0.6, NAN])
    lean = group_result(value=[-0.3, 0.3, NAN], q=[0.2, 0.01, NAN])
    frame = groups.groups_frame(share, lean, 0, 0)
    assert frame["group"].tolist() == ["law", "code"]
    words = groups.groups_figure(frame, "domain", 0.25, "N = 9")
    assert words.takeaway.startswith("More than chance in law, less in none (q ≤ 0.05). Most: law, where 50% of tokens")
    assert words.badge == "beyond null"
    dots = {line.name: list(line.y) for line in groups.groups_plot(frame, 0.25).data}
    assert dots["A"] == ["law"] and dots["A, not beyond chance"] == ["code"]
    unsure = groups.groups_figure(frame.assign(q=0.5), "domain", 0.25, "")
    assert unsure.takeaway.startswith("No domain is beyond") and unsure.badge == "observed"
    with pytest.raises(OptionError, match="no domain with tokens"):
        groups.groups_figure(frame.head(0), "domain", 0.25, "")


def test_places_are_said_with_whether_intervals_meet():
    found = PlaceLoad(
        ("0", "1–3", "4–15"), *(np.array(v) for v in ([0.5, 2.0, NAN], [0.4, 1.5, NAN], [0.6, 2.5, NAN])), 1.2
    )
    frame = groups.places_frame(found)
    said = groups.places_figure(frame, found, "").takeaway
    assert said == "From 0.50 times its even share at positions 0 to 2.00 at 1–3; the two intervals lie apart."
    near = frame.assign(high=[1.6, 2.5])
    assert "do not lie apart" in groups.places_figure(near, found, "").takeaway
    assert "do not lie apart" in groups.places_figure(frame.assign(low=NAN, high=NAN), found, "").takeaway


def test_classes_are_sorted_and_the_middle_is_left_to_the_table():
    names = tuple(f"class {n}" for n in range(20))
    found = Result(value=np.arange(20.0).reshape(20, 1, 1), null=np.full((20, 1, 1), 1.5), labels={"c": names})
    frame = groups.classes_frame(found, 0, 0)
    said = groups.classes_figure(frame, "").takeaway
    assert said == (
        "Most of all class 19: 19.0 times an even share of their work, where it has 1.5 of all; least class 0, "
        "0.0 times."
    )
    drawn = list(groups.classes_plot(frame).data[-1].y)
    assert (
        drawn[:2] == ["class 19", "class 18"] and drawn[-3:] == ["class 2", "class 1", "class 0"] and len(drawn) == 12
    )


def link(layer: int, expert: int | None) -> str:
    return f"{layer}.{expert}"


def test_partners_are_read_only_where_chance_gives_enough():
    lift = Result(value=np.array([[[NAN, 2.0, 0.5, 9.0]]]))
    support = Result(value=np.array([[[NAN, 200.0, 50.0, 9.0]]]), null=np.array([[[NAN, 100.0, 100.0, 1.0]]]))
    frame = partners.partners_frame(lift, support, 0, 0)
    assert frame["expert"].tolist() == [3, 1, 2]
    said = partners.partners_figure(frame, 4, "", link).takeaway
    assert said == (
        "Most often expert 1: 200 tokens together, 2.00 times what chance gives (100); least expert 2, 0.50 times."
    )
    shown = partners.partners_html(frame, 4, link)
    assert re.findall(r'href="([^"]*)"', shown) == ["4.1", "4.2"]
    with pytest.raises(OptionError, match="chance would put together in 50"):
        partners.partners_figure(frame[frame["by_chance"] < 50], 4, "", link)


FLOW = Flow(3, np.array([7, 2]), np.array([0.5, 0.25]), np.array([0.1, 0.2]), 0.25, 0.7, 40)


def test_before_and_after_add_up_with_other():
    said = partners.flow_figure(FLOW, FLOW._replace(layer=5), "", link).takeaway
    assert said == (
        "Of the 40 tokens whose first choice it is, 50% come from expert 7 of layer 3 (10% of all tokens do) and 25% "
        "from experts not named; 50% go on to expert 7 of layer 5 (10% of all tokens do) and 25% to experts not named."
    )
    assert "go on" not in partners.flow_figure(FLOW, None, "", link).takeaway
    with pytest.raises(OptionError, match="no token whose first choice"):
        partners.flow_figure(None, None, "", link)
    frame = partners.flow_frame(FLOW, None)
    assert frame["share"].sum() == 1 and frame["expert"].isna().tolist() == [False, False, True]
    shown = partners.flow_html(FLOW, "Before", link)
    assert re.findall(r'href="([^"]*)"', shown) == ["3.7", "3.2"] and "other" in shown


def test_a_forest_escapes_its_names_and_keeps_their_order():
    shown = forest(["<b>", "x"], np.array([1.0, 2.0]), x="load", null=1.5)
    assert list(shown.data[-1].y) == ["&lt;b&gt;", "x"]
    assert shown.layout.yaxis.categoryarray == ("&lt;b&gt;", "x")
    assert shown.data[0].x == (1.5, 1.5)


HOSTILE = '"><img src=x onerror=alert(1)>'


def test_no_text_becomes_markup(make_record):
    record = make_record([HOSTILE] * 3, layers=1, documents=(Document("x", id=HOSTILE, domain=HOSTILE),))
    shown = [
        words_html(record, FOUND),
        contexts_html(record, np.array([0]), 0, 0, lambda _row: HOSTILE, HOSTILE),
        partners.flow_html(FLOW, HOSTILE, lambda _layer, _expert: HOSTILE),
        tiles(LOAD, None, NAN, {HOSTILE: UsageDifference(HOSTILE, 1.0, 0.0)}, 0, 1),
    ]
    assert not any("<img" in one for one in shown)
