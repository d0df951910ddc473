"""The tables: rows against a record one can count by hand, text against spreadsheets, pandas and back."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.studies.export import (
    TRACE_COLUMNS,
    csv_bytes,
    expert_load_frame,
    json_text,
    read_trace_csv,
    routing_trace_frame,
)

ID = "abcdefghijklmnop"


def test_one_row_per_token_layer_and_slot_in_that_order(make_record):
    frame = routing_trace_frame(make_record(), ID)
    assert len(frame) == 3 * 2 * 2
    assert frame[["position", "layer", "slot", "expert"]].to_numpy()[:5].tolist() == [
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 1, 0, 1],
        [0, 1, 1, 2],
        [1, 0, 0, 1],
    ]
    assert frame["block"].unique().tolist() == [1, 2]
    assert frame["capture"].unique().tolist() == [ID]


def test_every_column_is_documented_and_in_the_documented_order(make_record):
    assert list(routing_trace_frame(halved(make_record()), ID).columns) == list(TRACE_COLUMNS)


def halved(record):
    """The record as one made under an intervention."""
    return replace(record, provenance=replace(record.provenance, options={"intervention": "=Halved()"}))


def test_tables_of_changed_routes_name_the_intervention_and_no_others(make_record):
    record = make_record()
    for frame in (routing_trace_frame(halved(record), ID), expert_load_frame(halved(record))):
        assert set(frame["intervention"]) == {"=Halved()"}
        assert b'"""=Halved()"""' in csv_bytes(frame)  # a JSON string, which is no formula
    assert "intervention" not in routing_trace_frame(record, ID) and "intervention" not in expert_load_frame(record)


def test_entropy_is_given_in_bits(make_record):
    assert routing_trace_frame(make_record(), ID)["entropy_bits"].to_numpy() == pytest.approx(1.0, abs=1e-3)


def test_an_empty_slot_has_no_row(make_record):
    ids_tlk = np.array([[[0, 255]], [[255, 255]], [[1, 2]]], np.uint8)
    weight_tlk = np.array([[[1, 0]], [[0, 0]], [[0.5, 0.5]]], np.float16)
    frame = routing_trace_frame(make_record(layers=1, ids_tlk=ids_tlk, weight_tlk=weight_tlk), ID)
    assert frame[["position", "slot", "expert"]].to_numpy().tolist() == [[0, 0, 0], [2, 0, 1], [2, 1, 2]]


def test_a_quantity_that_was_not_recorded_has_no_column(make_record):
    bare = make_record(
        weight_tlk=None, rejected_tl=None, margin_tl=None, entropy_tl=None, loss_t=None, predicted_t=None
    )
    missing = {
        "intervention",
        "weight",
        "margin",
        "entropy_bits",
        "rejected_expert",
        "loss",
        "predicted_id",
        "predicted",
    }
    assert set(TRACE_COLUMNS) - set(routing_trace_frame(bare, ID).columns) == missing


def test_nothing_rejected_is_minus_one(make_record):
    record = make_record(rejected_tl=np.full((3, 2), 255, np.uint8))
    assert routing_trace_frame(record, ID)["rejected_expert"].unique().tolist() == [-1]


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r", "NA", "null", "NaN", "1e5", "007", "", " ", 'say "x"', "a,b"]
HOSTILE += ["two\nlines", "\x00", "\u2028", "<b>", "İ", "你好", "\ud800", "\ufeff", "True"]


def test_hostile_text_comes_back_exactly(make_record):
    record = make_record(pieces=HOSTILE, layers=1, k=1)
    written = csv_bytes(routing_trace_frame(record, ID))
    read = read_trace_csv(io.BytesIO(written))
    assert read["token"].tolist() == HOSTILE
    assert len(written.decode().splitlines()) == 1 + len(HOSTILE)


@given(st.text())
def test_no_text_becomes_a_formula_a_number_or_a_missing_value(text):
    cell = json_text(text)
    assert cell.startswith('"')
    assert len(cell.splitlines()) == 1
    assert json.loads(cell) == text
    plain = pd.read_csv(io.BytesIO(csv_bytes(pd.DataFrame({"token": pd.Categorical([text]), "n": [1]}))))
    assert plain["token"].tolist() == [cell]


def test_plain_pandas_reads_the_right_types(make_record):
    plain = pd.read_csv(io.BytesIO(csv_bytes(routing_trace_frame(make_record(pieces=["NA", "1e5", "="]), ID))))
    kinds = {name: plain[name].dtype.kind for name in plain}
    whole = {"document", "position", "token_id", "predicted_id", "layer", "block", "slot", "expert", "rejected_expert"}
    assert {name for name, kind in kinds.items() if kind == "i"} == whole
    assert {name for name, kind in kinds.items() if kind == "f"} == {"loss", "weight", "margin", "entropy_bits"}
    assert {name for name, kind in kinds.items() if kind == "b"} == {"is_special", "is_template", "is_generated"}
    assert plain.isna().sum().to_dict() == dict.fromkeys(plain, 0) | {"loss": 4}


def test_the_table_reads_back_as_it_was_written(make_record):
    frame = routing_trace_frame(make_record(), ID)
    read = read_trace_csv(io.BytesIO(csv_bytes(frame)))
    for name in frame:
        if frame[name].dtype.kind == "f":
            assert np.array_equal(read[name].astype(np.float32), frame[name], equal_nan=True), name
        else:
            assert read[name].tolist() == frame[name].tolist(), name


def test_a_capture_without_tokens_is_a_table_without_rows(make_record):
    record = halved(make_record()).take(slice(0, 0))
    frame = routing_trace_frame(record, ID)
    assert list(frame.columns) == list(TRACE_COLUMNS)
    assert read_trace_csv(io.BytesIO(csv_bytes(frame))).empty


def test_counts_are_the_tokens_of_each_expert_the_never_taken_with_zero(make_record):
    frame = expert_load_frame(make_record(pieces=["a", "b"], layers=1, experts=4, k=2))
    assert frame["expert"].tolist() == [0, 1, 2, 3]
    assert frame["tokens"].tolist() == [1, 2, 1, 0]
    assert frame["assignment_share"].tolist() == [0.25, 0.5, 0.25, 0.0]
    assert frame["uniform_share"].tolist() == [0.25] * 4


def test_counts_agree_with_the_trace(make_record):
    record = make_record(pieces=list("abcdefgh"), layers=3)
    counts, trace = expert_load_frame(record), routing_trace_frame(record, ID)
    grouped = trace.groupby(["layer", "expert"]).size()
    taken = counts[counts["tokens"] > 0].set_index(["layer", "expert"])["tokens"]
    assert taken.to_dict() == grouped.to_dict()
    assert counts.groupby("layer")["assignment_share"].sum().to_numpy() == pytest.approx(1.0)


def test_no_label_is_taken_for_a_formula_and_others_stay_as_they_are():
    labels = ["=1+1", "  +SUM(A1)", "-2", "@x", "\t=1", "code", "a=b", ""]
    frame = pd.DataFrame({"group": labels, "value": np.arange(8.0)})
    rows = csv_bytes(frame).decode().splitlines()[1:]
    cells = [next(csv.reader([row]))[0] for row in rows]
    assert cells[:4] == ['"=1+1"', '"  +SUM(A1)"', '"-2"', '"@x"']
    assert [json.loads(cell) for cell in cells[:5]] == labels[:5]
    assert cells[5:] == labels[5:]


def test_a_column_whose_name_holds_a_comma_or_a_quotation_mark_is_written_and_read():
    frame = pd.DataFrame({"beyond chance, as it is": [0.5], 'the "plain" one': [1]})
    assert pd.read_csv(io.BytesIO(csv_bytes(frame))).to_dict("list") == frame.to_dict("list")


def test_a_text_that_is_not_known_is_an_empty_cell():
    frame = pd.DataFrame({"measure": pd.Categorical(["a", None])})
    assert csv_bytes(frame).decode() == 'measure\n"""a"""\n\n'
