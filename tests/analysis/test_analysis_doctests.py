"""The examples in the docstrings of `analysis` hold."""

import doctest
import importlib
import pkgutil

import pytest

import analysis


@pytest.mark.parametrize("name", [module.name for module in pkgutil.walk_packages(analysis.__path__, "analysis.")])
def test_the_examples_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
