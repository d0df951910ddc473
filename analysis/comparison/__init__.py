"""Captures beside one another, experts beside one another, and where they lie."""
