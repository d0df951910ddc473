"""Objects of JSON that carry a checksum of what they say, as one of their own entries."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "checksum"


def with_checksum(content: Mapping[str, Any], *, within: str = "") -> dict[str, Any]:
    """An object and its checksum; `within` says what it belongs to, and the checksum holds nowhere else.

    >>> made = with_checksum({"blocks": 3})
    >>> is_intact(made), is_intact(made | {"blocks": 4}), is_intact(made | {"more": 1}), is_intact({"blocks": 3})
    (True, False, False, False)
    >>> is_intact(with_checksum({}, within="one study"), within="another")
    False
    """
    return {**content, CHECKSUM: digest_of({key: value for key, value in content.items() if key != CHECKSUM}, within)}


def is_intact(content: Mapping[str, Any], *, within: str = "") -> bool:
    """Whether an object carries the checksum of what it says."""
    return bool(content.get(CHECKSUM) == with_checksum(content, within=within)[CHECKSUM])


def digest_of(content: Mapping[str, Any], within: str = "") -> str:
    """SHA-256 of an object, whatever the order of its entries."""
    spelt = json.dumps([within, content], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(spelt.encode("ascii")).hexdigest()
