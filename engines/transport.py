"""JSON over HTTP to one address that the user named, and to no other: no redirect is followed, no proxy is used.

A pool keeps connections open. A server that is busy (429, 503) or breaks off in the middle is asked again, after a
pause that doubles; a refused connection or a silent server is an error at once.

The pool is httpcore's, the layer that httpx itself stands on: it knows neither proxies nor redirects, and compresses
nothing. httpx has no way to bound a whole answer (its timeouts start anew with every read) nor to break one off before
its first byte has come, because it never hands out the connection; `_Backend` and `_Stream` do both.
"""

import json
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpcore2

from gatescope.routing.errors import OptionError, TraceError

KEY_VARIABLE = "GATESCOPE_SERVER_API_KEY"
BUSY = (429, 503)
ATTEMPTS, ATTEMPTS_TO_LOOK = 6, 2  # of a question with a text, and of one about the server
CONNECT_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
LARGEST_ANSWER = 2**32  # bytes
_BROKEN_OFF = (httpcore2.RemoteProtocolError, httpcore2.ReadError, httpcore2.WriteError)


class Reply(NamedTuple):
    """What a server answered: its status, and its JSON (None where it was none)."""

    status: int
    value: Any


class Transport:
    """One server over HTTP or HTTPS, for any number of threads.

    `timeout` bounds a whole answer, in seconds. The key out of the environment is sent with every question, and is
    never part of an error. Errors: OptionError for an address or a key that cannot be used; TraceError where the
    server cannot be reached, or stays busy.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        self.address, self.timeout = address.rstrip("/").removesuffix("/v1"), timeout
        self._server = _checked(self.address)
        self._key = _key()
        self._network = _Backend()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl.create_default_context() if self._server.scheme == b"https" else None,
            max_connections=None,
            network_backend=self._network,
        )

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """The answer to a question; `body` is sent as JSON where there is one."""
        found, broken_off = "", 0
        for attempt in range(ATTEMPTS):
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.75, 1.25)
            try:
                status, headers, text = self._once(path, body)
            except _BROKEN_OFF as error:
                found, broken_off = f"{self.address} broke off its answer ({type(error).__name__})", broken_off + 1
                if body is None and broken_off == ATTEMPTS_TO_LOOK:
                    break
            else:
                if status not in BUSY:
                    return Reply(status, _json(text))
                found = f"{self.address} is busy (HTTP {status})"
                pause = max(pause, _wanted_pause(headers))
            if attempt < ATTEMPTS - 1 and self._network.stopped.wait(pause):
                break
        raise TraceError(
            f"{found}, {attempt + 1} times in a row",
            expected="a whole answer",
            do="check host, port and http or https, ask fewer at once (concurrency), or look into the server's log",
        )

    def without_key(self, text: str) -> str:
        """A server's words as they may be shown: short, and without the key that some repeat."""
        text = text.replace(self._key, "…") if self._key else text
        return " ".join(text.split())[:300]

    def stop(self) -> None:
        """Break off every answer that is still waited for; nothing is asked again."""
        self._network.stop()

    def close(self) -> None:
        """End every connection; for when no thread asks any more, or none has begun to."""
        self._pool.close()

    def _once(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, Mapping[str, str], bytes]:
        """One question and its whole answer. What goes wrong leaves no half-read connection behind."""
        now, server = time.monotonic(), self._server
        url = httpcore2.URL(
            scheme=server.scheme, host=server.host, port=server.port, target=server.target + path.encode()
        )
        end = now + self.timeout
        ends = {"connect": min(end, now + CONNECT_SECONDS), "read": end, "write": end}
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        try:
            with self._pool.stream(
                method, url, headers=self._headers(), content=data, extensions={"timeout": ends}
            ) as response:
                headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in response.headers}
                return response.status, headers, _whole(response)
        except httpcore2.ConnectTimeout as error:
            raise self._unreachable("no connection came about in time") from error
        except httpcore2.TimeoutException as error:
            raise self._silent() from error
        except httpcore2.ConnectError as error:
            raise self._unreachable(getattr(error.args[0], "strerror", None) or str(error)) from error

    def _headers(self) -> list[tuple[str, str]]:
        kind = "application/json"
        headers = [("Host", _host(self._server)), ("Accept", kind), ("Content-Type", kind)]
        return [*headers, ("Authorization", f"Bearer {self._key}")] if self._key else headers

    def _silent(self) -> TraceError:
        return TraceError(
            f"{self.address} gave no whole answer within {self.timeout:g} seconds",
            expected="an answer in that time",
            do="give it longer (timeout), ask fewer at once (concurrency), or generate fewer tokens",
        )

    def _unreachable(self, why: str) -> TraceError:
        return TraceError(
            f"{self.address} cannot be reached: {why}",
            expected="a running server of vLLM or SGLang",
            do="start it, wait until it says that it is ready, and check host, port and http or https",
        )


