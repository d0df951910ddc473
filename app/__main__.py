"""`python -m app`: the command line."""

from gatescope.cli.main import main

main()
