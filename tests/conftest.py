"""What holds for every test: one thread of arithmetic a process, and no property fails because a machine is busy.

Tiny models on several threads spend their time waiting for one another. The variable is read when numpy and torch are
imported, and by the processes that tests start.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")
