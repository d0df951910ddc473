"""`python -m corpora`: the command line."""

from gatescope.corpora.cli import app

app()
