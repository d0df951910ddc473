"""A configuration that asks for more than any model has is refused before a model is built from it."""

import json
import shutil
import time

import pytest
from transformers import CONFIG_MAPPING

from gatescope.hooks import load_model
from gatescope.hooks.loading.config_limits import check_config
from gatescope.hooks.loading.outline import outline
from gatescope.models import BUNDLED_MODEL
from gatescope.routing.errors import ModelNotFoundError


@pytest.fixture
def folder(tmp_path):
    for file in (each for each in BUNDLED_MODEL.iterdir() if each.is_file() and each.name != "fingerprint.txt"):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"num_hidden_layers": 100_000}, "num_hidden_layers = 100,000"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers = 1,000,000"),
        ({"layer_types": ["full_attention"] * 100_000}, "100,000"),
        ({"num_experts": 10**6}, "num_experts = 1,000,000"),
        ({"text_config": {"num_layers": 5000}}, "num_layers = 5,000"),
    ],
)
def test_too_much_is_told_at_once(folder, changed, said):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    for opened in (load_model, outline):
        started = time.process_time()
        with pytest.raises(ModelNotFoundError, match=said):
            opened(folder)
        assert time.process_time() - started < 2


def test_a_configuration_nested_without_end_is_told(folder):
    (folder / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(ModelNotFoundError, match="nested without end"):
        outline(folder)


@pytest.mark.slow
def test_the_configurations_of_every_family_pass(tmp_path):
    """As transformers has them by default, the largest and strangest names among them."""
    passed = 0
    for kind in CONFIG_MAPPING.values():
        try:
            said = kind().to_dict()
        except Exception:  # noqa: BLE001  # those that need others within them
            continue
        (tmp_path / "config.json").write_text(json.dumps(said, default=str))
        check_config(tmp_path)
        passed += 1
    assert passed > 200
