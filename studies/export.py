r"""A capture as tables: one row per assignment, and how often each expert was taken.

Text in a CSV (`token`, `predicted`) is written as a JSON string, quotation marks and all: `"NA"`, `" the"`, `"\n"`,
`"=1+1"`. One rule answers three needs. A spreadsheet never takes such a cell for a formula, because it starts with a
quotation mark. A plain `pandas.read_csv` never takes it for a number or a missing value, and every row stays on one
line. And `json.loads` gives back exactly the model's text, spaces included. `read_trace_csv` does both steps.

Absent things are absent: an empty slot has no row, a quantity that was not recorded has no column. Two cells hold a
stand-in, so that whole numbers stay whole: `rejected_expert` and `predicted_id` are -1 where there is none.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from gatescope.routing.record import Flag, RoutingRecord

NATS_PER_BIT = np.float32(np.log(2.0))
NONE = -1
"""Stands for "no expert" and "no token" in the tables' whole-number columns."""

TRACE_COLUMNS: dict[str, str] = {
    "capture": "id of the capture",
    "document": "number of the document within the capture, from 0",
    "position": "position of the token within its document, from 0",
    "token_id": "id of the token in the model's vocabulary",
    "token": "text of the token (in the CSV: a JSON string)",
    "is_special": "a token the tokenizer added, such as the start of the text",
    "is_template": "a token of the chat template",
    "is_generated": "a token the model wrote itself",
    "loss": "nats; how badly this position predicted the next token; empty at the end of a document",
    "predicted_id": "id of the token this position found most likely to come next; -1 where not known",
    "predicted": "text of that token (in the CSV: a JSON string)",
    "layer": "number of the MoE layer, from 0",
    "block": "index of that layer among all blocks of the model",
    "stack": "the stack that layer is in: decoder, encoder, vision …",
    "slot": "0 for the expert with the largest weight, then 1, 2 …",
    "expert": "the expert executed",
    "weight": "what its output was multiplied by",
    "margin": "selection score of the last expert chosen minus that of the first one rejected",
    "entropy_bits": "bits; how evenly the gate spread over all experts, 0 (one expert) to log2(experts)",
    "rejected_expert": "the best expert that was not chosen; -1 where there is none",
    "intervention": "what changed the routes before the experts ran (in the CSV: a JSON string); no column otherwise",
}
"""Every column of `routing_trace_frame`, in order, with its meaning."""

PLAIN = ("capture", "stack")
"""Columns of words that are ours: written as they are."""


def routing_trace_frame(record: RoutingRecord, capture: str) -> pd.DataFrame:
    """One row per token, layer and filled slot; the columns of `TRACE_COLUMNS` that were recorded.

    Shapes      (filled slots, columns), tokens outermost, then layers, then slots
    Undefined   `loss` is NaN where there is no next token; a quantity that was not recorded has no column
    """
    token, layer, slot = np.nonzero(record.ids_tlk != record.empty)
    expert = record.ids_tlk[token, layer, slot].astype(np.int32)
    columns = {"capture": pd.Categorical.from_codes(np.zeros(len(token), np.int8), [capture])}
    columns |= _token_columns(record, token)
    columns |= {
        "layer": layer.astype(np.int32),
        "block": np.array([rule.block for rule in record.layers], np.int32)[layer],
        "stack": _stacks(record, layer),
        "slot": slot.astype(np.int32),
        "expert": expert,
    }
    columns |= _route_columns(record, token, layer, slot)
    return pd.DataFrame(columns | _changed(record, len(token)))


def _changed(record: RoutingRecord, rows: int) -> dict[str, pd.Categorical]:
    """On every row what changed the routes; no column where they are the model's own."""
    if not (name := record.provenance.intervention):
        return {}
    return {"intervention": pd.Categorical.from_codes(np.zeros(rows, np.int8), [name])}


def _token_columns(record: RoutingRecord, token: NDArray[np.intp]) -> dict[str, NDArray[Any] | pd.Categorical]:
    flag = record.flag_t[token]
    columns: dict[str, NDArray[Any] | pd.Categorical] = {
        "document": record.document_t[token],
        "position": record.position_t[token],
        "token_id": record.token_t[token],
        "token": _texts(record, record.token_t[token]),
        "is_special": flag & Flag.SPECIAL != 0,
        "is_template": flag & Flag.TEMPLATE != 0,
        "is_generated": flag & Flag.GENERATED != 0,
    }
    if record.loss_t is not None:
        columns["loss"] = record.loss_t[token]
    if record.predicted_t is not None:
        predicted = np.maximum(record.predicted_t, NONE)[token]
        columns |= {"predicted_id": predicted, "predicted": _texts(record, predicted)}
    return columns


