"""Routing out of engines other than transformers, run here or asked over HTTP: each gives the same `RoutingRecord`."""
