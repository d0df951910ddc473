"""A file tried in a process of its own, before it is loaded into the one that may serve a dashboard.

llama.cpp ends the whole process where a file contradicts itself (a count of heads of 0, say).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from gatescope.routing.errors import ModelMemoryError, WeightsError

ROOT = Path(__file__).parents[2]


def prove(path: Path, library: Path | None = None) -> None:
    """Load a file and run two tokens elsewhere; what is refused there in words is left to the caller to meet.

    Errors: WeightsError where that process did not survive it, ModelMemoryError where the system killed it.
    """
    command = [sys.executable, "-m", __package__, os.fspath(path), *([os.fspath(library)] if library else [])]
    tried = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"GGML_NO_BACKTRACE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if tried.returncode == -signal.SIGKILL:
        raise ModelMemoryError(
            f"the system killed the process that tried {path}, as it does when memory runs out",
            expected="weights that fit into free memory",
            do="choose a file of a smaller quantisation, or a machine with more memory",
        )
    if tried.returncode < 0:
        stderr_lines = [line.strip() for line in tried.stderr.splitlines() if line.strip()] or ["it says nothing"]
        raise WeightsError(
            f"llama.cpp does not survive {path} (signal {-tried.returncode}): {stderr_lines[-1]}",
            expected="a file whose numbers agree with one another",
            do="download the file again, or convert the model again with a current llama.cpp",
        )
