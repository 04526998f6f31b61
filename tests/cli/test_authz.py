"""`sailctl x authz` without a cluster: which policy decides a request, and which policies a config dump has."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.cli.authz import policies_of
from sailcloth.mesh import mesh_config

from ..tokens import Issuer

SHOP = Issuer("https://shop.example.com")
MANIFESTS = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: httpbin, namespace: foo}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  template: {{metadata: {{labels: {{app: httpbin}}}}, spec: {{containers: []}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: viewer, namespace: foo}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  rules:
  - to: [{{operation: {{methods: [HEAD]}}}}]
  - from: [{{source: {{principals: ["cluster.local/ns/default/sa/sleep"]}}}}]
    to: [{{operation: {{methods: [GET], paths: ["/info*"]}}}}]
  - when: [{{key: "request.auth.claims[groups]", values: [staff]}}]
  - to: [{{operation: {{ports: ["9000"]}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: no-secrets, namespace: istio-system}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: ["*/secret"], ports: ["80"]}}}}]}}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask, namespace: foo}}
spec:
  action: CUSTOM
  provider: {{name: web}}
  rules: [{{to: [{{operation: {{paths: ["/ask"]}}}}]}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users, namespace: foo}}
spec: {{jwtRules: [{{issuer: "{SHOP.name}", jwks: '{SHOP.keys}'}}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict, namespace: foo}}
spec: {{selector: {{matchLabels: {{app: httpbin}}}}, mtls: {{mode: PERMISSIVE}}, portLevelMtls: {{9443: {{mode: STRICT}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: asked, namespace: foo}}
spec: {{ports: [{{name: http, port: 80}}]}}
"""
OPTIONS = """
extensionProviders:
- name: web
  envoyExtAuthzHttp: {service: asked.foo.svc.cluster.local, port: 80}
"""
SLEEP = ("--from", "default/sleep")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    policies, options = tmp_path / "policies.yaml", tmp_path / "mesh.yaml"
    policies.write_text(MANIFESTS)
    options.write_text(OPTIONS)
    return ("--offline", "-f", str(policies), "--mesh-config", str(options))


