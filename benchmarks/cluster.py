"""What a cluster costs beside one process: seconds, processor time and memory of the same capture, run in each way.

    OMP_NUM_THREADS=1 python -m benchmarks.cluster [--copies 1 3] [--workers 1 2] [--model sift-softmax]

The probe set's texts, so many times over, through `gatescope capture`: in one process (0 workers), then by Ray's
workers on this machine. What one process needs for more tokens is the cost of a token; the rest does not grow. Then the
tallies are added up, in this process. Linux.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from gatescope.cache.study import COUNTS, StudyFolder
from gatescope.corpora import probe
from gatescope.studies.adding_up import whole_tally

MB = 2**20


class Use(NamedTuple):
    """What some processes took: seconds of processor time, and megabytes at most, each page counted once."""

    cpu: float
    peak: float


def main() -> None:
    """Every number of copies in every way, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="sift-softmax")
    options = parser.parse_args()
    for copies in options.copies:
        with TemporaryDirectory() as name:
            corpus = written(Path(name) / "corpus.jsonl", copies)
            for workers in (0, *options.workers):
                print(run(corpus, Path(name) / f"by {workers}", options.model, workers))
            print(added_up(StudyFolder(Path(name) / "by 0")))


def written(path: Path, copies: int) -> Path:
    """The probe set's texts so many times over, told apart by their ids."""
    documents = [replace(each, id=f"{each.id} {copy}") for copy in range(copies) for each in probe()]
    kept = ("id", "text", "domain", "language")
    path.write_text("\n".join(json.dumps({name: getattr(each, name) for name in kept}) for each in documents))
    return path


def run(corpus: Path, out: Path, model: str, workers: int) -> str:
    """One capture, watched from outside."""
    by = ("--engine", "ray", "--workers", str(workers)) if workers else ()
    command = [sys.executable, "-m", "app", "capture", str(corpus), "--out", str(out), "--model", model, *by]
    load, started = os.getloadavg()[0], time.monotonic()
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        uses = watched(process)
        output, trouble = process.communicate()
    wall = time.monotonic() - started
    if process.returncode:
        raise SystemExit(trouble)
    tokens, seconds = re.search(r"this run: ([\d,]+) tokens in ([\d.]+) s", output).groups()
    parts = "  ".join(f"{who} {use.cpu:.0f} CPU s, {use.peak:.0f} MB" for who, use in uses.items())
    how = f"{workers} workers" if workers else "one process"
    return f"{how}: {tokens} tokens in {seconds} s of {wall:.1f} s (load {load:.1f} before)  {parts}"


def watched(process: subprocess.Popen) -> dict[str, Use]:
    """Processor time and memory of a process and all its children until it ends, by what they are."""
    cpu: dict[str, dict[int, float]] = defaultdict(dict)
    peak: dict[str, float] = defaultdict(float)
    while process.poll() is None:
        now: dict[str, float] = defaultdict(float)
        for who, each in relatives(process.pid):
            with suppress(psutil.Error):
                cpu[who][each.pid] = sum(each.cpu_times()[:2])
                now[who] += each.memory_full_info().pss / MB
        peak.update({who: max(peak[who], held) for who, held in now.items()})
        time.sleep(0.5)
    return {who: Use(sum(cpu[who].values()), peak[who]) for who in cpu}


def relatives(pid: int) -> Iterator[tuple[str, psutil.Process]]:
    """The driver, Ray's workers with a model, its tasks and idle processes, and its own processes."""
    with suppress(psutil.Error):
        driver = psutil.Process(pid)
        yield "driver", driver
        for each in driver.children(recursive=True):
            with suppress(psutil.Error):
                title = " ".join(each.cmdline())
                is_worker = title.startswith("ray::") and "Agent" not in title
                kind = "workers" if "Worker" in title else "tasks"
                yield (kind if is_worker else "Ray"), each


def added_up(study: StudyFolder) -> str:
    """How long the tallies of all blocks take to add up in one process, and how many bytes a token takes."""
    blocks = study.finished()
    started = time.process_time()
    whole_tally(study)
    seconds = time.process_time() - started
    tokens = sum(block.tokens for block in blocks.values())
    sizes = {kind: sum(block.parts[kind][1] for block in blocks.values()) for kind in ("routes", COUNTS)}
    shares = ", ".join(f"{size / tokens:.1f} of {kind}" for kind, size in sizes.items())
    return f"{len(blocks)} blocks added up in {seconds:.2f} CPU s; bytes a token: {shares}"


if __name__ == "__main__":
    main()
