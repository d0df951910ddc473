"""How long the bundled models take: to load, to write a token, to capture the whole probe set.

python -m benchmarks.bundled
"""

import time
from statistics import median

import torch

from gatescope.corpora import probe
from gatescope.hooks import LoadedModel, capture_corpus, load_model
from gatescope.models import BUNDLED_MODELS

NEW_TOKENS = 100
PROMPTS = 9


def main() -> None:
    """Measure every bundled model once, on the CPU, with the threads torch chooses."""
    print(f"{torch.get_num_threads()} threads")
    for name, folder in BUNDLED_MODELS.items():
        started = time.perf_counter()
        model = load_model(folder, device="cpu")
        loading = time.perf_counter() - started
        rate = median(tokens_per_second(model, document.text[:200]) for document in probe()[:: len(probe()) // PROMPTS])
        started = time.perf_counter()
        record = capture_corpus(model, probe())
        seconds = time.perf_counter() - started
        print(
            f"{name}: loaded and checked in {loading:.1f} s; writes {rate:.0f} tokens/s; "
            f"probe set of {record.tokens:,} tokens captured in {seconds:.1f} s"
        )


def tokens_per_second(model: LoadedModel, prompt: str) -> float:
    """Tokens written a second after a prompt, one at a time, with the key-value cache."""
    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    started = time.perf_counter()
    with torch.inference_mode():
        model.model.generate(ids, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)
    return NEW_TOKENS / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
