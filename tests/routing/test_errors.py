"""Errors keep found, expected and do apart, and survive being sent between processes."""

import pickle

import pytest

from gatescope.routing import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatescopeError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_carries_its_three_parts(kind):
    error = kind("4 legs", expected="2", do="count again")
    assert (error.found, error.expected, error.do) == ("4 legs", "2", "count again")
    assert str(error) == "4 legs\n  expected: 2\n  do: count again"
    assert kind.__name__.endswith("Error") and kind.__doc__


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(errors.PromptError("a", expected="b", do="c")))
    assert isinstance(error, errors.PromptError) and error.do == "c"
