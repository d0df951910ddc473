"""Labelled text to capture: the bundled probe set, and a reader of one's own files."""

from corpora.reader import domains, languages, probe, read_jsonl

__all__ = ["domains", "languages", "probe", "read_jsonl"]
