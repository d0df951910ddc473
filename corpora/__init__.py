"""Labelled text to capture: the bundled probe set, and a reader of one's own files."""

from corpora.bundled import Pair, Side, domains, languages, pairs, probe
from corpora.reader import read_jsonl

__all__ = ["Pair", "Side", "domains", "languages", "pairs", "probe", "read_jsonl"]
