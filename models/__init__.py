"""The bundled model and the recipe that trained it."""

from pathlib import Path

BUNDLED_MODEL: Path = Path(__file__).resolve().parent / "sift-11m"
"""Folder of the trained Mixture-of-Experts model that ships with Gatescope; load it with `AutoModelForCausalLM`."""
