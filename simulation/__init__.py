"""Routes drawn at random with effects of known size planted in them: what detection and speed are measured on.

No model makes these routes. Wherever they are named they are called simulated, and what was planted is known exactly.
"""

from gatescope.simulation.effects import Effects
from gatescope.simulation.geometry import GEOMETRIES, Geometry, named_geometry
from gatescope.simulation.planted import Planted
from gatescope.simulation.routes import Simulation
from gatescope.simulation.texts import Texts

__all__ = ["GEOMETRIES", "Effects", "Geometry", "Planted", "Simulation", "Texts", "named_geometry"]
