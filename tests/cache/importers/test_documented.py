"""The examples of the page on importing run as they stand, and its table of names is the form's."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from gatescope.cache.importers import Given, importers, read_trace
from gatescope.cache.importers.reading.plain_table import ABOUT, LABELS, PER_TOKEN

PAGE = (Path(__file__).parents[3] / "docs" / "importing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_run_and_are_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reading, arrays, table = BLOCKS
    held: dict = {}
    exec(arrays, held)
    exec(table, held)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(reading, held)
    assert "1000 unknown over 16 experts, the best 2 kept" in said.getvalue()
    for name in ("routes.npz", "routes.parquet"):
        records, report = read_trace(tmp_path / name)
        (record,) = records
        assert np.array_equal(record.ids_tlk, held["ids"])
        assert np.array_equal(record.weight_tlk, held["weights"].astype(np.float16))
        assert [document.domain for document in record.documents] == ["law", "code"]
        assert (report.documents, report.tokens, report.left_out) == (2, 1000, {})


@pytest.mark.parametrize("name", ["ids", "weights", "logits", *PER_TOKEN, *ABOUT, *(f"document_{x}" for x in LABELS)])
def test_every_name_of_the_plain_form_is_in_the_table(name):
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", ["plain", "sglang_recorder", "llamacpp_trace", "gptoss_routes"])
def test_the_importers_of_the_page_exist(name):
    assert name in {importer.name for importer in importers()} and f"`{name}`" in PAGE


def test_what_can_be_given_is_in_the_table():
    assert [name for name in Given.__dataclass_fields__ if f"`{name}`" not in PAGE] == []
