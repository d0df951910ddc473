"""What the page of locality says and draws, from results that are written out and checked by hand."""

import re

import numpy as np
import pytest

from gatescope.analysis.comparison.cache_spread import Loads
from gatescope.analysis.registry import Result
from gatescope.app.views.locality.cache_planner_figure import (
    bytes_per_token,
    loads_frame,
    loads_plot,
    order_part,
    plan,
    plan_rows,
    verdict,
)
from gatescope.app.views.locality.reach_figure import (
    curves,
    hits_frame,
    hits_plot,
    hits_takeaway,
    overlap_frame,
    overlap_plot,
    overlap_takeaway,
    resident_html,
    residents,
)
from gatescope.routing.router import RouterRule

NAN = np.nan
LAGS = {"b": ("1", "2", "4")}
OVERLAP = Result(
    value=np.array([[0.5, 0.4, NAN], [0.3, 0.2, NAN]]),
    low=np.array([[0.4, 0.3, NAN], [0.2, 0.1, NAN]]),
    high=np.array([[0.6, 0.5, NAN], [0.4, 0.3, NAN]]),
    null=np.array([[0.3, 0.35, NAN], [0.1, 0.05, NAN]]),
    labels=LAGS,
)


def rules(*sizes: tuple[int, int]) -> list[RouterRule]:
    """Layers of so many experts and so many a token."""
    return [
        RouterRule(layer=n, block=n, module="m", experts=experts, k=k, score="softmax")
        for n, (experts, k) in enumerate(sizes)
    ]


def test_overlap_is_said_near_and_far_over_other_documents():
    assert overlap_takeaway(OVERLAP, 0) == (
        "A token shares 50 % of its experts with the next one, 40 % with the one 2 on. Beyond tokens of other "
        "documents of the same kind, that is +0.200 and +0.050 at distance 2."
    )
    assert "shares 40 % of its experts with the next one, 30 %" in overlap_takeaway(OVERLAP, None), "the mean of layers"


def test_overlap_without_others_or_without_pairs_says_so():
    alone = Result(value=np.array([[0.5, NAN, NAN]]), null=np.full((1, 3), NAN), labels=LAGS)
    assert overlap_takeaway(alone, 0) == (
        "A token shares 50 % of its experts with the next one. There is no other document of the same kind to hold it "
        "against."
    )
    assert "No document is long enough" in overlap_takeaway(Result(value=np.full((1, 3), NAN), labels=LAGS), 0)


def test_overlap_has_an_interval_for_one_layer_only():
    assert len(overlap_plot(OVERLAP, 0).data) == 4, "chance, the band's two ends, A"
    assert len(overlap_plot(OVERLAP, None).data) == 2
    assert [trace.name for trace in overlap_plot(OVERLAP, 1, OVERLAP).data if trace.name][-1] == "B"
    assert len(overlap_plot(OVERLAP, 1, Result(value=OVERLAP.value[:1], labels=LAGS)).data) == 4, "B has no layer 1"


def test_the_table_of_overlap_is_that_of_the_figure():
    """One line of the figure is one part of the table: of the mean over layers, or of the layer that is shown."""
    for layer, name in ((None, "the mean over layers"), (1, "second")):
        frame = overlap_frame(OVERLAP, ["first", "second"], layer, OVERLAP)
        drawn = {line.name: np.array(line.y) for line in overlap_plot(OVERLAP, layer, OVERLAP).data if line.name}
        assert set(frame["layer"]) == {name}
        for whose in "AB":
            own = frame[frame["capture"] == whose]
            assert own["distance"].tolist() == ["1", "2", "4"]
            assert own["value"].to_numpy() == pytest.approx(drawn[whose], abs=1e-6, nan_ok=True)
        null = frame.loc[frame["capture"] == "A", "null"].to_numpy()
        assert null == pytest.approx(drawn["other documents of the same kind"], abs=1e-6, nan_ok=True)
        assert ("low" in frame) is (layer is not None), "a mean over layers has no interval of its own"
    shorter = Result(value=OVERLAP.value[:1], labels=LAGS)
    assert set(overlap_frame(OVERLAP, ["0", "1"], 1, shorter)["capture"]) == {"A"}, "B has no layer 1"


def rates(rows: list[list[float]], null: list[list[float]] | None = None) -> Result:
    return Result(value=np.array(rows), null=None if null is None else np.array(null))


def found(layer: int | None, sizes=((4, 1), (4, 1))):
    """Hit rates of two layers with four experts each; the second twice as good as the first."""
    lru = rates([[0.1, 0.2, 0.3, 0.4], [0.2, 0.4, 0.6, 0.8]], [[0.1, 0.1, 0.1, 0.1]] * 2)
    lfu, best, fixed = (rates([[value] * 4] * 2) for value in (0.5, 0.9, 0.25))
    segment = Result(
        value=np.array([[0.3, 0.5, 0.7]] * 2), low=np.array([[0.2, 0.4, 0.6]] * 2), high=np.array([[0.4, 0.6, 0.8]] * 2)
    )
    return curves(lru, lfu, best, fixed, segment, rules(*sizes), layer)


