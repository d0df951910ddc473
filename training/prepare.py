"""Train the tokenizer and encode the corpus once: what training needs on disk before its first step."""

from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from gatescope.training import corpus
from gatescope.training.tokenizer import load_or_train
from gatescope.training.tokens import Stream, encode_streams, load_streams, save_streams


class Prepared(NamedTuple):
    """The tokenizer and the training streams, by `source/language`."""

    tokenizer: PreTrainedTokenizerFast
    streams: dict[str, Stream]


def prepare(folder: Path) -> Prepared:
    """Return the tokenizer and the encoded training text of the corpus in `folder`, making what is missing."""
    tokenizer = load_or_train(folder / "tokenizer", corpus.read(folder, "train"))
    path = folder / "train.npz"
    if not path.exists():
        save_streams(encode_streams(corpus.read(folder, "train"), tokenizer), path)
    return Prepared(tokenizer, load_streams(path))
