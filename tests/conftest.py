"""What holds for every test: one thread of arithmetic a process, and no property fails because a machine is busy.

Tiny models on several threads spend their time waiting for one another. The variable is read when numpy and torch are
imported, and by the processes that tests start.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("GATESCOPE_WORKSPACE", None)  # of whoever runs the tests: each has its own
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread for torch too, whatever a test before left: where there are more, loading a model measures them."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def make_record() -> Callable:
    """Builds a record of a few tokens, as `tests.records.build_record`."""
    from tests.records import build_record

    return build_record


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a random MoE model (2 layers, 8 experts, 2 a token) and a tokenizer of the probe set's words."""
    from tests.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny"))
