"""`python -m app`, the old name of `gatescope`."""

import sys

from gatescope.cli.main import main

if __name__ == "__main__":
    sys.stderr.write("python -m app is now: gatescope (or python -m gatescope); this name goes with 0.3\n")
    main()
