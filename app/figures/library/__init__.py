"""Figures, tables and sentences of the Library page alone."""
