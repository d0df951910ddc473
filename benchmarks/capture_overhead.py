"""What recording costs: a forward pass with capture over the plain pass, in pairs.

    python -m benchmarks.capture_overhead [--model FOLDER_OR_ID] [--tokens 256] [--pairs 15]

"plain" runs a second copy of the model without any hook; "idle" has hooks and no sink; "recorded" records ids, weights,
margin, entropy and log-sum-exp; "with logits" keeps the full router scores too. Every round runs all four, in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from hooks import LoadedModel, load_model
from hooks.sink import RouteSink
from models import BUNDLED_MODEL


def main() -> None:
    """Parse the options, time the rounds and print one line per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(BUNDLED_MODEL))
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    plain, hooked = load_model(options.model, device=options.device), load_model(options.model, device=options.device)
    plain.recorder.close()
    ids_bs = torch.randint(0, plain.model.config.vocab_size, (1, options.tokens), device=plain.model.device)
    kinds: dict[str, Callable[[], object]] = {
        "plain": lambda: forward(plain, ids_bs),
        "idle": lambda: forward(hooked, ids_bs),
        "recorded": lambda: recorded(hooked, ids_bs, logits=False),
        "with logits": lambda: recorded(hooked, ids_bs, logits=True),
    }
    times = measure(kinds, options.pairs)
    print(f"{plain.name} · {plain.device} · {plain.dtype} · {options.tokens} tokens · {options.pairs} rounds")
    for kind, seconds in times.items():
        ratio = statistics.median(own / base for own, base in zip(seconds, times["plain"], strict=True))
        print(f"{kind:12} {1e3 * statistics.median(seconds):8.2f} ms   ratio {ratio:.3f}")


def forward(loaded: LoadedModel, ids_bs: torch.Tensor) -> None:
    """One pass without recording."""
    with torch.no_grad():
        loaded.model(input_ids=ids_bs, use_cache=False)
    if ids_bs.is_cuda:
        torch.cuda.synchronize()


def recorded(loaded: LoadedModel, ids_bs: torch.Tensor, *, logits: bool) -> None:
    """One pass, its routing handed over as arrays."""
    sink = RouteSink(loaded.routers.learnt, logits=logits)
    with loaded.recorder.recording(sink):
        forward(loaded, ids_bs)
        sink.flush(torch.ones(ids_bs.numel(), dtype=torch.bool))


def measure(kinds: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind in each round, after two rounds of warm-up."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 2):
        for kind, run in kinds.items():
            start = time.perf_counter()
            run()
            if number >= 2:
                times[kind].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
