"""The examples in the docstrings of `cache` hold."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["cache.keys", "cache.schema", "cache.store"])
def test_the_examples_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
