"""The model's tokenizer: byte-level byte-pair encoding, trained on an even share of every domain and language."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from gatescope.training.corpus import Document

VOCABULARY_SIZE = 12288
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
_SAMPLE_BYTES = 400_000


def balanced_sample(documents: Iterable[Document], sample_bytes: int = _SAMPLE_BYTES) -> list[str]:
    """Return texts, at most `sample_bytes` of them for each pair of domain and language."""
    taken: dict[tuple[str, str], int] = defaultdict(int)
    texts = []
    for document in documents:
        key = (document.domain, document.language)
        if taken[key] < sample_bytes:
            taken[key] += len(document.text.encode())
            texts.append(document.text)
    return texts


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE) -> PreTrainedTokenizerFast:
    """Train byte-level BPE with one token a digit; encoding a text puts `<|bos|>` before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def load_or_train(folder: Path, documents: Iterable[Document]) -> PreTrainedTokenizerFast:
    """Return the tokenizer saved in `folder`, training and saving it first if there is none."""
    if (folder / "tokenizer.json").exists():
        saved: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
        return saved
    tokenizer = train_tokenizer(balanced_sample(documents))
    tokenizer.save_pretrained(folder)
    return tokenizer
