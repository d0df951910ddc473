"""Who is looking: one key for everybody on a server that one person uses, else one for each browser.

A browser is known by the token that Streamlit gives it against forged requests: a random one, kept in a cookie until
the browser is closed. What is made of it here cannot be turned back into it.
"""

import hmac
import re
from hashlib import sha256

import streamlit as st

from app.settings import settings
from cache.keys import server_secret

EVERYBODY = ""
COOKIE = "_streamlit_xsrf"
_MASKED = re.compile(r"2\|([0-9a-f]{8})\|([0-9a-f]{8,128})\|[0-9]+")


def visitor() -> str:
    """The key of who is looking at this page. Errors: StoreError."""
    if settings().library_lists == "all":
        return EVERYBODY
    cookie = st.context.cookies.get(COOKIE)
    return key_of(cookie if isinstance(cookie, str) else "", server_secret(settings().cache_dir))


def key_of(cookie: str, secret: bytes) -> str:
    """The key of a browser; the token is sent under another mask every time, and is the same beneath.

    >>> key_of("2|00000000|0a0b|1", bytes(32)) == key_of("2|ffffffff|f5f4|9", bytes(32))
    False
    >>> key_of("2|00000000|0a0b0c0d|1", bytes(32)) == key_of("2|ffffffff|f5f4f3f2|9", bytes(32))
    True
    """
    found = _MASKED.fullmatch(cookie.strip('"'))
    token = cookie.encode() if found is None else _unmasked(*map(bytes.fromhex, found.groups()))
    return hmac.new(secret, b"visitor" + token, sha256).hexdigest()[:16]


def _unmasked(mask: bytes, masked: bytes) -> bytes:
    return bytes(byte ^ mask[number % 4] for number, byte in enumerate(masked))
