"""Figures, tables and sentences of the Token page alone."""
