"""Answers that are slow, broken, odd or too long, from a server that writes its bytes by hand."""

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from gatescope.engines.transport import Transport
from gatescope.routing.errors import TraceError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Pauses between attempts of a hundredth of a second."""
    monkeypatch.setattr("gatescope.engines.transport.FIRST_PAUSE", 0.01)


def whole_question(connection):
    """Head and body, which may come in several parts."""
    question = b""
    while part := connection.recv(2**16):
        question += part
        head, end, body = question.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            break
    return question


@contextmanager
def answering(*pieces, pause=0.0, family=socket.AF_INET, host="127.0.0.1"):
    """The address of a server that sends these pieces to each question, one after each pause, and what it was asked."""
    asked = []

    def serve(connection):
        with connection, suppress(OSError):
            asked.append(whole_question(connection))
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)

    def listen():
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        threading.Thread(target=listen, daemon=True).start()
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        yield f"http://{shown}:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def ask(address, *, timeout=5.0, body=None, path="/v1/models"):
    transport = Transport(address, timeout=timeout)
    try:
        return transport.ask(path, body)
    finally:
        transport.close()


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD + b"Content-Length: 7\r\n\r\n[1, 2]\n",),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n", b"3\r\n 2]\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1, 2]",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"\r\n[1, ", b"2]"),
    ],
    ids=["by length", "in chunks", "to the end", "with a notice before it"],
)
def test_every_way_to_end_an_answer(pieces):
    with answering(*pieces) as (address, _):
        assert ask(address) == (200, [1, 2])


@pytest.mark.parametrize(
    ("pieces", "pause"),
    [
        ([bytes([byte]) for byte in HEAD], 0.1),
        ([HEAD, *[b"X-More: and more\r\n"] * 99], 0.1),
        ([HEAD + b"Content-Length: 99\r\n\r\n", *[b"1"] * 98], 0.1),
        ([HEAD + b"Content-Length: 99\r\n\r\n", b"1"], 0.4),
        ([b""], 9.0),
    ],
    ids=["dripping head", "endless head", "dripping body", "silent in the middle", "silent from the start"],
)
def test_the_time_for_an_answer_is_that_for_all_of_it(pieces, pause):
    with answering(*pieces, pause=pause) as (address, _):
        began = time.monotonic()
        with pytest.raises(TraceError, match=r"no whole answer within 0\.6 seconds"):
            ask(address, timeout=0.6)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 99\r\n\r\n[1]"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n[1]"],
        [HEAD[:20]],
        [b"SSH-2.0-OpenSSH_9.9\r\n"],
        [b""],
        [HEAD + b"X-Long: " + b"x" * 2**20 + b"\r\n\r\n[1]"],
    ],
    ids=["short body", "short chunk", "short head", "another protocol", "nothing", "a head without end"],
)
def test_half_an_answer_is_asked_for_again_and_never_taken_for_one(pieces):
    with answering(*pieces) as (address, asked), pytest.raises(TraceError, match="broke off its answer"):
        ask(address, body={})
    assert len(asked) == 6


def test_an_answer_beyond_all_measure_is_not_kept(monkeypatch):
    monkeypatch.setattr("gatescope.engines.transport.LARGEST_ANSWER", 2**20)
    too_long = pytest.raises(TraceError, match="an answer of more than 1,048,576 bytes")
    with answering(HEAD + b"\r\n", *[b"1" * 2**18] * 99) as (address, asked), too_long:
        ask(address)
    assert len(asked) == 1


def test_what_is_asked_is_plain():
    with answering(HEAD + b"Content-Length: 2\r\n\r\n{}") as (address, asked):
        assert ask(f"{address}/behind/ü", body={"a": 1}) == (200, {})
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /behind/%C3%BC/v1/models HTTP/1.1\r\n") and body == b'{"a": 1}'
    assert b"Host: " + address.removeprefix("http://").encode() in head
    assert b"encoding" not in head.lower(), "an answer may not come compressed"


def test_an_ipv6_address_is_named_in_brackets():
    with answering(HEAD + b"Content-Length: 2\r\n\r\n{}", family=socket.AF_INET6, host="::1") as (address, asked):
        assert ask(address).status == 200
    assert b"Host: [::1]:" in asked[0]


def test_stopping_ends_what_is_waited_for_and_refuses_what_comes_after():
    with answering(b"", pause=9.0) as (address, _):
        transport = Transport(address, timeout=20.0)
        threading.Timer(0.2, transport.stop).start()
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(TraceError, match="broke off its answer"):
                transport.ask("/v1/models")
        assert time.monotonic() - began < 2
        transport.close()
