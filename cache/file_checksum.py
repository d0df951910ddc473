"""The checksum in front of a stored capture: 8 bytes magic and 32 of SHA-256, over its id and the Parquet file behind.

The id is part of it, so a file under another capture's name does not pass either.
"""

import hashlib

MAGIC = b"GSROUTE\n"
CHECKSUM_BYTES = len(MAGIC) + hashlib.sha256().digest_size


def checksum(id: str, body: bytes | memoryview) -> bytes:
    """What stands in front of the Parquet bytes of a capture of that id."""
    digest = hashlib.sha256(id.encode("utf-8", "surrogateescape"))
    digest.update(body)
    return MAGIC + digest.digest()


def complaint(id: str, data: bytes | memoryview) -> str | None:
    """What is wrong with a whole file's bytes; None when nothing is.

    >>> complaint("a" * 16, checksum("a" * 16, b"rest") + b"rest") is None
    True
    >>> complaint("a" * 16, checksum("a" * 16, b"rest") + b"test")
    'its checksum does not match'
    """
    if len(data) < CHECKSUM_BYTES:
        return f"it ends after {len(data)} bytes"
    if bytes(data[: len(MAGIC)]) != MAGIC:
        return "it does not begin like a capture"
    if bytes(data[:CHECKSUM_BYTES]) != checksum(id, memoryview(data)[CHECKSUM_BYTES:]):
        return "its checksum does not match"
    return None
