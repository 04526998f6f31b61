"""Certificates of gateways, from Kubernetes Secrets. Source: istio.md 1.13, 2.11.

A Secret has `tls.crt`, `tls.key` and optionally `ca.crt`, or the older `cert`, `key`, `cacert`; CA certificates may also be in a
Secret of their own, `<name>-cacert`, or in `ca.crt` of a ConfigMap, as the Gateway API has them.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from sailcloth.api import core
from sailcloth.api.gateway import ServerTLSSettings
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import registry
from .gateway_listeners import CONFIG_MAP, WORKLOAD
from .kinds import of_namespace

ROOTS = "-cacert"


@dataclass(frozen=True)
class Credential:
    """A certificate chain with its key, or CA certificates; PEM."""

    chain: bytes = b""
    key: bytes = field(default=b"", repr=False)
    roots: bytes = b""
    revoked: bytes = b""


@derived
def names(graph: Graph, namespace: str) -> tuple[str, ...]:
    """Names of the credentials in a namespace's Secrets: `name` for a certificate, `name-cacert` for CA certificates."""
    secrets = {k.name for k in registry.select(graph, of_namespace(core.Secret, namespace))}
    return tuple(sorted(secrets | {n + ROOTS for n in secrets if not n.endswith(ROOTS)}))


@derived
def credential(graph: Graph, namespace: str, name: str) -> Credential | None:
    """The credential with a name; None if the Secret does not exist or lacks the data."""
    if name.startswith(CONFIG_MAP):
        config_map = registry.read(graph, core.ConfigMap, source(namespace, name))
        text = config_map.data.get("ca.crt", "") if config_map is not None else ""
        return Credential(roots=text.encode()) if text else None
    if name.endswith(ROOTS):
        contents = _data(graph, namespace, name)
        data = contents or _data(graph, namespace, name.removesuffix(ROOTS))
        roots = data.get("ca.crt") or data.get("cacert") or (data.get("tls.crt") if contents else None)
        return Credential(roots=roots, revoked=data.get("ca.crl") or data.get("crl") or b"") if roots else None
    data = _data(graph, namespace, name)
    chain, key = data.get("tls.crt") or data.get("cert"), data.get("tls.key") or data.get("key")
    return Credential(chain, key) if chain and key else None


def source(namespace: str, name: str) -> Key:
    """The Secret or ConfigMap that a credential of this name is in."""
    own = name.removesuffix(ROOTS)
    if own.startswith(CONFIG_MAP):
        return Key("ConfigMap", namespace, own.removeprefix(CONFIG_MAP))
    return Key("Secret", namespace, own)


def missing(graph: Graph, namespace: str, tls: ServerTLSSettings) -> list[str]:
    """Messages about credentials of a server's TLS settings that are missing in the gateway's namespace."""
    stored = [*tls.credential_names, *([tls.credential_name] if tls.credential_name else [])]
    roots = tls.ca_cert_credential_name or (stored[0] if stored else "")
    required = [name for name in stored if name != WORKLOAD]
    if roots and tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL"):
        required.append(roots.removesuffix(ROOTS) + ROOTS)
    problems = (_missing(graph, namespace, name) for name in required)
    return list(dict.fromkeys(text for text in problems if text))


def _missing(graph: Graph, namespace: str, name: str) -> str:
    stored = graph.get(credential, namespace, name)
    plain = name.removesuffix(ROOTS)
    if stored is None and not any(
        registry.read(graph, core.Secret, Key("Secret", namespace, n)) for n in (name, plain)
    ):
        return f"there is no Secret {plain} in {namespace}, where the gateway is"
    keys = {"ca.crt": stored.roots} if stored and stored.roots else {}
    if stored and not stored.roots:
        keys = {"tls.crt": stored.chain, "tls.key": stored.key}
    broken = [key for key, value in keys.items() if b"-----BEGIN " not in value]
    if broken:
        return f"{' and '.join(broken)} of Secret {plain} in {namespace} {'is' if len(broken) == 1 else 'are'} not PEM"
    needed = "ca.crt" if name.endswith(ROOTS) else "tls.crt with tls.key"
    return "" if stored else f"Secret {plain} in {namespace} has no {needed}"


def _data(graph: Graph, namespace: str, name: str) -> dict[str, bytes]:
    obj = registry.read(graph, core.Secret, Key("Secret", namespace, name))
    decoded = {}
    for field_, text in (obj.data if obj else {}).items():
        try:
            decoded[field_] = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            continue  # the API server accepts only base64
    return decoded
