"""Which requests this server takes: for its own name, and of its own pages. Judged before Streamlit sees them.

Streamlit judges a foreign `Origin` too, but asks a host on the internet for this server's address while it does, and
lets every port of this machine in; and it looks at `Host` for the WebSocket alone.
"""

import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from streamlit import config, net_util
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

log = logging.getLogger(__name__)

HEALTH, METRICS = "/_stcore/health", "/_stcore/metrics"
_PORTS = {"http": 80, "https": 443}


class RequestGuard:
    """Answers 403 to requests for a foreign host or from a foreign page, and hides Streamlit's own statistics.

    `/_stcore/health` is answered under every name: what looks whether a server is alive asks for its number.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = _refusal(scope["path"], Headers(scope=scope))
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)
        else:
            await PlainTextResponse(refused[1], refused[0])(scope, receive, send)


def _refusal(path: str, headers: Headers) -> tuple[int, str] | None:
    """The status and the words of a refusal; None where there is nothing to refuse."""
    host, origin = headers.get("host"), headers.get("origin")
    if path.rstrip("/").endswith(METRICS):
        return 404, "Not found"
    if not is_host_allowed(host) and not path.endswith(HEALTH):
        log.warning("refused a request for host %r: add that name to server.allowedHosts if it is this server's", host)
        return 403, "This server does not go by that name. Its operator can add it to server.allowedHosts."
    if origin is not None and not is_own_page(origin, host or ""):
        log.warning(
            "refused a request from %r to %r: pass Host on unchanged where a proxy stands in front, "
            "or add the origin to server.corsAllowedOrigins if it is trusted",
            origin,
            host,
        )
        return 403, "Only pages of this server may ask it."
    return None


def is_own_page(origin: str, host: str) -> bool:
    """Whether a page may speak to this server: one of its own, by name and port, or one that the operator allows.

    >>> is_own_page("https://a.org", "a.org"), is_own_page("http://localhost:9999", "localhost:8501")
    (True, False)
    """
    if not config.get_option("server.enableCORS") or origin in config.get_option("server.corsAllowedOrigins"):
        return True
    try:
        page = urlsplit(origin)
        here = urlsplit(f"//{host}")
        usual = _PORTS[page.scheme]
        return bool(page.hostname) and (page.hostname, page.port or usual) == (here.hostname, here.port or usual)
    except (ValueError, KeyError):
        return False


def ask_nobody_outside() -> None:
    """Leave Streamlit nothing to ask the internet for: it looks for its own addresses where it need not know them."""
    for name in ("get_external_ip", "get_internal_ip"):
        setattr(net_util, name, lambda: None)
