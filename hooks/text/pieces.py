"""The text each token id stands for, shown faithfully: bytes that are no text alone stay visible as bytes."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any


def pieces(tokenizer: Any, token_ids: Iterable[int]) -> dict[int, str]:
    """Text per token id. A token that is part of a character is shown as its bytes, e.g. `<E4 BD>`.

    `tokenizer` is a transformers tokenizer; ids it does not know are shown as their number.
    """
    special, byte_level = frozenset(tokenizer.all_special_ids), is_byte_level(tokenizer)
    wanted = sorted({int(token) for token in token_ids})
    return {token: _piece(tokenizer, token, special, is_byte_level=byte_level) for token in wanted}


def _piece(tokenizer: Any, token_id: int, special: frozenset[int], *, is_byte_level: bool) -> str:
    """Text of one token id, of a tokenizer with these special ids."""
    token: str | None = tokenizer.convert_ids_to_tokens(token_id)
    if token is None:
        return f"<{token_id}>"
    if token_id in special:
        return token
    raw = token_bytes(token, is_byte_level=is_byte_level)
    if raw is None:
        return token.replace("\u2581", " ")  # SentencePiece writes a leading space as ▁
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{raw.hex(' ').upper()}>"


def is_byte_level(tokenizer: Any) -> bool:
    """Whether the vocabulary spells bytes with stand-in letters: then the space is written Ġ."""
    token_id = tokenizer.convert_tokens_to_ids("Ġ")
    return isinstance(token_id, int) and tokenizer.convert_ids_to_tokens(token_id) == "Ġ"


def token_bytes(token: str, *, is_byte_level: bool) -> bytes | None:
    """The bytes behind a token of a byte-level or byte-fallback vocabulary; None when it is plain text.

    >>> token_bytes("<0xE4>", is_byte_level=False), token_bytes("Ġhi", is_byte_level=True)
    (b'\\xe4', b' hi')
    """
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    table = byte_alphabet()
    if is_byte_level and all(character in table for character in token):
        return bytes(table[character] for character in token)
    return None


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """The printable stand-in of every byte in byte-level BPE: itself where printable, else U+0100 upwards in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    hidden = (byte for byte in range(256) if byte not in printable)
    return table | {chr(0x100 + at): byte for at, byte in enumerate(hidden)}
