"""Gatescope: where a Mixture-of-Experts model sends each token."""

from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).parent
if not (_HERE / "hooks").is_dir():  # a checkout: the packages lie beside this folder, an installation has them in it
    __path__.append(str(_HERE.parent))
