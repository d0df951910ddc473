"""Labelled text to capture: the bundled probe set, and readers of one's own files, folders and hub data sets."""

from gatescope.corpora.bundled import Pair, Side, domains, languages, pairs, probe
from gatescope.corpora.columns import FOLDER, Columns, Constant
from gatescope.corpora.corpus import Corpus, open_corpus
from gatescope.corpora.reader import read_jsonl
from gatescope.corpora.report import Problem, Report

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
