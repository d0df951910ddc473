"""Figures, tables and sentences of the Expert page alone."""