class _Backend(httpcore2.NetworkBackend):
    """Connections that `stop` breaks off, in whichever threads they are waited for.

    What httpcore calls a timeout and hands through is here the time at which it is over (`time.monotonic`).
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.open: set[_Stream] = set()
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """A connection, closed or broken off like every other."""
        return _Stream(self._plain.connect_tcp(host, port, _left(timeout), local_address, socket_options), self)

    def stop(self) -> None:
        """Break off all that is read or written; whatever is tried afterwards fails likewise."""
        self.stopped.set()
        for stream in list(self.open):
            with suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class _Stream(httpcore2.NetworkStream):
    """One connection of a `_Backend`; `timeout` as there."""

    def __init__(self, plain: httpcore2.NetworkStream, network: _Backend) -> None:
        self._plain, self._network = plain, network
        network.open.add(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes; none at the end."""
        return self._plain.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of these."""
        self._plain.write(buffer, self._left(timeout))

    def close(self) -> None:
        """End it."""
        self._network.open.discard(self)
        self._plain.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """The same connection, encrypted."""
        self._network.open.discard(self)
        return _Stream(self._plain.start_tls(ssl_context, server_hostname, _left(timeout)), self._network)

    def get_extra_info(self, info: str) -> Any:
        """What the connection tells of itself."""
        return self._plain.get_extra_info(info)

    def _left(self, end: float | None) -> float | None:
        if self._network.stopped.is_set():
            raise httpcore2.ReadError("stopped")
        return _left(end)


def _left(end: float | None) -> float | None:
    """Seconds until then."""
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout
    return left


def _whole(response: httpcore2.Response) -> bytes:
    """The answer to its end: a connection that closes early is an error of httpcore's."""
    parts, size = [], 0
    for part in response.iter_stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise TraceError(
                f"an answer of more than {LARGEST_ANSWER:,} bytes", expected="less", do="send shorter documents"
            )
    return b"".join(parts)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wanted_pause(headers: Mapping[str, str]) -> float:
    """How long the server asks to wait, at most a minute."""
    wanted = headers.get("retry-after", "")
    return min(float(wanted), 60.0) if wanted.isascii() and wanted.isdigit() else 0.0


def _checked(address: str) -> httpcore2.URL:
    """The address as httpcore takes it. Errors: OptionError for one that names no server, or holds more than that."""
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").encode("idna"), parts.port
        is_usable = parts.scheme in ("http", "https") and bool(host) and port != 0
    except ValueError:
        is_usable = False
    if (
        not is_usable
        or parts.username is not None
        or parts.query
        or parts.fragment
        or not address.isprintable()
        or " " in address
    ):
        shown = address if "@" not in address else "an address with a name or password in it"
        raise OptionError(
            f"{shown} is no address of a server",
            expected="http:// or https://, a host, and a port if need be",
            do=f"write it like http://localhost:8000; a key belongs into {KEY_VARIABLE}",
        )
    target = quote(parts.path, safe="/%:@!$&'()*+,;=").encode()
    return httpcore2.URL(scheme=parts.scheme.encode(), host=host, port=port, target=target)


def _host(server: httpcore2.URL) -> str:
    """How a question names the server: an IPv6 address in brackets, which httpcore leaves out."""
    host = f"[{server.host.decode()}]" if b":" in server.host else server.host.decode()
    return host if server.port is None else f"{host}:{server.port}"


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        raise OptionError(
            f"{KEY_VARIABLE} holds characters that no header can carry",
            expected="printable ASCII",
            do="set it to the server's key again",
        )
    return key
