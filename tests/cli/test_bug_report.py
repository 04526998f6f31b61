"""`bug-report`: what is in the archive, and that no secret is."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.cli import redaction
from sailcloth.cli.bug_report import Archive, Wanted, collect, within
from sailcloth.local.state import StateDir

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"
CONFIG = {
    "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "a", "user": {}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "current-context": "a",
}
HIDDEN = redaction.REDACTED


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"got {TOKEN} from", f"got {HIDDEN} from"),
        (f"a\n{KEY}\nb", f"a\n{HIDDEN}\nb"),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {HIDDEN}"),
        ("GET /x?token=abc123&page=2 HTTP/1.1", f"GET /x?token={HIDDEN}&page=2 HTTP/1.1"),
        ("GET /products/0/reviews", "GET /products/0/reviews"),
        ("redis --requirepass --auth-token=abc --port=6379", f"redis --requirepass --auth-token={HIDDEN} --port=6379"),
        ("postgres://me:word@db:5432/x?sslmode=on", f"postgres://me:{HIDDEN}@db:5432/x?sslmode=on"),
        ("GET /callback?code=abc&state=d", f"GET /callback?code={HIDDEN}&state={HIDDEN}"),
    ],
)
def test_text(text: str, shown: str) -> None:
    assert redaction.text(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"private_key": {"inline_bytes": "QUJD"}}, {"private_key": HIDDEN}),
        ({"tls": {"privateKey": "QUJD", "certificate_chain": "x"}}, {"tls": {"privateKey": HIDDEN, "certificate_chain": "x"}}),
        ({"env": [{"name": "DB_PASSWORD", "value": "x"}, {"name": "HOME", "value": "/"}]},
         {"env": [{"name": "DB_PASSWORD", "value": HIDDEN}, {"name": "HOME", "value": "/"}]}),
        ({"header": {"key": "authorization", "value": "secret"}}, {"header": {"key": "authorization", "value": HIDDEN}}),
        ({"credentialName": "web-cert", "secretName": "web"}, {"credentialName": "web-cert", "secretName": "web"}),
        ({"tokens": [{"path": "istio-token"}]}, {"tokens": [{"path": "istio-token"}]}),
        ({"note": f"see {TOKEN}"}, {"note": f"see {HIDDEN}"}),
    ],
)  # fmt: skip
def test_values(value: Any, shown: Any) -> None:
    assert redaction.value(value) == shown


def test_of_a_secret_only_the_names_of_its_keys() -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": '{"data": {"tls.key": "QUJD"}}'}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web", "namespace": "shop", "annotations": applied},
        "type": "kubernetes.io/tls",
        "data": {"tls.key": "QUJD", "tls.crt": "REVG"},
    }
    assert redaction.obj(secret) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web", "namespace": "shop"},
        "type": "kubernetes.io/tls",
        "keys": ["tls.crt", "tls.key"],
    }


def test_namespaces_and_times() -> None:
    wanted = Wanted(("shop*",), ("shop-old",), "2026-11-30T10:00:00Z", "2026-11-30T10:05:00Z")
    assert [n for n in ("shop", "shop-b", "shop-old", "other") if wanted.has(n)] == ["shop", "shop-b"]
    log = "".join(f"2026-11-30T10:0{minute}:00.123Z line {minute}\n" for minute in (0, 4, 6))
    assert wanted.lines("2026-11-30T09:59:59Z before\n" + log).splitlines() == log.splitlines()[:2]
    own = "2026-11-30 10:00:00,123 ERROR x: failed\n  Traceback\n"
    there = Wanted(start=dt.datetime(2026, 11, 30, 9, 59).astimezone(dt.UTC).isoformat())
    assert there.lines("  Traceback of before\n" + own) == own
    assert Wanted(start="2027-01-01T00:00:00Z").lines(own + "20261130\n") == ""
    assert Wanted().has("istio-system")
    assert not Wanted().has("kube-system")


def test_pages_have_what_is_of_the_namespaces() -> None:
    wanted = Wanted(("shop",))
    assert within([{"proxy": "a.shop"}, {"proxy": "b.other"}, {"id": "Kubernetes"}], wanted) == [
        {"proxy": "a.shop"},
        {"id": "Kubernetes"},
    ]
    assert within([{"metadata": {"namespace": "other"}}, {"Attributes": {"Namespace": "shop"}}], wanted) == [
        {"Attributes": {"Namespace": "shop"}}
    ]
    shards = {"web.shop.svc": {"shop": {"Shards": {}}}, "db.other.svc": {"other": {"Shards": {}}}}
    assert within(shards, wanted) == {"web.shop.svc": {"shop": {"Shards": {}}}, "db.other.svc": {}}


def test_the_archive_is_its_users_only(tmp_path: Path) -> None:
    archive = Archive()
    archive.text("logs/a.log", KEY)
    archive.value("pages/x.json", {"token": "abc"})
    archive.objects("objects/s.yaml", [{"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "QUJD"}}])
    archive.problems.append("the log of b cannot be read")
    path = tmp_path / "report.tar.gz"
    archive.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as made:
        bodies = {m.name: made.extractfile(m).read().decode() for m in made.getmembers()}  # type: ignore[union-attr]
    assert bodies["bug-report/problems.txt"] == "the log of b cannot be read\n"
    assert json.loads(bodies["bug-report/pages/x.json"]) == {"token": HIDDEN}
    assert not any(secret in body for secret in ("MHcCAQEE", "QUJD", '"abc"') for body in bodies.values())


@given(st.text(max_size=60), st.binary(min_size=12, max_size=60), st.text(max_size=60))
def test_no_key_and_no_token_survives_in_any_text(before: str, secret: bytes, after: str) -> None:
    body = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    token = f"eyJhbGciOiJub25lIn0.{body}.{body}"
    key = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----"
    shown = redaction.text(f"{before} {token} {after}\n{key}\n{before}")
    assert body not in shown.replace(before, "").replace(after, "")


def test_of_a_local_cluster_that_has_ended_the_logs_are_there(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    for folder in (state.logs, state.database.parent):
        folder.mkdir(parents=True)
    state.kubeconfig.write_text(yaml.safe_dump(CONFIG))
    state.database.touch()
    (state.logs / "controlplane.log").write_text(f"it ended with {TOKEN}\n")
    archive = asyncio.run(collect(Wanted(), str(state.kubeconfig), 5))
    assert archive.files["local/controlplane.log"] == f"it ended with {HIDDEN}\n"
    assert "the cluster does not answer" in archive.problems[0]
    (state.logs / "controlplane.log").unlink()
    with pytest.raises(OSError, match="Connect"):
        asyncio.run(collect(Wanted(), str(state.kubeconfig), 5))
