"""What captures take on disk, and how fast they are written and read.

    OMP_NUM_THREADS=1 python -m benchmarks.storage [--subject bundled olmoe] [--tokens 1000000] [--rounds 5] [--ways]

Subjects: the probe set through the bundled model, captured anew; and routes made up in the shape of OLMoE-1B-7B's (16
layers, 8 of 64 experts), skewed by the word, by the domain and by how popular an expert is. Speed is in megabytes of
the arrays a CPU second, in memory, medians over the rounds: a machine that does other things at the same time measures
the same. With `--ways`, what other settings of the encoder would give.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gatescope.cache import schema
from gatescope.cache.eviction import spare, used_bytes
from gatescope.cache.folder import mark_used
from gatescope.cache.partial import PartialRecord
from gatescope.cache.schema import decode, encode
from gatescope.cache.store import Store
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord

LAYERS, EXPERTS, SLOTS, WORDS, DOMAINS, LENGTH = 16, 64, 8, 50_304, 8, 500
CHUNK = 1 << 15  # tokens made up at a time
IN_STORE = 10_000  # captures in the folder that a full store looks through

IDS_ONLY = dict.fromkeys(("rejected_tl", "margin_tl", "entropy_tl", "lse_tl", "loss_t", "predicted_t"))
LEVELS: dict[str, dict[str, Any]] = {
    "ids": {**IDS_ONLY, "weight_tlk": None},
    "ids, weights": IDS_ONLY,
    "everything": {},
}


def main() -> None:
    """Measure the subjects that the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", nargs="+", choices=["bundled", "olmoe"], default=["bundled", "olmoe"])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", action="store_true")
    options = parser.parse_args()
    for name in options.subject:
        record = bundled() if name == "bundled" else made_up(options.tokens)
        rule = record.layers[0]
        print(f"\n{name}: {record.tokens:,} tokens, {len(record.layers)} layers, {rule.k} of {rule.experts} experts")
        print_sizes(record, options.rounds)
        print_parts(record, options.rounds)
        if options.ways:
            print_ways(record, options.rounds)
    print_store(options.rounds)


def bundled() -> RoutingRecord:
    """The probe set, captured with the model the dashboard opens with."""
    from gatescope.corpora import probe
    from gatescope.hooks import capture_corpus, load_model
    from gatescope.models import BUNDLED_MODEL

    return capture_corpus(load_model(BUNDLED_MODEL, device="cpu"), probe())


