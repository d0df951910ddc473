"""Every metric of a tally, by topic. A file in this folder declares its own statistics and metrics."""

from importlib import import_module
from pkgutil import iter_modules

import gatescope.analysis.tally.count_statistics  # noqa: F401  # the statistics that most metrics read
from gatescope.analysis.registry import METRICS, Ask, Metric, Result

for _file in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_file}")

__all__ = ["METRICS", "Ask", "Metric", "Result"]
