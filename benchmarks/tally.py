"""How fast a tally counts, against the ways people count today, and what memory a long corpus takes.

    python -m benchmarks.tally [--tokens 100000] [--rounds 7] [--all]

"assignments" counts slots by document, layer and expert. Each round times all ways on the same routes, in turn: the
tally's count, `np.bincount` of ready-made flat keys, a pandas group-by and, where it is installed, a DuckDB one. With
`--all`, every statistic, and peak memory over 10^5 to 10^7 tokens merged from records of 10^4.
"""

import argparse
import importlib.util
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.tally.tally import STATISTICS, merge_all
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord

LAYERS, EXPERTS, SLOTS, LENGTH = 16, 64, 8, 500


def main() -> None:
    """Parse the options, time the rounds and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    record = routes(options.tokens, seed=0)
    assignments = options.tokens * LAYERS * SLOTS
    ways: dict[str, Callable[[], object]] = {
        "tally": lambda: tally(record, only=["assignments"]),
        "bincount": partial(bincount, record),
        "pandas": partial(grouped, frame(record)),
    }
    if importlib.util.find_spec("duckdb"):
        ways["duckdb"] = partial(queried, frame(record))
    times = measure(ways, options.rounds)
    for name, seconds in times.items():
        ratio = statistics.median(own / base for own, base in zip(seconds, times["tally"], strict=True))
        speed = assignments / statistics.median(seconds) / 1e6
        print(f"{name:10} {speed:9.1f} M assignments a second   time over the tally's {ratio:8.2f}")
    if options.all:
        print_every_statistic(record)
        print_memory()


def routes(tokens: int, *, seed: int) -> RoutingRecord:
    """Random routes of documents of LENGTH tokens."""
    generator = np.random.default_rng(seed)
    ids_tlk = np.argsort(generator.random((tokens, 1, EXPERTS)), axis=2)[:, :, :SLOTS].astype(np.uint8)
    ids_tlk = (ids_tlk + np.arange(LAYERS, dtype=np.uint8)[:, None]) % EXPERTS
    document_t = (np.arange(tokens) // LENGTH).astype(np.int32)
    domains = ("law", "code", "fiction", "medicine")
    rules = [
        RouterRule(layer=n, block=n, module=f"blocks.{n}", experts=EXPERTS, k=SLOTS, score="softmax")
        for n in range(LAYERS)
    ]
    return RoutingRecord(
        ids_tlk=ids_tlk.astype(np.uint8),
        weight_tlk=np.full(ids_tlk.shape, 1 / SLOTS, np.float16),
        token_t=generator.integers(0, 5000, tokens).astype(np.int32),
        document_t=document_t,
        position_t=(np.arange(tokens) % LENGTH).astype(np.int32),
        flag_t=np.zeros(tokens, np.uint8),
        documents=tuple(Document("", id=f"{seed}-{n}", domain=domains[n % 4]) for n in range(int(document_t[-1]) + 1)),
        layers=tuple(rules),
        provenance=Provenance(model="random", fingerprint="0", dtype="float32", device="cpu"),
    )


def bincount(record: RoutingRecord) -> np.ndarray:
    """The same counts by flat keys, made anew as they would have to be."""
    layers, experts = len(record.layers), record.experts
    key_tlk = (record.document_t[:, None, None] * layers + np.arange(layers)[:, None]) * experts + record.ids_tlk
    return np.bincount(key_tlk.ravel(), minlength=len(record.documents) * layers * experts)


def frame(record: RoutingRecord) -> pd.DataFrame:
    """The routes as a long table, one row for each slot."""
    token, layer, slot = (place.ravel() for place in np.indices(record.ids_tlk.shape))
    document = record.document_t[token]
    return pd.DataFrame({"document": document, "layer": layer, "expert": record.ids_tlk[token, layer, slot]})


def grouped(table: pd.DataFrame) -> pd.Series:
    """The same counts by a group-by."""
    return table.groupby(["document", "layer", "expert"], sort=False).size()


def queried(routes_frame: pd.DataFrame) -> Any:  # noqa: ARG001 - the query finds it by its name
    """The same counts by SQL."""
    import duckdb

    return duckdb.sql("select document, layer, expert, count(*) from routes_frame group by all").fetchnumpy()


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def print_every_statistic(record: RoutingRecord) -> None:
    """What each statistic costs by itself."""
    for name in STATISTICS:
        tally(record, only=[name])
        start = time.perf_counter()
        tally(record, only=[name])
        print(f"{name:24} {1e9 * (time.perf_counter() - start) / record.tokens / LAYERS:8.0f} ns a token and layer")
    start = time.perf_counter()
    whole = tally(record)
    print(f"all {len(STATISTICS)} statistics {record.tokens / (time.perf_counter() - start):,.0f} tokens a second")
    print(f"{len(METRICS)} metrics can be read of {len(whole.units)} units")


def print_memory() -> None:
    """Peak memory while records of 10^4 tokens are merged."""
    record, held, done = routes(10_000, seed=1), [], 0
    for goal in (100_000, 1_000_000, 10_000_000):
        while done < goal:
            own = [Document("", id=f"{done}-{n}", domain=d.domain) for n, d in enumerate(record.documents)]
            held.append(tally(renamed(record, own)))
            if len(held) == 16:
                held = [merge_all(held)]
            done += record.tokens
        print(f"{done:>12,} tokens   peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def renamed(record: RoutingRecord, documents: list[Document]) -> RoutingRecord:
    """The same routes as other documents'."""
    return replace(record, documents=tuple(documents))


if __name__ == "__main__":
    main()