def made_up(tokens: int) -> RoutingRecord:
    """Routes by scores that add up what the word, its domain, the expert's popularity and chance contribute.

    Words follow Zipf's law; they weigh most in the first layer and least in the last.
    """
    generator = np.random.default_rng(0)
    law_v = 1 / (np.arange(WORDS) + 2.7)
    token_t = generator.choice(WORDS, tokens, p=law_v / law_v.sum()).astype(np.int32)
    document_t = (np.arange(tokens) // LENGTH).astype(np.int32)
    shape = (tokens, LAYERS)
    arrays: dict[str, NDArray] = {
        "ids_tlk": np.empty((*shape, SLOTS), np.uint8),
        "weight_tlk": np.empty((*shape, SLOTS), np.float16),
        "rejected_tl": np.empty(shape, np.uint8),
        **{name: np.empty(shape, np.float16) for name in ("margin_tl", "entropy_tl", "lse_tl")},
    }
    for layer in range(LAYERS):
        for rows, scores_te in scores(generator, layer, token_t, document_t % DOMAINS):
            for name, values in routed(scores_te).items():
                arrays[name][rows, layer] = values
    rules = [
        RouterRule(layer=n, block=n, module=f"layers.{n}.mlp", experts=EXPERTS, k=SLOTS, score="softmax")
        for n in range(LAYERS)
    ]
    return RoutingRecord(
        **arrays,
        token_t=token_t,
        document_t=document_t,
        position_t=(np.arange(tokens) % LENGTH).astype(np.int32),
        flag_t=np.zeros(tokens, np.uint8),
        loss_t=generator.gamma(2.0, 1.5, tokens).astype(np.float32),
        predicted_t=generator.permutation(token_t),
        documents=tuple(Document("", id=str(n)) for n in range(int(document_t[-1]) + 1)),
        layers=tuple(rules),
        provenance=Provenance(model="made up", fingerprint="0", dtype="float32", device="cpu"),
    )


def scores(
    generator: np.random.Generator, layer: int, token_t: NDArray[np.int32], domain_t: NDArray[np.int32]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The router scores of one layer, some tokens at a time."""

    def draw(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, dtype=np.float32)

    of_word_ve = draw(WORDS, EXPERTS) * (1.2 - 0.5 * layer / (LAYERS - 1))
    of_domain_ge, popularity_e = draw(DOMAINS, EXPERTS) * 0.5, draw(EXPERTS) * 0.5
    for start in range(0, len(token_t), CHUNK):
        rows = slice(start, min(start + CHUNK, len(token_t)))
        known_te = of_word_ve[token_t[rows]] + of_domain_ge[domain_t[rows]] + popularity_e
        yield rows, known_te + draw(rows.stop - rows.start, EXPERTS) * 0.7


def routed(scores_te: NDArray[np.float32]) -> dict[str, NDArray]:
    """What a softmax router that does not renormalise makes of its scores."""
    best_tk = np.argpartition(-scores_te, SLOTS, axis=1)[:, : SLOTS + 1]
    best_tk = np.take_along_axis(best_tk, np.argsort(-np.take_along_axis(scores_te, best_tk, 1), axis=1), 1)
    score_tk = np.take_along_axis(scores_te, best_tk, 1)
    lse_t = np.log(np.exp(scores_te).sum(1))
    share_te = np.exp(scores_te - lse_t[:, None])
    return {
        "ids_tlk": best_tk[:, :SLOTS],
        "weight_tlk": np.exp(score_tk[:, :SLOTS] - lse_t[:, None]),
        "rejected_tl": best_tk[:, SLOTS],
        "margin_tl": score_tk[:, SLOTS - 1] - score_tk[:, SLOTS],
        "entropy_tl": lse_t - (share_te * scores_te).sum(1),
        "lse_tl": lse_t,
    }


def print_sizes(record: RoutingRecord, rounds: int) -> None:
    """Size and speed at each level of detail."""
    slots, rule = record.ids_tlk.size, record.layers[0]
    print("level          raw bytes/slot  file bytes/slot  file/raw    write     read")
    for name, left_out in LEVELS.items():
        kept = replace(record, **left_out)
        raw, data = raw_bytes(kept), encode(kept)
        write, read = speeds(raw, {"write": partial(encode, kept), "read": partial(decode, data)}, rounds)
        print(
            f"{name:14} {raw / slots:14.3f}  {len(data) / slots:15.3f}  {len(data) / raw:8.3f}"
            f"  {write:4.0f} MB/s {read:4.0f} MB/s"
        )
    bound = math.log2(math.comb(rule.experts, rule.k)) / rule.k
    ordered = math.log2(math.perm(rule.experts, rule.k)) / rule.k
    bits = {stem: 8 * columns_bytes(data, stem) / slots for stem in ("ids_layer", "weight_layer")}
    print(
        f"the columns of ids alone: {bits['ids_layer']:.3f} bits a slot of {8 * record.ids_tlk.itemsize}; "
        f"any {rule.k} of {rule.experts}, all as likely, need {bound:.3f} as a set and {ordered:.3f} in their order"
    )
    print(f"the columns of weights alone: {bits['weight_layer']:.3f} bits a slot of 16")
    held = pq.ParquetFile(io.BytesIO(data), thrift_string_size_limit=2**31 - 1).metadata.metadata
    print(
        f"texts: {json.loads(held[schema._KEY])['texts_bytes']:,} bytes, {len(held[schema._TEXTS_KEY]):,} in the file"
    )


def print_parts(record: RoutingRecord, rounds: int) -> None:
    """What reading a part costs beside reading everything."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "capture"
        path.write_bytes(encode(record))

        def part(read: Callable[[PartialRecord], object]) -> None:
            with PartialRecord(path) as opened:
                read(opened)

        ways: dict[str, Callable[[], object]] = {
            "the record": lambda: decode(path.read_bytes()),
            "all its arrays, unchecked": lambda: part(arrays),
            "ids of one layer": lambda: part(lambda opened: opened.ids([0])),
            "margins": lambda: part(lambda opened: opened.column("margin")),
            "what it says of itself": lambda: part(lambda opened: opened.layers),
        }
        for name, seconds in timed(ways, rounds).items():
            print(f"{name:24} {seconds * 1e3:9.1f} ms")


def arrays(opened: PartialRecord) -> list[NDArray]:
    """Every array of a capture, without holding them against the rules of a record."""
    return [opened.ids(), opened.weights(), *map(opened.column, opened.columns)]


@contextmanager
def way(*, encodings: dict[str, str] | None = None, tokens_at_once: int | None = None, **writer: Any) -> Iterator[None]:
    """The encoder with some of its settings changed."""
    with ExitStack() as changed:
        changed.enter_context(patch.dict(schema._WRITER, writer))
        for kind, encoding in (encodings or {}).items():
            if kind == "token ids":
                changed.enter_context(patch.object(schema, "_TOKEN_IDS", encoding))
            else:
                changed.enter_context(patch.dict(schema._ENCODINGS, {kind: encoding}))
        if tokens_at_once:
            changed.enter_context(patch.object(schema, "ROW_GROUP_TOKENS", tokens_at_once))
        yield


WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "token ids as differences": {"encodings": {"token ids": "DELTA_BINARY_PACKED"}},
    "weights not split by byte": {"encodings": {"f": "PLAIN"}},
    "ids split by byte": {"encodings": {"u": "BYTE_STREAM_SPLIT"}},
    "no page checksums": {"write_page_checksum": False},
    "zstd level 1": {"compression_level": 1},
    "zstd level 6": {"compression_level": 6},
    "pages of 64 kB": {"data_page_size": 1 << 16},
    "pages of 8 MB": {"data_page_size": 8 << 20},
    "row groups of 32,768": {"tokens_at_once": 1 << 15},
    "row groups of 524,288": {"tokens_at_once": 1 << 19},
}


def print_ways(record: RoutingRecord, rounds: int) -> None:
    """Size and speed of other settings, against those in use, for ids alone and for everything."""
    for level in ("ids", "everything"):
        kept = replace(record, **LEVELS[level])
        raw, sizes, ways = raw_bytes(kept), {}, {}
        for name, changes in WAYS.items():
            with way(**changes):
                data = encode(kept)
            sizes[name] = len(data)
            ways[f"{name} w"] = partial(encoded, kept, changes)
            ways[f"{name} r"] = partial(decode, data)
        seconds = timed(ways, rounds)
        print(f"{level}                        size   write       read")
        for name, size in sizes.items():
            write, read = (raw / seconds[f"{name} {kind}"] / 1e6 for kind in "wr")
            print(f"  {name:26} {size / sizes['as it is']:6.3f}  {write:4.0f} MB/s  {read:4.0f} MB/s")


def encoded(record: RoutingRecord, changes: dict[str, Any]) -> object:
    """The record by an encoder with changed settings."""
    with way(**changes):
        return encode(record)


def print_store(rounds: int) -> None:
    """What noting a use costs, and looking through a full folder of many captures."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder)
        for number in range(IN_STORE):
            (folder / f"{named(number)}.gsr").write_bytes(b"")
            mark_used(folder, named(number))
        ways: dict[str, Callable[[], object]] = {
            "noting 1,000 times that one was read": lambda: [mark_used(folder, named(7)) for _ in range(1000)],
            f"listing {IN_STORE:,} captures": store.ids,
            f"adding up {IN_STORE:,}, at each write": lambda: used_bytes(folder),
            f"finding which of {IN_STORE:,} may go": lambda: spare(folder, recent_seconds=0),
        }
        print()
        for what, seconds in timed(ways, rounds).items():
            print(f"{what:36} {seconds * 1e3:9.3f} ms")


def named(number: int) -> str:
    """An id for a number."""
    return "a" * 8 + "".join("abcdefghij"[int(digit)] for digit in f"{number:08}")


def raw_bytes(record: RoutingRecord) -> int:
    """What the arrays take in memory."""
    return sum(array.nbytes for _, array in record.arrays())


def columns_bytes(data: memoryview, stem: str) -> int:
    """What the columns of a name take in the file."""
    about = pq.ParquetFile(io.BytesIO(data), thrift_string_size_limit=2**31 - 1).metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    columns = [group.column(at) for group in groups for at in range(about.num_columns)]
    return sum(column.total_compressed_size for column in columns if column.path_in_schema.startswith(stem))


def speeds(raw: int, ways: dict[str, Callable[[], object]], rounds: int) -> list[float]:
    """Megabytes a CPU second of each way."""
    return [raw / seconds / 1e6 for seconds in timed(ways, rounds).values()]


def timed(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """CPU seconds of each way, the median over rounds in which all take their turn; one round before warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            started = time.process_time()
            run()
            if number:
                times[name].append(time.process_time() - started)
    return {name: median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    main()
