"""Figures, tables and sentences of the Map page alone."""
