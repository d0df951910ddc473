"""`python -m hooks`: the command line."""

from gatescope.hooks.cli import app

app()
