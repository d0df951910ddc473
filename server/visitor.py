"""Who is looking: one key for everybody on a server that one person uses, else one for each browser.

A browser is known by the token that Streamlit gives it against forged requests: a random one, kept in a cookie until
the browser is closed. What is made of it here cannot be turned back into it. A browser that keeps no cookies is known
for as long as its page is open.
"""

import hmac
import re
from hashlib import sha256

from gatescope.cache.keys import server_secret
from gatescope.routing.errors import OptionError
from gatescope.server.settings import Settings

EVERYBODY = ""
COOKIE = "_streamlit_xsrf"
_MASKED = re.compile(r"2\|([0-9a-f]{8})\|([0-9a-f]{8,128})\|[0-9]+")


def visitor_key(chosen: Settings, cookie: str, *, session: str) -> str:
    """The key of a visitor: of the cookie, or without one of the session. Errors: StoreError."""
    if chosen.library_lists == "all":
        return EVERYBODY
    return key_of(cookie or f"session {session}", server_secret(chosen.workspace))


def check_visitors(chosen: Settings, *, has_tokens: bool) -> None:
    """Refuse to serve many visitors who cannot be told apart. Errors: OptionError."""
    if chosen.library_lists == "shared" and not has_tokens:
        raise OptionError(
            "library_lists is shared, and server.enableXsrfProtection is false: browsers have no token to be known by",
            expected="protection against forged requests, so that each browser has captures of its own",
            do="remove STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION, or set GATESCOPE_LIBRARY_LISTS=all",
        )


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
