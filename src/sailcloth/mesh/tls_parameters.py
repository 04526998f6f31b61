"""Limits of TLS for a whole mesh: MeshConfig `meshMTLS` and `tlsDefaults`, and the control plane's COMPLIANCE_POLICY, as in Istio. Pure.

Without any, Envoy's own key-exchange groups hold, of which X25519MLKEM768 is the first: it resists quantum computers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sailcloth.api.validation.server_tls import CURVES

_VERSIONS: Final = ("TLS_AUTO", "TLSV1_2", "TLSV1_3")


@dataclass(frozen=True)
class TlsParameters:
    """An empty field leaves the default. `enforced`: also against what a Gateway says."""

    min_version: str = ""
    max_version: str = ""
    curves: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    enforced: bool = False


_GCM = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")
_POLICIES: Final = {
    "": None,
    "fips-140-2": TlsParameters("TLSV1_2", "TLSV1_2", ("P-256",), (*_GCM, "ECDHE-RSA-AES128-GCM-SHA256"), True),
    "pqc": TlsParameters("TLSV1_3", "TLSV1_3", ("X25519MLKEM768",), (), True),
}


def check_policy(name: str) -> None:
    """Raises ValueError for a policy that does not exist."""
    if name not in _POLICIES:
        known = " or ".join(n for n in _POLICIES if n)
        raise ValueError(f"COMPLIANCE_POLICY: {name!r} is unknown; use {known}")


def parse(options: dict[str, Any], policy: str) -> tuple[TlsParameters, TlsParameters]:
    """(mutual TLS of the mesh, all other TLS) by the options of a MeshConfig. A policy comes before them. Raises ValueError."""
    mesh, others = _parse(options, "meshMTLS"), _parse(options, "tlsDefaults")
    enforced = _POLICIES[policy]
    return (mesh, others) if enforced is None else (enforced, enforced)


def _parse(options: dict[str, Any], name: str) -> TlsParameters:
    given = {} if options.get(name) is None else options[name]
    if not isinstance(given, dict):
        raise ValueError(f"MeshConfig {name}: must be an object")
    version = str(given.get("minProtocolVersion") or "TLS_AUTO")
    if version not in _VERSIONS:
        raise ValueError(f"MeshConfig {name}.minProtocolVersion: {version!r}; use {', '.join(_VERSIONS)}")
    curves, ciphers = (_names(given, name, field) for field in ("ecdhCurves", "cipherSuites"))
    for curve in curves:
        if curve not in CURVES:
            raise ValueError(f"MeshConfig {name}.ecdhCurves: {curve!r}; use {', '.join(CURVES)}")
    return TlsParameters("" if version == "TLS_AUTO" else version, "", curves, ciphers)


def _names(given: dict[str, Any], name: str, field: str) -> tuple[str, ...]:
    values = given.get(field) or []
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise ValueError(f"MeshConfig {name}.{field}: must be a list of names")
    return tuple(values)
