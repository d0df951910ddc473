"""Speed as ratios taken within one run: `python -m benchmarks.NAME`."""
