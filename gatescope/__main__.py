"""`python -m gatescope`: the command line."""

from gatescope.cli.main import main

if __name__ == "__main__":
    main()
