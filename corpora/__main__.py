"""`python -m corpora check`, the old name of `gatescope corpus check`."""

import sys

from gatescope.cli.main import main

if __name__ == "__main__":
    sys.stderr.write("python -m corpora check is now: gatescope corpus check; this name goes with 0.3\n")
    sys.argv.insert(1, "corpus")
    main()
