"""Figures, tables and sentences of the Domains page alone."""
