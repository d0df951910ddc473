"""The trained models that ship with Gatescope, and captures of them."""

from importlib.util import find_spec
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_DISTRIBUTION = "gatescope_models"
"""Where the folders lie in an installation, whose wheels keep them apart from the code."""


def _folder(name: str) -> Path:
    """A model's folder: beside this file in a checkout, else where `pip install gatescope-models` puts it."""
    found = None if (_HERE / name).is_dir() else find_spec(_DISTRIBUTION)
    places = [Path(place) / name for place in (found.submodule_search_locations or ())] if found else []
    return next((place for place in places if place.is_dir()), _HERE / name)


BUNDLED_MODELS: dict[str, Path] = {name: _folder(name) for name in ("sift-softmax", "sift-sigmoid")}
"""Folders of the trained Mixture-of-Experts models that ship with Gatescope; `AutoModelForCausalLM` loads them."""

BUNDLED_MODEL: Path = BUNDLED_MODELS["sift-softmax"]
"""The one of them that the dashboard opens with."""