def test_hit_curves_are_of_one_layer_or_of_their_mean():
    assert found(1).by_policy["lru"].tolist() == [0.2, 0.4, 0.6, 0.8]
    assert found(None).by_policy["lru"].tolist() == pytest.approx([0.15, 0.3, 0.45, 0.6])
    assert found(None).by_policy["chance"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found(1).segment_x.tolist() == [1, 2, 3]
    assert np.isnan(found(None).segment_low).all(), "a mean over layers has no interval of its own"


def test_layers_of_different_sizes_have_no_segment_in_common():
    assert found(None, ((4, 1), (4, 2))).segment_x.tolist() == []
    assert found(1, ((4, 1), (4, 2))).segment_x.tolist() == [2, 4, 4], "never more than all"
    assert len(hits_plot(found(None, ((4, 1), (4, 2))), 2).data) > 5


def test_hits_are_said_at_the_chosen_size():
    assert hits_takeaway(found(1), 2, "layer 1") == (
        "With 2 experts kept (layer 1), 40 % of the requests find theirs among those used last, 25 % if the most used "
        "of other documents are fixed, 90 % at best; an even router 50 %. 2 will not do if 90 % are to find "
        "theirs, and no number does in texts so short. The order of the tokens adds +30.0 points to those used last."
    )
    one = found(1)
    one.by_policy["fixed"][:] = NAN
    assert "fixed" not in hits_takeaway(one, 2, "layer 1")
    one.by_policy["lru"][:] = NAN
    assert "choose a layer" in hits_takeaway(one, 2, "layer 1")


def test_every_policy_is_a_line_of_its_own_dash_named_at_the_line():
    shown = hits_plot(found(1), 3)
    lines = [trace for trace in shown.data if "lines" in trace.mode]
    assert len({trace.line.dash for trace in lines}) == len(lines) == 6
    assert {note.text for note in shown.layout.annotations} >= {"fixed", "best possible", "chance, C / E"}
    assert shown.layout.shapes[0].x0 == 3
    frame = hits_frame(found(1))
    assert len(frame) == 6 * 4 + 3
    assert frame["low"].dropna().tolist() == [0.2, 0.4, 0.6]


def test_residents_are_links_and_names_are_escaped():
    assert residents(np.array([1.0, 3.0, 2.0, NAN]), 2) == [1, 2]
    html = resident_html([("Layer <0>", [1, 2], ["expert?e=1&l=0", '"x'])])
    assert re.findall(r'href="([^"]*)"', html) == ["expert?e=1&amp;l=0", "&quot;x"]
    assert "Layer &lt;0&gt;" in html
    assert "and 2 more" in resident_html([("0", list(range(50)), ["x"] * 50)])


TWO = rules((4, 1), (8, 2))
RATES = {
    "lru": np.array([[0.5, 0.75, 0.9, 1.0] + [NAN] * 4, [0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0]]),
    "mixed": np.array([[0.4, 0.7, 0.9, 1.0] + [NAN] * 4, [0.25, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0]]),
    "fixed": np.array([[0.3, 0.6, 0.9, 1.0] + [NAN] * 4, [0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0]]),
    "best": np.array([[0.6, 0.8, 0.9, 1.0] + [NAN] * 4, [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0]]),
}


def test_a_plan_counts_bytes_layer_by_layer():
    made = plan(TWO, (100, 1000), 2.0, 5)
    assert made.kept_l.tolist() == [4, 5], "a layer of four keeps its four"
    assert made.memory == 4 * 200 + 5 * 2000
    assert made.room == 2 * 2000
    assert made.whole == 4 * 200 + 8 * 2000


def test_what_a_token_loads_is_what_is_not_served():
    made = plan(TWO, (100, 1000), 2.0, 2)
    assert bytes_per_token(RATES["lru"], TWO, made).tolist() == pytest.approx([1 * 0.25 * 200, 2 * 0.5 * 2000])
    nothing = plan(TWO, (100, 1000), 2.0, 0)
    assert bytes_per_token(RATES["lru"], TWO, nothing).sum() == 1 * 200 + 2 * 2000
    # saved: 4,200 - 2,050; in random order 4,200 - (60 + 2,400)
    assert order_part(RATES, TWO, made) == pytest.approx(((60 + 2400) - 2050) / (4200 - 2050))
    assert np.isnan(order_part(RATES, TWO, nothing))


def test_the_verdict_names_bytes_their_interval_and_the_worst_documents():
    made = plan(TWO, (100, 1000), 2.0, 2)
    loads = Loads(mean=2050, low=2000, high=2100, asked=4200, light=1500, heavy=2600, documents=10)
    assert verdict(made, loads, 0.19) == (
        "With 2 experts kept in each layer, a token loads 2.05 kB on average (95 % interval 2 kB to 2.1 kB) instead of "
        "4.2 kB: 51 % less; one document in ten loads more than 2.6 kB a token; 19 % of the saving is owed to the "
        "order of the tokens."
    )
    one = verdict(made, loads._replace(low=NAN, high=NAN, documents=1), NAN)
    assert "interval" not in one and "one document in ten" not in one and "order" not in one
    assert verdict(made, loads._replace(mean=NAN), NAN) == "No token counts: nothing is asked for."
    assert not re.search("fast|slow|second|speed", verdict(made, loads, 0.19)), "bytes are known, time is not"


def test_the_plan_as_a_table_and_a_curve():
    rows = plan_rows(plan(TWO, (100, 1000), 2.0, 2), TWO, ["0", "1"], RATES)
    assert rows["served_used_last"].tolist() == [0.75, 0.5]
    assert rows["bytes_a_token_loads"].sum() == pytest.approx(2050)
    frame = loads_frame(TWO, (100, 1000), 2.0, RATES)
    assert len(frame) == 9
    assert frame["lru"].tolist()[0] == 4200 and frame["lru"].tolist()[-1] == 0
    assert frame["memory"].tolist()[2] == 8400
    assert (frame["best"] <= frame["lru"]).all()
    shown = loads_plot(frame, 2)
    assert shown.layout.shapes[0].x0 == pytest.approx(8.4), "in kB"
    assert "kB" in shown.layout.xaxis.title.text
