"""Archives of a few bytes in every registry's format, and a tokenizer and a model small enough to train in a test."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from gatescope.training.architecture import ARCHITECTURES, Architecture
from gatescope.training.corpus import Document
from gatescope.training.packages import Package
from gatescope.training.tokenizer import train_tokenizer
from gatescope.training.tokens import Stream, encode_streams

Files = Mapping[str, bytes]


def tar_bytes(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def deb_bytes(files: Files) -> bytes:
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": tar_bytes({}), "data.tar.gz": tar_bytes(files)}
    whole = b"!<arch>\n"
    for name, content in parts.items():
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        whole += b"\n" * (len(content) % 2)
    return whole


def zip_bytes(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def catalogue_bytes(messages: Mapping[str, str]) -> bytes:
    """A compiled gettext catalogue: header, two tables of (length, offset), strings."""
    entries = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **messages}.items())
    strings, tables, offset = b"", [b"", b""], 28 + 16 * len(entries)
    for table, texts in enumerate(zip(*entries, strict=True)):
        for text in texts:
            encoded = text.encode()
            tables[table] += struct.pack("<II", len(encoded), offset + len(strings))
            strings += encoded + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(entries), 28, 28 + 8 * len(entries), 0, 0) + b"".join(tables) + strings


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Write an archive of the given files; the kind is "deb", "pypi" or "npm"."""
    writers = {"deb": deb_bytes, "pypi": zip_bytes, "npm": tar_bytes}

    def write(files: Files, kind: str = "npm") -> Path:
        path = tmp_path / f"fixture.{kind}"
        path.write_bytes(writers[kind](files))
        return path

    return write


def package(extractor: str, *languages: str, registry: str = "npm") -> Package:
    return Package("fixture", registry, "1.0", "CC0", "testing", languages, extractor)


compress = gzip.compress

SENTENCES = (
    "The quick brown fox jumps over the lazy dog near the river bank.",
    "def add(first, second):\n    return first + second",
    "Der Benutzer kann die Datei mit diesem Befehl öffnen und wieder schließen.",
    "Файл можно открыть с помощью этой команды.",
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(SENTENCES * 4, vocabulary_size=300)


@pytest.fixture(scope="session")
def streams(tokenizer: PreTrainedTokenizerFast) -> dict[str, Stream]:
    documents = [Document(text * 3, "testing", "en", f"source {i}", "train") for i, text in enumerate(SENTENCES)]
    return encode_streams(documents, tokenizer)


SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
SMALL_OF = {
    "sift-softmax": {
        "num_key_value_heads": 1,
        "head_dim": 16,
        "moe_intermediate_size": 16,
        "num_experts": 8,
        "num_experts_per_tok": 2,
    },
    "sift-sigmoid": {
        "num_key_value_heads": 2,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "moe_intermediate_size": 8,
        "n_routed_experts": 8,
        "n_group": 4,
        "topk_group": 2,
        "num_experts_per_tok": 2,
    },
}


@pytest.fixture(scope="session", params=ARCHITECTURES)
def shape(request: pytest.FixtureRequest) -> Architecture:
    """Every shape the recipe can train, one after another."""
    return ARCHITECTURES[request.param]


@pytest.fixture(scope="session")
def tiny(shape: Architecture, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    return shape.configuration(tokenizer, **SMALL, **SMALL_OF[shape.name])


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices gain nothing from threads, and sums in a fixed order are equal to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
