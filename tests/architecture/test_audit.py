"""The audit of dependencies: what the database answers decides, and its absence does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tools import audit


@pytest.fixture
def database() -> Iterator[tuple[str, dict[str, Any]]]:
    """(URL, {package: result}) of a service that answers as osv.dev does."""
    found: dict[str, Any] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            assert all(q["package"]["ecosystem"] == "PyPI" and q["version"] for q in queries)
            body = json.dumps({"results": [found.get(q["package"]["name"], {}) for q in queries]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", found
        server.shutdown()


def test_every_package_of_the_lock_is_asked_about() -> None:
    names = {name for name, _ in audit.pinned(audit.LOCK.read_text())}
    assert {"aiohttp", "cryptography", "grpcio", "pyyaml"} <= names
    assert len(names) == audit.LOCK.read_text().count("==")


def test_a_known_vulnerability_fails(
    database: tuple[str, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, found = database
    assert audit.main(url) == 0
    found["aiohttp"] = {"vulns": [{"id": "GHSA-x", "modified": ""}]}
    assert audit.main(url) == 1
    assert "https://osv.dev/vulnerability/GHSA-x" in capsys.readouterr().out
    monkeypatch.setitem(audit.ACCEPTED, "GHSA-x", "we do not use it")
    assert audit.main(url) == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/"])
def test_without_the_database_nothing_fails(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(url) == 0
    assert capsys.readouterr().out.count("\n") == 1
