"""How close a choice is to another number format's: steps as numpy's and torch's formats have them, sizes bounded."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.token.near_tie import score_sizes, step_at, steps
from tests.records import build_record


@pytest.mark.parametrize("size", [0.3, 1.0, 1.7, 2.0, 7.9, 100.0])
def test_steps_are_those_of_the_formats(size):
    torch = pytest.importorskip("torch")
    own = step_at(np.array([size]), "float16")[0]
    exponent = float(2.0 ** np.floor(np.log2(size)))
    assert own == np.spacing(np.float16(exponent))
    own = step_at(np.array([size]), "bfloat16")[0]
    assert own == torch.finfo(torch.bfloat16).eps * exponent


def softmax_record(logit_e, k=2):
    """One token of one layer whose record follows from its scores."""
    logit_e = np.array(logit_e, np.float64)
    order = np.argsort(-logit_e)
    gate_e = np.exp(logit_e) / np.exp(logit_e).sum()
    top = gate_e[order[:k]]
    return build_record(
        ["a"],
        layers=1,
        experts=len(logit_e),
        k=k,
        ids_tlk=order[:k].astype(np.uint8).reshape(1, 1, k),
        weight_tlk=(top / top.sum()).astype(np.float16).reshape(1, 1, k),
        lse_tl=np.array([[np.log(np.exp(logit_e).sum())]], np.float16),
        rejected_tl=None,
        margin_tl=None,
    )


@pytest.mark.parametrize(
    "logit_e", [[3.0, 1.0, 0.5, -2.0], [9.0, 8.0, 7.9, 1.0], [0.1, 0.0, 0.0, -0.1], [-5.0, -6.0, -7.0, -8.0]]
)
def test_sizes_bound_those_of_the_scores(logit_e):
    record = softmax_record(logit_e)
    size = score_sizes(record, np.array([0]))[0, 0]
    edge = abs(sorted(logit_e, reverse=True)[1])
    assert edge - 0.02 <= size <= edge + np.log(len(logit_e) / 2) + 0.02, "half floats, and k/E of the gate at least"


def test_recorded_scores_are_read_off():
    record = softmax_record([3.0, 1.0, 0.5, -2.0])
    record = replace(record, logit_tle=np.array([[[3.0, 1.0, 0.5, -2.0]]], np.float16))
    assert score_sizes(record, np.array([0])).tolist() == [[1.0]], "the second and third are at the edge"


def test_scores_of_a_sigmoid_are_below_one_unless_a_bias_is_added():
    record = softmax_record([3.0, 1.0, 0.5, -2.0])
    plain = replace(record, layers=(replace(record.layers[0], score="sigmoid"),))
    biased = replace(record, layers=(replace(plain.layers[0], has_selection_bias=True),))
    assert steps(plain, np.array([0]), "bfloat16").tolist() == [[2.0**-8]]
    assert steps(biased, np.array([0]), "bfloat16").tolist() == [[2.0**-7]]


def test_where_the_size_is_not_known_that_of_one_is_taken():
    record = replace(softmax_record([3.0, 1.0, 0.5, -2.0]), lse_tl=None)
    assert np.isnan(score_sizes(record, np.array([0]))).all()
    assert steps(record, np.array([0]), "bfloat16").tolist() == [[2.0**-7]]
