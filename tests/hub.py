"""A stand-in for the hub on this machine: real HTTP, real client libraries, one folder of files."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34
NAME = "here/tiny"


class Hub(BaseHTTPRequestHandler):
    """Knows one folder, as the model and as the data set `here/tiny`; keeps what is named `gated/…`; knows no more."""

    folder: Path

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = re.fullmatch(rf"/(api/)?(models/|datasets/)?{NAME}(?:/(\w+))?(?:/([^/]+))?(?:/(.*))?", path)
        if "gated/" in path:
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif not asked:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no such"})
        elif asked[4] not in (None, "main", COMMIT):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no such revision"})
        elif not asked[1]:
            self._send_file(self.folder / asked[5])
        elif asked[3] == "tree":
            self._send_tree(self.folder / (asked[5] or ""), is_deep="recursive=true" in query.lower())
        else:
            files = [{"rfilename": self._name(file)} for file in self.folder.rglob("*") if file.is_file()]
            self._send_json({"id": NAME, "sha": COMMIT, "siblings": files})

    do_HEAD = do_GET

    def _name(self, file):
        return file.relative_to(self.folder).as_posix()

    def _send_tree(self, folder, is_deep):
        if not folder.is_dir():
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        kinds = {True: "directory", False: "file"}
        found = sorted(folder.rglob("*") if is_deep else folder.iterdir())
        entry = {file: {"type": kinds[file.is_dir()], "path": self._name(file)} for file in found}
        self._send_json([entry[file] | {"size": file.stat().st_size, "oid": file.name} for file in found])

    def _send_file(self, file):
        if not file.is_file():
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        whole, headers = file.read_bytes(), {"ETag": f'"{file.name}"', "Accept-Ranges": "bytes"}
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is None:
            self._answer(200, whole, headers)
            return
        first, last = int(part[1]), min(int(part[2] or len(whole)), len(whole) - 1)
        self._answer(206, whole[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(whole)}"})

    def _send_json(self, value):
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status, body, headers):
        self.send_response(status)
        for key, value in {**headers, "X-Repo-Commit": COMMIT}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        """Quiet."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a hub that holds this folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (Hub,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """Variables of a new process that asks this hub only: its client reads them once, at import."""
    asked = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "2"}
    return {**os.environ, **asked, "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "*"}
