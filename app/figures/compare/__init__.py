"""Figures, tables and sentences of the Compare page alone."""
