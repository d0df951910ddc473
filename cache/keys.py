"""What a capture is called: an id made from what it was captured from, and from a secret of this server.

The same model, text and options give the same id, so asking twice finds the first answer. The secret keeps a stranger
who sees an id in a link from testing which text it stands for. An id is checked before it becomes part of a path.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from gatescope.cache.temporary import write_whole
from gatescope.routing.errors import CaptureNotFoundError, OptionError, StoreError

RECIPE_VERSION = 1
"""Goes up when a capture by the same recipe would record something else, so that older ones are no longer found.

How a record is laid out in a file has a version of its own (`cache.schema`): older files are read as they are.
"""

_ID = re.compile(r"[a-z2-7]{16}")
_SECRET_BYTES = 32


def capture_id(
    *, fingerprint: str, text: str, options: Mapping[str, str | int | float | bool | None], secret: bytes
) -> str:
    """The id of the capture that this recipe gives: 16 lower-case base32 characters (80 bits).

    >>> recipe = dict(fingerprint="ab12", text="Hello", secret=bytes(32))
    >>> first = capture_id(options={"logits": True, "max_tokens": 64}, **recipe)
    >>> first == capture_id(options={"max_tokens": 64, "logits": True}, **recipe)
    True
    >>> first == capture_id(options={"max_tokens": 65, "logits": True}, **recipe)
    False
    """
    if not all(isinstance(name, str) for name in options):
        raise _unspeakable(f"option names {list(options)!r}")
    recipe = {"fingerprint": fingerprint, "text": text, "options": dict(options), "schema": RECIPE_VERSION}
    digest = hmac.new(secret, _canonical(recipe), hashlib.sha256).digest()
    return base64.b32encode(digest[:10]).decode("ascii").lower()


def check_capture_id(text: str) -> str:
    """The id unchanged, or CaptureNotFoundError: nothing else may become part of a path.

    >>> check_capture_id("abcdefghij234567")
    'abcdefghij234567'
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        shown = repr(text)[:60]
        raise CaptureNotFoundError(
            f"{shown} is not the id of a capture",
            expected="16 characters out of a-z and 2-7",
            do="check the link for characters that were lost or added",
        )
    return text


def server_secret(folder: Path | str) -> bytes:
    """32 random bytes that stay the same for this folder, readable by their owner only.

    Made on first use. Of several processes that start at once, one wins and all get its bytes: the file appears whole,
    under its final name, or not at all.
    """
    path = Path(folder) / "secret"
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, secrets.token_bytes(_SECRET_BYTES), is_first=True)
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"the secret {path} cannot be made or read: {error.strerror or error}",
            expected="a folder on a file system with hard links, writable by the user who runs this",
            do="name a writable folder for captures, or give this one to that user",
        ) from error
    if len(secret) != _SECRET_BYTES:
        raise StoreError(
            f"the secret {path} holds {len(secret)} bytes",
            expected=f"{_SECRET_BYTES} bytes",
            do="remove that file: a new secret is made at the next start, and old captures keep their ids",
        )
    return secret


def _canonical(recipe: Mapping[str, object]) -> bytes:
    """The one way this recipe is spelt as bytes: sorted keys, no spaces, ASCII, no NaN."""
    try:
        spelt = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _unspeakable(f"options that cannot be written as JSON ({error})") from error
    return spelt.encode("ascii")


def _unspeakable(found: str) -> OptionError:
    return OptionError(
        found, expected="names of text; values that are text, a finite number, true, false or nothing", do="change them"
    )
