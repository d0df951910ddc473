"""`python -m app`: the command line."""

from gatescope.app.cli import main

main()
