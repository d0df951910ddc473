"""The only home of statistics. Imports numpy, scipy and numba, and of ours only `routing`."""
