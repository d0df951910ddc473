"""The bundled models and the recipe that trained them."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

BUNDLED_MODELS: dict[str, Path] = {name: _HERE / name for name in ("sift-softmax", "sift-sigmoid")}
"""Folders of the trained Mixture-of-Experts models that ship with Gatescope; `AutoModelForCausalLM` loads them."""

BUNDLED_MODEL: Path = BUNDLED_MODELS["sift-softmax"]
"""The one of them that the dashboard opens with."""
