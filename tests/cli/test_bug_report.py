"""`bug-report`: what is in the archive, and that no secret is."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sailcloth.cli import redaction
from sailcloth.cli.bug_report import Archive, Wanted, within

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"
HIDDEN = redaction.REDACTED


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"got {TOKEN} from", f"got {HIDDEN} from"),
        (f"a\n{KEY}\nb", f"a\n{HIDDEN}\nb"),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {HIDDEN}"),
        ("GET /x?token=abc123&page=2 HTTP/1.1", f"GET /x?token={HIDDEN}&page=2 HTTP/1.1"),
        ("GET /products/0/reviews", "GET /products/0/reviews"),
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