def _route_columns(
    record: RoutingRecord, token: NDArray[np.intp], layer: NDArray[np.intp], slot: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    if record.weight_tlk is not None:
        columns["weight"] = record.weight_tlk[token, layer, slot].astype(np.float32)
    if record.margin_tl is not None:
        columns["margin"] = record.margin_tl[token, layer].astype(np.float32)
    if record.entropy_tl is not None:
        columns["entropy_bits"] = record.entropy_tl[token, layer].astype(np.float32) / NATS_PER_BIT
    if record.rejected_tl is not None:
        rejected = record.rejected_tl[token, layer].astype(np.int32)
        columns["rejected_expert"] = np.where(rejected == record.empty, NONE, rejected).astype(np.int32)
    return columns


def _stacks(record: RoutingRecord, layer: NDArray[np.intp]) -> pd.Categorical:
    """The stack of each row's layer."""
    names, of_layer = np.unique([rule.stack for rule in record.layers], return_inverse=True)
    return pd.Categorical.from_codes(of_layer[layer], categories=pd.Index(names, dtype=object))


def _texts(record: RoutingRecord, ids: NDArray[np.int32]) -> pd.Categorical:
    """The text of each id, empty where the id is `NONE`; categorical, for a text repeats over layers and slots."""
    unique, codes = np.unique(ids, return_inverse=True)
    names = ["" if token == NONE else record.piece(token) for token in unique.tolist()]
    texts, of_unique = np.unique(np.array(names, dtype=object), return_inverse=True)
    return pd.Categorical.from_codes(of_unique[codes], categories=pd.Index(texts, dtype=object))


def write_csv(frame: pd.DataFrame, target: Path | IO[bytes]) -> None:
    """Write a table as UTF-8 CSV, text columns as JSON strings (see the head of this file)."""
    columns = {name: _cells(frame[name]) for name in frame.columns}
    header = "needed" if any(_QUOTED.search(str(name)) for name in columns) else "none"  # "needed" quotes all of them
    options = pyarrow.csv.WriteOptions(batch_size=65_536, quoting_style="needed", quoting_header=header)
    pyarrow.csv.write_csv(pa.table(columns), target, options)


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """The CSV of a table, in memory."""
    sink = pa.BufferOutputStream()
    write_csv(frame, sink)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _cells(column: pd.Series) -> pa.Array:
    """A column as Arrow writes it; NaN becomes an empty cell, model text a JSON string."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        names: Iterable[str] = column.cat.categories
        written = names if column.name in PLAIN else (json_text(name) for name in names)
        codes = column.cat.codes.to_numpy()
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), list(written)).dictionary_decode()
    if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
        return pa.array([_safe(value) for value in column], from_pandas=True)
    return pa.array(column.to_numpy(), from_pandas=True)


_QUOTED = re.compile(r'[,"\r\n]')
_FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")


def _safe(value: object) -> object:
    """A label as it is, unless a spreadsheet would take it for a formula: then as a JSON string."""
    return json_text(value) if isinstance(value, str) and _FORMULA.match(value) else value


def json_text(text: str) -> str:
    r"""Model text as it stands in a CSV cell; readable wherever UTF-8 can say it, on one line always.

    >>> print(json_text("=1+1"), json_text(" naïve\n"))
    "=1+1" " naïve\n"
    """
    shown = json.dumps(text, ensure_ascii=not _is_unicode(text))
    return shown.translate(_LINE_BREAKS)


_LINE_BREAKS = {code: f"\\u{code:04x}" for code in (0x7F, 0x85, 0x2028, 0x2029)}


def _is_unicode(text: str) -> bool:
    """Half of a surrogate pair is a Python character that no UTF-8 file can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_trace_csv(source: str | Path | IO[bytes]) -> pd.DataFrame:
    """The table a trace CSV was written from, texts decoded.

    dtypes      whole numbers int64, measurements float64 and flags bool, as a plain `pandas.read_csv` gives them too;
                only the JSON strings are undone here
    """
    frame = pd.read_csv(source)
    for name in ("token", "predicted"):
        if name in frame:
            frame[name] = pd.Series([json.loads(text) for text in frame[name]], index=frame.index, dtype=object)
    return frame


def expert_load_frame(record: RoutingRecord) -> pd.DataFrame:
    """How often each expert of each layer was taken, one row per expert, the never-taken ones with 0.

    Columns     layer, block, stack, expert; tokens (routed to it); assignment_share (of all assignments of its
                layer; the shares of a layer sum to 1); uniform_share (what an even router would give it);
                intervention, as in `routing_trace_frame`
    Undefined   assignment_share is NaN in a layer that routed nothing
    """
    from gatescope.analysis.statistics.load import assignment_share, expert_counts

    counts_le = expert_counts(record)
    share = assignment_share(counts_le)
    layer, expert = np.nonzero(~np.ma.getmaskarray(counts_le))
    return pd.DataFrame(
        {
            "layer": layer.astype(np.int32),
            "block": np.array([rule.block for rule in record.layers], np.int32)[layer],
            "stack": _stacks(record, layer),
            "expert": expert.astype(np.int32),
            "tokens": counts_le.data[layer, expert],
            "assignment_share": share.share_le[layer, expert],
            "uniform_share": share.uniform_l[layer],
        }
        | _changed(record, len(layer))
    )
