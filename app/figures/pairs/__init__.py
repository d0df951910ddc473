"""Figures, tables and sentences of the Pairs page alone."""
