"""What holds for every test: one thread of arithmetic a process.

Tiny models on several threads spend their time waiting for one another. The variable is read when numpy and torch are
imported, and by the processes that tests start.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
