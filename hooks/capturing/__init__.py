"""Captures: texts go through a loaded model, routing records come out."""
