"""Documents as points with their numbers: distances by hand, and the same as those of a tally's units."""

import numpy as np
import pytest

from gatescope.analysis.comparison.document_points import document_points
from gatescope.analysis.comparison.projection import principal, purity, unit_points
from gatescope.analysis.counting import tally
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Document, Flag
from gatescope.routing.errors import OptionError


def test_distances_are_hellinger_distances_by_hand(records):
    # document 0 uses experts 0 and 1 alike, document 1 only 2, document 2 as document 0
    record = records([[[0]], [[1]], [[2]], [[1]], [[0]]], experts=3, documents=[0, 0, 1, 2, 2])
    points = document_points(record)
    assert points.row_n.tolist() == [0, 1, 2]
    assert points.product_nn == pytest.approx(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]]))
    assert points.slots_n.tolist() == [2, 1, 2]


def test_a_layer_alone_and_a_facet_alone(records):
    ids = [[[0], [0]], [[0], [1]], [[0], [2]]]
    flag_t = np.array([Flag.SPECIAL, 0, 0], np.uint8)
    record = records(ids, experts=3, documents=[0, 1, 2], flag_t=flag_t)
    assert document_points(record).row_n.tolist() == [1, 2]
    assert "1 documents without assignments" in document_points(record).warnings[0]
    assert document_points(record, layer=0).product_nn == pytest.approx(np.ones((2, 2)))
    assert document_points(record, layer=1).product_nn == pytest.approx(np.eye(2))
    with pytest.raises(OptionError, match="layer 2"):
        document_points(record, layer=2)


def test_documents_are_the_units_of_a_tally_in_another_order(records):
    random = np.random.default_rng(7)
    ids = np.argsort(random.random((400, 3, 8)), axis=-1)[..., :2]
    documents = np.sort(random.integers(0, 40, 400))
    record = records(ids, experts=8, documents=documents)
    labels = tuple(Document(f"t{n}", id=str(n), domain="ab"[n % 2], language="xy"[n % 3 == 0]) for n in range(40))
    record = type(record)(**{**_fields(record), "documents": labels})
    mine, others = document_points(record), unit_points(tally(record))
    assert np.sort(np.linalg.eigvalsh(mine.product_nn)) == pytest.approx(
        np.sort(np.linalg.eigvalsh(others.product_nn)), abs=1e-12
    )
    assert principal(mine).share_c == pytest.approx(principal(others).share_c)
    assert purity(mine, "domain").value == pytest.approx(purity(others, "domain").value)


def test_no_token_of_the_facet_leaves_no_point(records):
    points = document_points(records([[[0]], [[1]]], experts=2, documents=[0, 1]), facets=(TokenRole.GENERATED,))
    assert len(points) == 0
    assert points.product_nn.shape == (0, 0)


def test_more_documents_than_asked_for_are_drawn_by_seed(records):
    record = records([[[n % 4]] for n in range(30)], experts=4, documents=list(range(30)))
    one, again, other = (document_points(record, most=10, seed=seed).row_n.tolist() for seed in (1, 1, 2))
    assert one == again != other
    assert len(one) == 10


def _fields(record):
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
