"""The settings of the control plane's process, from its JSON file."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sailcloth.ca.authority import MAX_LIFETIME


@dataclass(frozen=True)
class Config:
    """Settings of the process, from its JSON file."""

    kubeconfig: str = ""
    address: str = "0.0.0.0"  # noqa: S104  proxies, webhooks and scrapers come to the pod's address
    http_port: int = 8080
    monitoring_port: int = 15014
    xds_port: int = 15012
    plain_port: int = 0  # plaintext discovery without authentication, for tests on loopback; 0: off
    webhook_port: int = 15017
    controlz_port: int = 0  # where istioctl looks for log scopes (9876 of istiod); 0: off
    ready_fd: int = -1
    workload_cert_ttl_s: int = 86_400  # of a certificate for which no lifetime is asked
    max_workload_cert_ttl_s: int = int(MAX_LIFETIME.total_seconds())
    names: tuple[str, ...] = ()
    revision: str = ""  # of several control planes in a cluster; empty: the one without a name
    drain_s: float = 0.0  # over which proxies are sent to other replicas at the end, one after the other
    lease: str = ""  # name of the Lease that says which of several replicas writes; empty: there is one
    compliance_policy: str = ""  # fips-140-2 or pqc: limits of TLS that no configuration undoes


def load_config(path: str) -> Config:
    """Settings from a JSON file. Raises msgspec.ValidationError for wrong types."""
    with open(path, "rb") as file:
        return msgspec.json.decode(file.read(), type=Config)
