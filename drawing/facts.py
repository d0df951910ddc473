"""What a capture was made by, in words."""

from collections.abc import Sequence

from gatescope.routing.record import Provenance


def captured_by(made: Provenance) -> str:
    """By which engine a capture was made, and whether its routes are the model's own."""
    if made.is_simulated:
        return "simulated, by no model"
    return f"recorded by {made.engine}" + (" under an intervention" if made.intervention else "")


def selfcheck_words(passed: Sequence[bool]) -> str:
    """How a model's self-check went, check by check, when it was loaded.

    >>> selfcheck_words([True, False])
    '1 of 2 checks passed when the model was loaded'
    """
    return f"{sum(passed)} of {len(passed)} checks passed when the model was loaded" if passed else ""
