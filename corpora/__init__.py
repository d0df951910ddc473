"""Labelled text to capture: the bundled probe set, and readers of one's own files, folders and hub data sets."""

from corpora.bundled import Pair, Side, domains, languages, pairs, probe
from corpora.columns import FOLDER, Columns, Constant
from corpora.corpus import Corpus, open_corpus
from corpora.reader import read_jsonl
from corpora.report import Problem, Report

__all__ = [
    "FOLDER",
    "Columns",
    "Constant",
    "Corpus",
    "Pair",
    "Problem",
    "Report",
    "Side",
    "domains",
    "languages",
    "open_corpus",
    "pairs",
    "probe",
    "read_jsonl",
]
