"""`python -m hooks check`, the old name of `gatescope check`."""

import sys

from gatescope.cli.main import main

if __name__ == "__main__":
    sys.stderr.write("python -m hooks check is now: gatescope check; this name goes with 0.3\n")
    main()
