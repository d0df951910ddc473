"""Verdicts as HTML, as a sentence and as a table."""

import numpy as np

from gatescope.analysis.labels.verdict import Row, Verdict
from gatescope.app.views.model.claims_figure import claims_frame, claims_list, claims_takeaway


def verdict(holds="holds", **fields):
    known = {"name": "x", "claim": "It is so.", "bar": "Much.", "page": "layers", "figure": "12 of 13.", "null": "1."}
    return Verdict(**known | {"holds": holds, "tokens": 7, "documents": 2} | fields)


def test_the_takeaway_counts_the_verdicts():
    every = ["holds", "does not hold", "does not hold", "not enough data", "does not apply"]
    assert claims_takeaway([verdict(each) for each in every]) == (
        "Of 5 common claims, 1 holds of this one, 2 do not, 1 cannot be told yet, 1 does not apply to it."
    )
    assert claims_takeaway([verdict(), verdict()]) == "Of 2 common claims, 2 hold of this one."
    assert claims_takeaway([]) == "Nothing was checked."


def test_the_verdict_is_a_word_and_a_sign():
    html = claims_list([verdict("does not hold")], lambda _: ("layers?c=a&l=1", "Layers"))
    assert ">✗</b>does not hold<" in html and "12 of 13." in html and 'class="null">1.' in html
    assert 'href="layers?c=a&amp;l=1"' in html and "See why: Layers" in html
    assert "<a " not in claims_list([verdict(null="")], lambda _: None)
    assert 'class="null"' not in claims_list([verdict(null="")], lambda _: None)


def test_texts_of_others_stay_text():
    html = claims_list([verdict(figure="<img src=x>", null="<b>", claim="<i>")], lambda _: ('"><script>', "<u>"))
    assert not any(tag in html for tag in ("<img", "<script", "<u>", "<i>"))


def test_every_number_is_a_row():
    rows = (Row("load_gini", 0, 0.25, 0.2, 0.3, 0.1), Row("weights: total", -1, 12.0))
    frame = claims_frame([verdict(rows=rows), verdict("not enough data", claim="Other.")])
    assert frame["measure"].tolist()[:2] == ["load_gini", "weights: total"]
    assert frame["layer"].tolist()[:2] == [0, -1] and frame["value"].tolist()[:2] == [0.25, 12.0]
    assert frame.loc[0, ["low", "high", "null"]].tolist() == [0.2, 0.3, 0.1] and np.isnan(frame.loc[1, "null"])
    assert frame["claim"].tolist() == ["It is so.", "It is so.", "Other."]
    assert frame["verdict"].tolist()[2] == "not enough data" and frame["value"].isna().tolist()[2]
    assert frame["tokens"].tolist() == [7, 7, 7]
