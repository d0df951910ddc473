"""What intervals and permutations of a study cost: time, and the peak of memory above the counts themselves.

    OMP_NUM_THREADS=1 python -m benchmarks.statistics [--documents 500] [--layers 16] [--experts 64] [--draws 1000]

Counts are made up: documents with loads of their own around those of the layer, in five groups of equal size.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.bootstrap import bootstrap, over_layers
from gatescope.analysis.statistics.design_effect import rarefaction, split_half
from gatescope.analysis.statistics.information import mutual_information_bits
from gatescope.analysis.statistics.load import max_violation
from gatescope.analysis.statistics.permutation import permutation_test

GROUPS = 5
TOKENS = 400


def main() -> None:
    """Time every recipe on the study that the options describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in {"documents": 500, "layers": 16, "experts": 64, "draws": 1000}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    counts_dle = study(options.documents, options.layers, options.experts)
    group_d = np.arange(options.documents) % GROUPS
    print(f"{counts_dle.shape} counts of {counts_dle.nbytes / 2**20:.0f} MB, {options.draws} draws")
    for name, run in recipes(counts_dle, group_d, options.draws).items():
        seconds, peak = measured(run)
        print(f"{name:44}{seconds:8.2f} s{peak / 2**20:8.0f} MB")


def study(documents: int, layers: int, experts: int) -> NDArray[np.int64]:
    """Counts of documents that have loads of their own, 400 tokens each with 8 experts a token."""
    generator = np.random.default_rng(0)
    load_le = generator.dirichlet(np.full(experts, 5.0), size=layers)
    own_dle = generator.gamma(load_le * 200, size=(documents, layers, experts))
    return generator.multinomial(TOKENS * 8, own_dle / own_dle.sum(axis=2, keepdims=True))


def share(sums: NDArray) -> NDArray:
    """Shares of assignments, over experts."""
    return sums / sums.sum(axis=-1, keepdims=True)


def information(sums_bgle: NDArray) -> NDArray:
    """Bits of each layer about the group."""
    return mutual_information_bits(sums_bgle.swapaxes(1, 2))


def recipes(counts_dle: NDArray, group_d: NDArray, draws: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    return {
        "bootstrap: MaxVio of each layer": lambda: bootstrap(
            counts_dle, over_layers(max_violation), resamples=draws, bias_corrected=True
        ),
        "bootstrap: share of each expert": lambda: bootstrap(counts_dle, share, resamples=draws),
        "bootstrap: information about 5 groups": lambda: bootstrap(
            counts_dle, information, resamples=draws, groups_u=group_d, bias_corrected=True
        ),
        "permutation: share of each expert, 5 groups": lambda: permutation_test(
            counts_dle, group_d, share, permutations=draws
        ),
        "split halves: share of each expert, 100": lambda: split_half(counts_dle, share),
        "rarefaction: MaxVio, 8 sizes of 100 draws": lambda: rarefaction(counts_dle, over_layers(max_violation)),
    }


def measured(run: Callable[[], object]) -> tuple[float, int]:
    """Seconds of a run, and the bytes that another holds at most at once (tracing it slows it down)."""
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


if __name__ == "__main__":
    main()
