"""Figures, tables and sentences of the Locality page alone."""
