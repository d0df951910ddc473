"""docs/storage.md says what is: its example runs, its columns are the long form's, its numbers are the code's."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from gatescope.cache import eviction as upkeep
from gatescope.cache import long_form, schema
from gatescope.cache.schema import decode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
PROBE = ROOT / "models" / "sift-softmax" / "captures" / "probe.gsr"


def test_the_example_reads_what_the_whole_capture_holds(monkeypatch):
    monkeypatch.chdir(ROOT)
    found: dict = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], found)
    whole = decode(PROBE.read_bytes())
    np.testing.assert_array_equal(found["ids_tlk"], whole.ids_tlk[:, [0, 5]])
    np.testing.assert_array_equal(found["margin_tl"], whole.margin_tl)
    np.testing.assert_array_equal(found["weight_tlk"], whole.weight_tlk[-len(found["weight_tlk"]) :, [3]])


def test_the_columns_of_the_long_form_are_those_of_the_page(tmp_path):
    """And its example: who takes the word " the" first, in layer 0, counted here without SQL."""
    shutil.copy(PROBE, tmp_path / "probe.gsr")
    long_form.export_long(tmp_path / "probe.gsr", tmp_path / "routes.parquet")
    frame = pq.read_table(tmp_path / "routes.parquet").to_pandas()
    rows = re.findall(r"^\| `(\w+)` \| (int32|int16|float32|text) \|", PAGE, re.MULTILINE)
    kinds = {name: kind.replace("text", "category") for name, kind in rows}
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == kinds
    first = frame[(frame["token"] == " the") & (frame["slot"] == 0) & (frame["layer"] == 0)]
    weight, counts = first.groupby("expert")["weight"].mean(), first["expert"].value_counts()
    for expert, tokens in counts.items():
        share = round(tokens / counts.sum(), 3)
        assert f"| 0 | {expert} | {tokens} | {round(float(weight[expert]), 3)} | {share} |" in PAGE


def test_numbers_of_the_page_are_those_of_the_code():
    assert f"row groups of {schema.ROW_GROUP_TOKENS:,} tokens" in PAGE
    assert f"zstd at level {schema._WRITER['compression_level']}" in PAGE
    assert f"Version {schema.SCHEMA_VERSION} (this one)" in PAGE
    assert (upkeep.RECENT_SECONDS, upkeep.DAMAGED_SECONDS, upkeep.STALE_SECONDS) == (600, 86_400, 3_600)
    for said in ("in the last\n10 minutes", "by `gc` after a day", "after an hour"):
        assert said in PAGE
