"""Figures, tables and sentences of the Guide page alone."""