def explain(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sailcloth.cli", "x", "authz", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, input=stdin)


def decided(*arguments: str) -> tuple[Any, ...]:
    """(decision, action, policy, rule)."""
    run = explain("--to", "foo/httpbin", "-o", "json", *arguments)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert set(found) == {"decision", "action", "policy", "rule", "reason"}
    assert found["reason"]
    return tuple(found[key] for key in ("decision", "action", "policy", "rule"))


def test_the_policy_that_decides(files: tuple[str, ...]) -> None:
    assert decided(*files, *SLEEP, "--path", "/info/x?y") == ("allow", "ALLOW", "foo/viewer", 1)
    assert decided(*files, *SLEEP, "--path", "/info", "--method", "PUT") == ("deny", "ALLOW", None, None)
    assert decided(*files, "--path", "/info") == ("deny", "ALLOW", None, None)
    secret = ("--path", "/info/x/../secret", "--port", "80")
    assert decided(*files, *SLEEP, *secret) == ("deny", "DENY", "istio-system/no-secrets", 0)
    assert decided(*files, *SLEEP, "--path", "/ask", "--port", "9000") == ("none", "CUSTOM", "foo/ask", 0)
    assert decided(*files, *SLEEP, "--path", "/ask") == ("deny", "ALLOW", None, None)
    assert decided(*files, "--protocol", "tcp", "--port", "9000") == ("deny", "CUSTOM", "foo/ask", 0)
    assert decided(*files, "--port", "9443") == ("deny", "MTLS", None, None)


def test_tokens(files: tuple[str, ...], tmp_path: Path) -> None:
    staff = json.dumps({"iss": SHOP.name, "sub": "me", "groups": ["staff"]})
    assert decided(*files, "--claims", staff) == ("allow", "ALLOW", "foo/viewer", 2)
    assert decided(*files, "--claims", json.dumps({"iss": "else"})) == ("deny", "JWT", None, None)
    token = tmp_path / "token"
    token.write_text(SHOP.token(groups="staff"))
    assert decided(*files, "--jwt", str(token)) == ("allow", "ALLOW", "foo/viewer", 2)
    token.write_text(SHOP.token(groups="staff", exp=int(time.time()) - 3600))
    assert decided(*files, "--jwt", str(token)) == ("deny", "JWT", None, None)


def test_a_workload_without_policies(files: tuple[str, ...]) -> None:
    arguments = ("--to", "bar/any", "--labels", "app=any", "-o", "json", "--path", "/")
    assert json.loads(explain(*arguments, *files).stdout)["decision"] == "allow"  # a DENY policy of the whole mesh
    assert explain(*arguments[:4], "--path", "/x/secret", "--port", "80", *files).stdout == (
        "deny by DENY policy istio-system/no-secrets, rule 0: a rule of this DENY policy matches\n"
    )


def test_requests_are_answered_one_line_each(files: tuple[str, ...]) -> None:
    lines = [
        {
            "principal": "cluster.local/ns/default/sa/sleep",
            "path": "/info",
            "method": "GET",
            "host": "httpbin",
            "port": 80,
        },
        {"namespace": "default", "path": "/info"},
        {"method": "HEAD", "headers": {"x": "y"}, "sourceIp": "10.0.0.1", "remoteIp": "10.0.0.2", "sni": "x"},
        {"claims": {"iss": SHOP.name, "groups": "staff"}, "protocol": "http"},
        {"protocol": "tcp", "port": 1},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    run = explain("--to", "foo/httpbin", "--labels", "app=httpbin", "--requests", "-", *files, stdin=f"{text}\n\n")
    assert run.returncode == 0, run.stderr
    decisions = [json.loads(line)["decision"] for line in run.stdout.splitlines()]
    assert decisions == ["allow", "deny", "allow", "allow", "deny"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--to", "foo/nobody"), 65, "no workload nobody in foo"),
        (("--to", "foo/httpbin", "--from", "x"), 64, "NAMESPACE/ACCOUNT"),
        (("--to", "foo/httpbin", "--header", "x"), 64, "NAME=VALUE"),
        (("--to", "foo/httpbin", "--source-ip", "x"), 64, "not an IP address"),
        (("--to", "foo/httpbin", "--claims", "{"), 65, "not a JSON object"),
        (("--to", "foo/httpbin", "--claims", "[]"), 65, "JSON object"),
        (("--to", "foo/httpbin", "--jwt", "/nowhere"), 65, "/nowhere: No such file"),
        (("--to", "foo/httpbin", "--protocol", "udp"), 64, "use http or tcp"),
        (("--to", "foo/httpbin", "-o", "xml"), 64, "use text, json or yaml"),
    ],
)
def test_wrong_use_is_refused(files: tuple[str, ...], arguments: tuple[str, ...], code: int, text: str) -> None:
    run = explain(*arguments, *files)
    assert (run.returncode, text in run.stderr) == (code, True), run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_request_is_named_by_its_line(files: tuple[str, ...]) -> None:
    wrong = '{"path": "/"}\n{"pth": "/"}\n'
    run = explain("--to", "foo/httpbin", "--requests", "-", *files, stdin=wrong)
    assert run.returncode == 65
    assert "-:2: Object contains unknown field `pth`" in run.stderr


def test_the_policies_in_a_config_dump() -> None:
    objects, findings = manifests.load([MANIFESTS])
    assert not findings
    mesh = offline.mesh_of(objects, mesh_config.parse(OPTIONS))
    proxy = offline.describe({"namespace": "foo", "labels": {"app": "httpbin"}})
    dump = offline.config_dump(offline.resources(mesh, proxy))
    assert policies_of(json.loads(json.dumps(dump))) == [
        ("CUSTOM", "ask.foo", 1),
        ("DENY", "no-secrets.istio-system", 1),
        ("ALLOW", "viewer.foo", 4),
    ]


def test_a_token_is_read_without_its_signature(files: tuple[str, ...], tmp_path: Path) -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"iss": SHOP.name, "groups": "staff"}).encode()).decode().rstrip("=")
    token = tmp_path / "token"
    token.write_text(f"Bearer e30.{payload}.unsigned\n")
    assert decided(*files, "--jwt", str(token))[0] == "allow"


def test_a_policy_without_rules_is_said_to_have_none(files: tuple[str, ...], tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: none, namespace: bare}\nspec: {}\n"
    )
    told = explain("--to", "bare/any", "--labels", "app=any", *files, "-f", str(nothing)).stdout
    assert "bare/none has no rules" in told
