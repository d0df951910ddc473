"""What a browser is told with every answer: load nothing from elsewhere, be framed by nobody else, pass no link on."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_INDEX = Path(streamlit.__file__).parent / "static" / "index.html"
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class SafeHeaders:
    """Adds `headers()` to every HTTP answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers())
            await send(message)

        await self._app(scope, receive, send_with_headers)


@cache
def headers() -> dict[str, str]:
    """The headers and their values."""
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _policy().items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }


def _policy() -> dict[str, str]:
    """Where each kind of content may come from: this server, and what Streamlit makes in the page itself."""
    scripts = " ".join(inline_hashes(_INDEX.read_text("utf-8")))
    return {
        "default-src": "'self'",
        "script-src": f"'self' blob: {scripts}".rstrip(),  # components come as blobs; no chart here compiles
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'self'",
    }


def inline_hashes(html: str) -> list[str]:
    """The inline scripts of Streamlit's own page, named by their content so that no other inline script runs.

    >>> inline_hashes("<script>1</script>")
    ["'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"]
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(html))
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
