"""Which requests a running server takes, and that it asks nobody outside while it judges them."""

import base64
import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gatescope.app.shell.request_guard import is_own_page
from tests.app.browser.harness import ROOT, serving

WATCH = '''
"""Notes every address that this process looks up or connects to."""
import os, sys

def note(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["OUTSIDE"], "a") as file:
            file.write(f"{event} {args[1:] if event in ('socket.connect', 'socket.sendto') else args}\\n")

sys.addaudithook(note)
'''
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The file in which the server's process notes whom it asks, and the folder of the module that does."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCH)
    return folder / "outside.txt"


@pytest.fixture(scope="module")
def address(outside, tmp_path_factory):
    """A server as the Dockerfile starts it: it listens on all addresses."""
    told = {"OUTSIDE": str(outside), "PYTHONPATH": str(outside.parent), "STREAMLIT_SERVER_ADDRESS": "0.0.0.0"}
    told |= {"STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS": "https://trusted.example"}
    with serving(tmp_path_factory.mktemp("server"), **told) as url:
        yield url


def answer(address: str, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of an answer; a header that is None is left out."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in ({"Host": place.netloc} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        got = connection.getresponse()
        text = "" if got.status == 101 else got.read().decode()
        return got.status, text, {name.lower(): value for name, value in got.getheaders()}
    finally:
        connection.close()


def handshake(address: str, **headers: str) -> int:
    return answer(address, "/_stcore/stream", **UPGRADE | headers)[0]


def asked_outside(outside: Path) -> list[str]:
    """What was looked up or connected to beyond this machine."""
    here = ("127.0.0.1", "localhost", "0.0.0.0", "'::1'")
    lines = outside.read_text().splitlines() if outside.exists() else []
    return [line for line in lines if not any(name in line for name in here) and "/" not in line]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://{netloc}", 101),
        ("https://trusted.example", 101),
        ("http://evil.example", 403),
        ("http://localhost:9999", 403),
        ("http://127.0.0.1", 403),
        ("http://127.0.0.1:9999", 403),
        ("https://127.0.0.1.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_only_a_page_of_this_server_opens_a_web_socket(address, outside, origin, status):
    given = origin.format(netloc=urlsplit(address).netloc)
    started = time.monotonic()
    assert handshake(address, Origin=given) == status
    assert time.monotonic() - started < 15
    assert asked_outside(outside) == []


def test_what_is_no_browser_opens_one_without_an_origin(address):
    assert handshake(address) == 101


def test_a_foreign_name_is_refused_and_told_what_its_operator_can_do(address):
    for path in ("/", "/library", "/_stcore/host-config", "/static/x.js"):
        status, text, headers = answer(address, path, Host="rebound.example")
        assert (status, "server.allowedHosts" in text) == (403, True)
        assert "content-security-policy" in headers
    assert handshake(address, Host="rebound.example", Origin="http://rebound.example") == 403
    assert answer(address, "/_stcore/health", Host="10.0.0.7:8501")[:2] == (200, "ok")


def test_a_page_of_another_site_reads_nothing(address):
    status, text, _ = answer(address, "/_stcore/host-config", Origin="http://evil.example")
    assert (status, "allowedOrigins" in text) == (403, False)


def test_the_servers_own_statistics_are_not_for_visitors(address):
    for path in ("/_stcore/metrics", "/_stcore/metrics/"):
        assert answer(address, path)[0] == 404


def test_the_first_page_stands_under_its_name_too(address):
    status, _, headers = answer(address, "/prompt?c=probe.sift-softmax&t=3&s=domain%3Acode")
    assert (status, headers["location"]) == (307, "./?c=probe.sift-softmax&t=3&s=domain%3Acode")
    assert answer(address, "/prompt")[2]["location"] == "./"


def test_starting_and_serving_ask_nobody_outside(address, outside):
    """The note does see what is asked: the server's own socket is in it, or any look-up at all."""
    assert answer(address, "/")[0] == 200
    assert asked_outside(outside) == []
    probe = [sys.executable, "-c", "import socket; socket.socket(2, 2).connect(('192.0.2.1', 9))"]
    notes = outside.with_name("probe.txt")
    environment = os.environ | {"OUTSIDE": str(notes), "PYTHONPATH": str(outside.parent)}
    subprocess.run(probe, env=environment, check=False)
    assert "192.0.2.1" in asked_outside(notes)[0]


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://localhost:8501", "localhost:8501", True),
        ("https://a.org", "a.org", True),  # behind TLS, which this server does not see
        ("https://a.org", "a.org:443", True),
        ("http://a.org:80", "a.org", True),
        ("http://A.org", "a.ORG", True),
        ("http://[::1]:8501", "[::1]:8501", True),
        ("https://a.org:8443", "a.org", False),
        ("http://a.org:8501", "a.org:8502", False),
        ("ftp://a.org", "a.org", False),
        ("http://a.org:99999", "a.org", False),
        ("http://", "", False),
        ("http://[", "a.org", False),
    ],
)
def test_a_page_is_known_by_name_and_port(origin, host, is_own):
    assert is_own_page(origin, host) is is_own


@pytest.mark.slow
def test_a_shared_server_that_cannot_tell_browsers_apart_does_not_start(tmp_path):
    told = {"GATESCOPE_LIBRARY_LISTS": "shared", "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "false"}
    told |= {"GATESCOPE_CACHE_DIR": str(tmp_path)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", port]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | told, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert "Gatescope does not start: library_lists is shared" in ran.stderr
    assert "Traceback" not in ran.stderr
