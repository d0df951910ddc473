"""Whether two recordings tell the same of the same tokens."""

import numpy as np
import torch

from gatescope.hooks import record

PAD = 258


def document(routing, number):
    """One document's rows."""
    return routing.take(routing.document_t == number)


def same(one, other):
    """The same tokens sent to the same experts by the same weights."""
    np.testing.assert_array_equal(one.token_t, other.token_t)
    np.testing.assert_array_equal(np.sort(one.ids_tlk, -1), np.sort(other.ids_tlk, -1))
    np.testing.assert_allclose(one.weight_tlk.astype(float), other.weight_tlk.astype(float), atol=2e-3)


def forced(model, token_t):
    """The routing of these very tokens in one plain pass."""
    with record(model) as recording, torch.no_grad():
        model(torch.tensor([[int(token) for token in token_t]]))
    return recording.record()
