"""Figures, tables and sentences of the Layers page alone."""
