"""`python -m hooks`: the command line."""

from hooks.cli import app

app()
