"""Addresses and credentials of API servers, from kubeconfig files or from a pod's service account."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sailcloth.lib import bounded_yaml

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Endpoint:
    """An API server's URL and credentials. `token_file` is read for every request, because tokens rotate."""

    server: str
    context: ssl.SSLContext | None
    token: str = ""
    token_file: str = ""
    namespace: str = "default"


def from_kubeconfig(path: str | Path, context: str | None = None, token: str = "") -> Endpoint:
    """The endpoint of a kubeconfig's context (default: the current one). token: a bearer token instead of the context's user. Raises
    ValueError if a file or entry is missing."""
    try:
        kubeconfig: Any = bounded_yaml.load(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"kubeconfig {path}: {error.strerror}") from None
    except yaml.YAMLError:
        raise ValueError(f"kubeconfig {path} is not YAML") from None
    if not isinstance(kubeconfig, dict):
        raise ValueError(f"kubeconfig {path} is empty")

    def named(field: str, name: str, inner: str) -> dict[str, Any]:
        for entry in kubeconfig.get(field) or ():
            if entry.get("name") == name:
                return dict(entry.get(inner) or {})
        raise ValueError(f"kubeconfig {path} has no entry {name!r} in {field}")

    chosen = named("contexts", context or str(kubeconfig.get("current-context", "")), "context")
    cluster = named("clusters", str(chosen.get("cluster", "")), "cluster")
    user = {"token": token} if token else named("users", str(chosen["user"]), "user") if chosen.get("user") else {}
    server = str(cluster.get("server", "")).rstrip("/")
    tls = None
    if server.startswith("https"):
        tls = _tls(
            _data(cluster, "certificate-authority", path),
            _data(user, "client-certificate", path),
            _data(user, "client-key", path),
            bool(cluster.get("insecure-skip-tls-verify")),
        )
    return Endpoint(
        server=server,
        context=tls,
        token=str(user.get("token", "")),
        token_file=str(user.get("tokenFile", "")),
        namespace=str(chosen.get("namespace") or "default"),
    )


def in_cluster(token: str = "") -> Endpoint:
    """The endpoint from a pod's environment and service account. token: a bearer token instead of the account's. Raises ValueError
    outside a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_POD / "token").exists():
        raise ValueError("not inside a pod: no service-account token is mounted")
    context = _tls((_POD / "ca.crt").read_bytes(), b"", b"", False)
    server = f"https://{host}:{port}"
    return Endpoint(server, context, token) if token else Endpoint(server, context, token_file=str(_POD / "token"))


def load(token: str = "") -> Endpoint:
    """The endpoint from $KUBECONFIG, else ~/.kube/config, else the pod's service account. token: a bearer token instead of their
    credentials. Raises ValueError if there is none."""
    for path in (os.environ.get("KUBECONFIG", "").split(os.pathsep)[0], os.path.expanduser("~/.kube/config")):
        if path and os.path.exists(path):
            return from_kubeconfig(path, token=token)
    try:
        return in_cluster(token)
    except ValueError:
        raise ValueError("no cluster: set KUBECONFIG, or start one with `sailctl up`") from None


def _data(entry: dict[str, Any], field: str, path: str | Path) -> bytes:
    if entry.get(f"{field}-data"):
        return base64.b64decode(entry[f"{field}-data"])
    if entry.get(field):
        file = Path(path).parent / str(entry[field])
        try:
            return file.read_bytes()
        except OSError as error:
            raise ValueError(f"kubeconfig {path}: {field} {file}: {error.strerror}") from None
    return b""


def _tls(ca: bytes, certificate: bytes, key: bytes, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate and key:
        # The ssl module loads certificates only from files; this one has mode 0600 and is deleted at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context
