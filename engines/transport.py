"""JSON over HTTP to one address that the user named, and to no other: no redirect is followed, no proxy is used.

Each thread keeps a connection of its own. A server that is busy (429, 503) or breaks off in the middle is asked again,
after a pause that doubles; a refused connection or a silent server is an error at once.
"""

import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gatescope.routing.errors import OptionError, TraceError

KEY_VARIABLE = "GATESCOPE_SERVER_API_KEY"
BUSY = (429, 503)
ATTEMPTS, ATTEMPTS_TO_LOOK = 6, 2  # of a question with a text, and of one about the server
CONNECT_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
LARGEST_ANSWER = 2**32  # bytes
CHUNK = 2**20
_BROKEN_OFF = (http.client.IncompleteRead, http.client.BadStatusLine, ConnectionResetError, BrokenPipeError)


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
        self._parts = _checked(self.address)
        self._key = _key()
        self._own = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._stopped = threading.Event()

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
            if attempt < ATTEMPTS - 1 and self._stopped.wait(pause):
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
        self._stopped.set()
        for connection in list(self._open):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End every connection; for when no thread asks any more, or none has begun to."""
        for connection in list(self._open):
            connection.close()
        self._open.clear()
        self._own = threading.local()

    def _once(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, Mapping[str, str], bytes]:
        """One question and its whole answer. What goes wrong leaves no half-read connection behind."""
        deadline = time.monotonic() + self.timeout
        connection = self._connection()
        try:
            self._send(connection, path, body)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), _whole(connection, response, deadline)
        except TimeoutError as error:
            self._drop(connection)
            raise self._silent() from error
        except (TraceError, *_BROKEN_OFF):
            self._drop(connection)
            raise
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            raise self._unreachable(error) from error

    def _send(self, connection: http.client.HTTPConnection, path: str, body: Mapping[str, Any] | None) -> None:
        if connection.sock is None:
            self._connect(connection)
        connection.sock.settimeout(self.timeout)
        if self._stopped.is_set():
            raise ConnectionResetError("stopped")
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        connection.request(method, self._parts.path + path, body=data, headers=headers)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """Nobody there is told from nobody answering."""
        connection.timeout = min(self.timeout, CONNECT_SECONDS)
        try:
            connection.connect()
        except TimeoutError as error:
            raise self._unreachable(OSError("no connection came about in time")) from error
        except ConnectionResetError as error:
            raise self._unreachable(error) from error

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            host, port = self._parts.hostname or "", self._parts.port
            if self._parts.scheme == "https":
                connection = http.client.HTTPSConnection(host, port, context=ssl.create_default_context())
            else:
                connection = http.client.HTTPConnection(host, port)
            self._own.connection = connection
            self._open.add(connection)
        return connection

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        self._open.discard(connection)
        self._own.connection = None

    def _silent(self) -> TraceError:
        return TraceError(
            f"{self.address} gave no whole answer within {self.timeout:g} seconds",
            expected="an answer in that time",
            do="give it longer (timeout), ask fewer at once (concurrency), or generate fewer tokens",
        )

    def _unreachable(self, error: Exception) -> TraceError:
        return TraceError(
            f"{self.address} cannot be reached: {getattr(error, 'strerror', None) or error}",
            expected="a running server of vLLM or SGLang",
            do="start it, wait until it says that it is ready, and check host, port and http or https",
        )


def _whole(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The answer to its end: a connection that closes early is not taken for one."""
    parts, size = [], 0
    while part := response.read1(CHUNK):
        parts.append(part)
        size += len(part)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if size > LARGEST_ANSWER:
            raise TraceError(
                f"an answer of more than {LARGEST_ANSWER:,} bytes", expected="less", do="send shorter documents"
            )
        if connection.sock is not None:
            connection.sock.settimeout(remaining)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    response.close()  # which leaves the connection open for the next question
    return b"".join(parts)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wanted_pause(headers: Mapping[str, str]) -> float:
    """How long the server asks to wait, at most a minute."""
    wanted = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    return min(float(wanted), 60.0) if wanted.isascii() and wanted.isdigit() else 0.0


def _checked(address: str) -> Any:
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
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
    return parts


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        raise OptionError(
            f"{KEY_VARIABLE} holds characters that no header can carry",
            expected="printable ASCII",
            do="set it to the server's key again",
        )
    return key
