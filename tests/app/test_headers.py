"""The headers of every answer."""

import asyncio

from gatescope.app.shell.headers import SafeHeaders, headers


def answer(scope_type: str, start: dict) -> dict:
    """What a browser gets from an app that starts its answer like that."""
    sent = []

    async def app(_scope, _receive, send):
        await send(start)

    async def send(message):
        sent.append(message)

    asyncio.run(SafeHeaders(app)({"type": scope_type}, None, send))
    return sent[0]


def test_every_http_answer_carries_them_beside_its_own():
    got = answer("http", {"type": "http.response.start", "status": 200, "headers": [(b"etag", b"1")]})
    names = {name.decode() for name, _ in got["headers"]}
    assert {"etag", "content-security-policy", "x-content-type-options", "referrer-policy"} <= names


def test_a_web_socket_is_left_alone():
    assert answer("websocket", {"type": "websocket.accept"}) == {"type": "websocket.accept"}


def test_nothing_may_be_loaded_from_another_host():
    policy = headers()["Content-Security-Policy"]
    assert "http" not in policy
    assert "*" not in policy
    assert "script-src 'self' blob: 'sha256-" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
