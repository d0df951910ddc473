"""Experts by what kind of text they work on: line breaks, digits, capitalised words, scripts."""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.token_classes import CLASSES, UNKNOWN, class_bits, cramers_v
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.tally import Tally

NEEDS = ("class_assignments", "class_tokens")


@metric(
    title="Relative load by class of token",
    unit="1 (1: an even share)",
    axes="cle",
    range=(0, None),
    uniform="1",
    null="the expert's relative load over all tokens: what a router that does not see the class gives",
    needs=NEEDS,
    source="Relative load (DeepSeek-V3 technical report, section 4.5.3) within classes of tokens, as in ST-MoE",
)
def class_load(tally: Tally, ask: MetricOptions) -> Result:
    """How much of the work on one kind of token each expert does, as a multiple of an even share.

    Undefined   NaN for a class that does not occur, and where a layer has no such expert.
    Not this    Evidence beyond words: a class of one frequent word (a line break) leans with that word.
    """
    count_cle = tally.pooled("class_assignments", facets=ask.facets)
    return _result(tally, ask, value=_relative(count_cle, tally), null=_null(count_cle, tally))


@metric(
    title="Information about the class of token",
    unit="bits in excess of chance",
    axes="l",
    range=(None, None),
    uniform="0",
    null="what so many independent assignments show by chance; the plain value is the sum of the two",
    needs=NEEDS,
    source="Shannon 1948; bias as in Miller 1955",
)
def class_information(tally: Tally, ask: MetricOptions) -> Result:
    """How many bits one choice of an expert tells about the kind of token, beyond chance.

    Tokens without a known text are left out, unless there are no others.
    Undefined   NaN where a layer has no assignments.
    Not this    Free of all bias: a token's k experts exclude each other, so that an even router is below 0 by
                (k - 1) / (E - 1) of the null. Nor tested: tokens of a document are alike, and the correction takes them
                for independent. On a record, `token_information` with classes as ids tests it. Nor more than words: see
                `class_load`.
    """
    bits, bias = class_bits(_known(tally, ask).swapaxes(0, 1))
    return _result(tally, ask, value=bits - bias, null=bias)


@metric(
    title="Association with the class of token",
    unit="1 (Cramér's V)",
    axes="l",
    range=(0, 1),
    uniform="0",
    null="0: corrected for chance",
    needs=NEEDS,
    source="Cramér 1946; correction, Bergsma 2013",
)
def class_association(tally: Tally, ask: MetricOptions) -> Result:
    """How strongly experts go with kinds of token: 0 not at all, 1 if each expert keeps to one.

    As `class_information`, comparable between models of different numbers of experts.
    """
    value = np.array([cramers_v(count_ce) for count_ce in _known(tally, ask).swapaxes(0, 1)])
    return _result(tally, ask, value=value, null=np.where(np.isnan(value), np.nan, 0.0))


def _known(tally: Tally, ask: MetricOptions) -> NDArray[np.int64]:
    """Counts of classes whose text is known; of all tokens where none is."""
    count_cle = tally.pooled("class_assignments", facets=ask.facets)
    known_cle = np.delete(count_cle, UNKNOWN, axis=0)
    return known_cle if known_cle.any() else count_cle


def _relative(count_cle: NDArray[np.int64], tally: Tally) -> NDArray[np.float64]:
    experts_l1 = np.array([[rule.experts] for rule in tally.layers])
    total = count_cle.sum(axis=-1, keepdims=True)
    return np.where(np.arange(count_cle.shape[-1]) < experts_l1, ratio(count_cle * experts_l1, total), np.nan)


def _null(count_cle: NDArray[np.int64], tally: Tally) -> NDArray[np.float64]:
    every_cle = np.broadcast_to(_relative(count_cle.sum(axis=0, keepdims=True), tally), count_cle.shape)
    return np.where(count_cle.sum(axis=-1, keepdims=True) > 0, every_cle, np.nan)


def _result(tally: Tally, ask: MetricOptions, *, value: NDArray[np.float64], null: NDArray[np.float64]) -> Result:
    token_c = tally.pooled("class_tokens", facets=ask.facets)
    warnings = []
    if token_c[UNKNOWN]:
        warnings.append(f"{token_c[UNKNOWN]} of {token_c.sum()} tokens have no known text: capture with the tokenizer")
    if np.count_nonzero(np.delete(token_c, UNKNOWN)) < 2:
        warnings.append("one class of tokens or none: there is nothing to tell apart")
    return Result(
        value=value,
        null=null,
        tokens=int(token_c.sum()),
        labels={"c": CLASSES},
        warnings=tuple(warnings),
    )
