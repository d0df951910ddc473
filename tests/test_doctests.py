"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(("gatescope", *path.relative_to(ROOT).with_suffix("").parts))
    for package in "routing hooks analysis cache corpora engines simulation studies server app cli".split()
    for path in (ROOT / package).rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    failures, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failures
