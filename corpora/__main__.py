"""`python -m corpora`: the command line."""

from corpora.cli import app

app()
